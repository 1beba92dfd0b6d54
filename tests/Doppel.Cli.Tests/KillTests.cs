using System.Diagnostics;
using System.Globalization;
using System.Text;
using Doppel.Vmm.Images;

namespace Doppel.Cli.Tests;

/// <summary>Doppel is killed at random moments while its guest writes: what the guest had synced is there, and all is whole.</summary>
[Trait("Category", "Slow")]
public sealed class KillTests : IDisposable
{
    private const int Kills = 20;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-kill-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task What_a_guest_has_synced_survives_kills()
    {
        // The shell in place of init: it has the whole system's disk, and is there in seconds.
        string cache = Path.GetDirectoryName(Path.GetDirectoryName(ImageStore.ForUser().Root))!;
        string[] arguments = ["run", "debian", "--name", "victim", "--net", "none", "--append", "ro init=/bin/sh"];
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        int synced = 0;
        for (int kill = 0; kill <= Kills; kill++)
        {
            using Process process = Command.Start(arguments, cache, state: _directory);
            try
            {
                _ = process.StandardError.ReadToEndAsync();
                synced = await RunOnceAsync(process, random, synced, kill == Kills, $"seed {seed}, kill {kill}, {synced} files synced");
            }
            finally
            {
                process.Kill();
                await process.WaitForExitAsync();
            }

            (int code, string check) = Check();
            // 3 says that clusters are counted which nothing uses: space, not damage.
            Assert.True(code is 0 or 3, $"seed {seed}, kill {kill}: qemu-img check: {code}: {check}");
        }
    }

    // Checks what there is, goes on writing, and kills; returns how many files are synced.
    private static async Task<int> RunOnceAsync(Process process, Random random, int synced, bool isLast, string where)
    {
        string log = await TypeAsync(process, "# ", "mount -t proc p /proc; mount -t devtmpfs d /dev; dmesg -n 1; e2fsck -fn /dev/$(grep -o 'nvme[0-9]*n1p1' /proc/partitions); echo fsck=$?\n", "fsck=");
        string status = await ReadUntilAsync(process, "\n");
        Assert.True(status.Trim() == "0", $"{where}: e2fsck: {log}{status}");
        string verify = $"mount -o remount,rw / && mkdir -p /kill && for i in $(seq 1 {synced}); do sha256sum --status -c /kill/$i.sum || echo bad $i; done; echo verified=$?\n";
        log = await TypeAsync(process, "# ", verify, "verified=");
        _ = await ReadUntilAsync(process, "\n");
        Assert.False(log.Contains("\nbad ", StringComparison.Ordinal) || log.Contains("\rbad ", StringComparison.Ordinal), $"{where}: {log}");
        if (isLast)
            return synced;

        string write = $"i={synced}; while :; do i=$((i+1)); head -c $((i % 40 * 5000 + 777)) /dev/urandom >/kill/$i; sha256sum /kill/$i >/kill/$i.sum; sync /kill/$i /kill/$i.sum /kill; echo syn''ced=$i; cp /kill/$i /kill/scratch; done\n";
        _ = await TypeAsync(process, "# ", write, "synced=");
        // This long after the first file, at any moment of the writing.
        await Task.Delay(random.Next(3000));
        process.Kill();
        string rest = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return int.Parse(("synced=" + rest).Split("synced=").Select(p => p.Split('\r', '\n')).Last(p => p.Length > 1 && p[0].Length != 0)[0], CultureInfo.InvariantCulture);
    }

    private (int Code, string Output) Check()
    {
        string disk = Path.Combine(_directory, "doppel", "machines", "victim", "system", "disk.qcow2");
        using Process process = Process.Start(new ProcessStartInfo("qemu-img", ["check", disk]) { RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }

    private static async Task<string> TypeAsync(Process process, string prompt, string line, string until)
    {
        _ = await ReadUntilAsync(process, prompt);
        process.StandardInput.Write(line);
        process.StandardInput.Flush();
        // The line itself comes back as an echo first.
        _ = await ReadUntilAsync(process, "\n");
        return await ReadUntilAsync(process, until);
    }

    private static async Task<string> ReadUntilAsync(Process process, string text)
    {
        using var limit = new CancellationTokenSource(Patience);
        var read = new StringBuilder();
        char[] one = new char[1];
        while (!EndsWith(read, text))
        {
            if (await process.StandardOutput.ReadAsync(one, limit.Token) == 0)
                throw new InvalidOperationException($"the machine ended: {read}");
            _ = read.Append(one[0]);
        }

        return read.ToString();
    }

    private static bool EndsWith(StringBuilder builder, string text) =>
        builder.Length >= text.Length && builder.ToString(builder.Length - text.Length, text.Length) == text;
}
