using System.Diagnostics;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Tests.Storage;

/// <summary>The NBD client against qemu-nbd.</summary>
public sealed class NbdTests : IDisposable
{
    private readonly StorageDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Random_operations_do_what_they_do_to_an_array()
    {
        int seed = Random.Shared.Next();
        var operations = new RandomOperations(seed, 3 << 20);
        File.WriteAllBytes(_directory["raw"], operations.Expected);
        using (Process server = Serve("--discard=unmap"))
        {
            using (DiskImage image = DiskImages.Open(Address, new DiskOpenOptions()))
            {
                operations.Run(image, 300);
                operations.Compare(image, "at the end");
                image.Flush();
            }

            server.WaitForExit();
        }

        Assert.Equal(operations.Expected, File.ReadAllBytes(_directory["raw"]));
    }

    [Fact]
    public async Task Several_requests_are_under_way_at_once()
    {
        File.WriteAllBytes(_directory["raw"], new byte[4 << 20]);
        using Process server = Serve();
        await using (var backend = new ImageBackend(DiskImages.Open(Address, new DiskOpenOptions())))
        {
            await Task.WhenAll(Enumerable.Range(0, 64).Select(i => backend.WriteAsync((ulong)i * 65536, [Enumerable.Repeat((byte)i, 65536).ToArray()]).AsTask()));
            await backend.FlushAsync();
            await Task.WhenAll(Enumerable.Range(0, 64).Select(async i =>
            {
                byte[] read = new byte[65536];
                await backend.ReadAsync((ulong)i * 65536, [read]);
                Assert.True(read.All(b => b == i));
            }));
        }

        await server.WaitForExitAsync();
    }

    [Fact]
    public void A_lost_connection_is_an_error_and_no_hang()
    {
        File.WriteAllBytes(_directory["raw"], new byte[1 << 20]);
        using Process server = Serve();
        using DiskImage image = DiskImages.Open(Address, new DiskOpenOptions());
        image.Write(0, new byte[] { 1 });
        server.Kill();
        server.WaitForExit();
        Assert.Contains("lost", Assert.Throws<IOException>(() => image.Read(0, new byte[512])).Message, StringComparison.Ordinal);
        Assert.Contains("lost", Assert.Throws<IOException>(image.Flush).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_the_server_refuses_is_said()
    {
        File.WriteAllBytes(_directory["raw"], new byte[1 << 20]);
        using Process server = Serve("--read-only", "--persistent");
        Assert.Contains("only be read", Assert.Throws<DiskImageException>(() => DiskImages.Open(Address, new DiskOpenOptions())).Message, StringComparison.Ordinal);
        Assert.Contains("\"other\"", Assert.Throws<DiskImageException>(() => DiskImages.Open(Address.Replace("///disk", "///other", StringComparison.Ordinal), new DiskOpenOptions { IsReadOnly = true })).Message, StringComparison.Ordinal);
        DiskImages.Open(Address, new DiskOpenOptions { IsReadOnly = true }).Dispose();
        server.Kill();
        server.WaitForExit();
    }

    [Theory]
    [InlineData("nbd+unix:///disk?socket=/nonexistent-socket", "can be reached")]
    [InlineData("nbd://127.0.0.1:1/disk", "can be reached")]
    [InlineData("nbd:what", "would be right")]
    public void An_address_where_nobody_answers_is_named(string address, string expected)
    {
        string message = Assert.Throws<DiskImageException>(() => DiskImages.Open(address, new DiskOpenOptions())).Message;
        Assert.StartsWith(address, message, StringComparison.Ordinal);
        Assert.Contains(expected, message, StringComparison.Ordinal);
    }

    private string Address => $"nbd+unix:///disk?socket={_directory["socket"]}";

    private Process Serve(params string[] options)
    {
        string ready = _directory["ready"];
        var info = new ProcessStartInfo("qemu-nbd", ["--format=raw", "--export-name=disk", $"--socket={_directory["socket"]}", "--fork", $"--pid-file={ready}", .. options, _directory["raw"]]);
        using (Process parent = Process.Start(info)!)
            parent.WaitForExit();
        return Process.GetProcessById(int.Parse(File.ReadAllText(ready).Trim()));
    }
}
