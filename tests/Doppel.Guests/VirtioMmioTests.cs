using System.Diagnostics;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Doppel.Vmm;
using Doppel.Vmm.Control;

namespace Doppel.Guests;

/// <summary>Debian's own drivers on virtio devices outside PCI, with sockets between host and guest and the generation identifier.</summary>
[Collection("Debian")]
public sealed class VirtioMmioTests(DebianImage debian) : IDisposable
{
    // A static program that the guest runs: "c PORT" connects to the host and passes its standard input and output on; "s PORT" sends one caller back what it says.
    private const string Program = """
        #include <sys/socket.h>
        #include <linux/vm_sockets.h>
        #include <stdlib.h>
        #include <unistd.h>
        static int pass(int from, int to) { char b[4096]; long n; while ((n = read(from, b, sizeof b)) > 0) for (long d = 0, w; d < n; d += w) if ((w = write(to, b + d, n - d)) <= 0) return 1; return n != 0; }
        int main(int c, char **v) {
            int s = socket(AF_VSOCK, SOCK_STREAM, 0);
            struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_port = atoi(v[2]), .svm_cid = v[1][0] == 'c' ? VMADDR_CID_HOST : VMADDR_CID_ANY };
            if (v[1][0] == 'c') {
                if (connect(s, (void *)&a, sizeof a)) return 2;
                if (pass(0, s)) return 3;
                shutdown(s, SHUT_WR);
                return pass(s, 1);
            }
            if (bind(s, (void *)&a, sizeof a) || listen(s, 1)) return 2;
            write(1, "listening\n", 10);
            int t = accept(s, 0, 0);
            int r = pass(t, t);
            close(t);
            return r;
        }
        """;

    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-mmio-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task A_guest_finds_its_devices_without_PCI_and_talks_to_the_host()
    {
        Compile();
        byte[] content = RandomNumberGenerator.GetBytes(4 << 20);
        string disk = Path.Combine(_directory, "disk.img"), socket = Path.Combine(_directory, "vsock");
        File.WriteAllBytes(disk, content);
        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image, spec => spec with
        {
            Engine = EngineNames.Translator,
            VirtioTransport = VirtioTransport.Mmio,
            Disks = [new DiskSpec { Path = disk }],
            Volumes = [new VolumeSpec { HostPath = _directory, GuestPath = "/host" }],
            Vsock = new VsockSpec { Path = socket, Cid = 42 },
            Entropy = true,
            Balloon = true,
        });
        Assert.Equal("5", await guest.RunAsync("ls -d /sys/bus/platform/drivers/virtio-mmio/LNRO0005:* | wc -l"));
        Assert.Equal("0", await guest.RunAsync("grep -c 1af4 /proc/bus/pci/devices"));
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(content)), await guest.RunAsync("sha256sum < /dev/vda | cut -d' ' -f1"));
        Assert.Equal("0", await guest.RunAsync("dd if=/dev/vda of=/dev/vda bs=64k skip=1 count=1 oflag=direct iflag=direct 2>/dev/null; echo $?"));
        Assert.Equal("1000", await guest.RunAsync("dd if=/dev/hwrng bs=1000 count=1 iflag=fullblock 2>/dev/null | wc -c"));

        // The guest calls the host.
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(socket + "_1234"));
        listener.Listen(1);
        Task<string> host = AnswerAsync(listener);
        Assert.Equal("2000 lines", await guest.RunAsync("seq 2000 | /host/vs c 1234; echo"));
        Assert.Equal(string.Concat(Enumerable.Range(1, 2000).Select(i => $"{i}\n")), await host);
        Assert.Equal("2", await guest.RunAsync("echo | /host/vs c 99; echo $?"));

        // The host calls the guest.
        guest.Machine.Console.WriteLine("/host/vs s 5000; echo code=$?");
        _ = await guest.Machine.Console.ReadUntilAsync("listening", DebianGuest.Patience);
        using (var caller = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            await caller.ConnectAsync(new UnixDomainSocketEndPoint(socket));
            using var stream = new NetworkStream(caller);
            await stream.WriteAsync("CONNECT 5000\n"u8.ToArray());
            Assert.Equal("OK 1073741824\n", await ReadLineAsync(stream));
            byte[] sent = RandomNumberGenerator.GetBytes(1 << 20), received = new byte[1 << 20];
            Task writing = stream.WriteAsync(sent).AsTask();
            await stream.ReadExactlyAsync(received);
            await writing;
            Assert.Equal(sent, received);
            caller.Shutdown(SocketShutdown.Send);
            Assert.Equal(0, await stream.ReadAsync(new byte[1]));
        }

        _ = await guest.Machine.Console.ReadUntilAsync("code=0", DebianGuest.Patience);
        _ = await guest.Machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience);

        // The kernel here has no driver for the generation identifier, but it counts the event, and its memory can be looked at.
        string Word(int index) => $"0x{BitConverter.ToUInt64(guest.Machine.GenerationId.ToByteArray(), 8 * index):X16}";
        Assert.Equal(Word(0), await guest.RunAsync("devmem 0xEF000 64"));
        string before = await guest.RunAsync("cat /sys/firmware/acpi/interrupts/gpe05");
        Assert.Contains("enabled", before, StringComparison.Ordinal);
        guest.Machine.ChangeGeneration();
        Assert.Equal(Word(1), await guest.RunAsync("devmem 0xEF008 64"));
        Assert.Matches("^ *1 ", await guest.RunAsync("cat /sys/firmware/acpi/interrupts/gpe05"));

        // What the balloon is given leaves the host's memory.
        var directory = new ControlDirectory(Path.Combine(_directory, "control"));
        await using ControlServer server = ControlServer.Start(guest.Machine, directory);
        using ControlClient client = await ControlClient.ConnectAsync(server.Path);
        BalloonReport report = (await client.AskAsync(new ControlRequest(ControlRequest.BalloonReport))).BalloonReport!;
        Assert.InRange(report.Guest!.Total!.Value, 300UL << 20, 512UL << 20);
        _ = await guest.RunAsync("dd if=/dev/zero of=/tmp/big bs=1M count=200 2>/dev/null");
        ulong full = ResidentRam();
        _ = await guest.RunAsync("echo 3 > /proc/sys/vm/drop_caches");
        guest.Machine.Console.WriteLine("rm /tmp/big");
        _ = await guest.Machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience);
        report = (await client.AskAsync(new ControlRequest(ControlRequest.BalloonReport) { Balloon = 300UL << 20 })).BalloonReport!;
        Assert.Equal((300UL << 20, 300UL << 20), (report.Target, report.Given));
        Assert.True(report.Freed >= report.Given);
        Assert.InRange(ResidentRam(), 0UL, full - (200UL << 20));
        report = (await client.AskAsync(new ControlRequest(ControlRequest.BalloonReport) { Balloon = 0 })).BalloonReport!;
        Assert.Equal(0UL, report.Given);
    }

    private static async Task<string> AnswerAsync(Socket listener)
    {
        using Socket socket = await listener.AcceptAsync();
        var text = new StringBuilder();
        byte[] buffer = new byte[1000];
        while (await socket.ReceiveAsync(buffer) is > 0 and int count)
            _ = text.Append(Encoding.ASCII.GetString(buffer, 0, count));
        _ = await socket.SendAsync(Encoding.ASCII.GetBytes($"{text.ToString().Count(c => c == '\n')} lines"));
        return text.ToString();
    }

    private static async Task<string> ReadLineAsync(NetworkStream stream)
    {
        var line = new StringBuilder();
        byte[] one = new byte[1];
        do
        {
            await stream.ReadExactlyAsync(one);
            _ = line.Append((char)one[0]);
        }
        while (one[0] != '\n');
        return line.ToString();
    }

    private static ulong ResidentRam()
    {
        ulong sum = 0;
        bool isRam = false;
        foreach (string line in File.ReadLines("/proc/self/smaps"))
        {
            if (char.IsAsciiHexDigitLower(line[0]) && line.Contains('-', StringComparison.Ordinal))
                isRam = line.Contains("doppel-ram", StringComparison.Ordinal);
            else if (isRam && line.StartsWith("Rss:", StringComparison.Ordinal))
                sum += ulong.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], System.Globalization.CultureInfo.InvariantCulture) << 10;
        }

        return sum;
    }

    private void Compile()
    {
        string source = Path.Combine(_directory, "vs.c");
        File.WriteAllText(source, Program);
        using Process process = Process.Start("cc", ["-static", "-O1", "-o", Path.Combine(_directory, "vs"), source]);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
