using System.Buffers.Binary;
using System.Diagnostics;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

namespace Doppel.Cli.Tests;

/// <summary>A machine's screen, seen and steered by commands. The guest writes "Hi" and then the code of each key on it.</summary>
public sealed partial class ScreenTests : IDisposable
{
    // mov word [B8000h], 'H'; mov word [B8002h], 'i'; 0: in al, 64h; test al, 1; jz 0; in al, 60h; mov [B8004h], al; jmp 0
    internal static readonly byte[] ShowKeys =
    [
        0x66, 0xC7, 0x05, 0x00, 0x80, 0x0B, 0x00, (byte)'H', 0x07,
        0x66, 0xC7, 0x05, 0x02, 0x80, 0x0B, 0x00, (byte)'i', 0x07,
        0xE4, 0x64, 0xA8, 0x01, 0x74, 0xFA, 0xE4, 0x60, 0xA2, 0x04, 0x80, 0x0B, 0x00, 0xEB, 0xF1,
    ];

    private readonly StartedMachines _machines = new();

    public void Dispose() => _machines.Dispose();

    [Fact]
    public void A_text_screen_is_printed_and_keys_reach_the_guest()
    {
        Start("--vga", "std");
        Expect("Hi\n");
        Assert.Equal(0, Doppel("key", "screen", "f1").ExitCode);
        // The last code: F1 goes up, 3Bh with bit 7.
        Expect("Hi╗\n");
        Assert.Equal(0, Doppel("type", "screen", "zx\\n").ExitCode);
        // Enter goes up: 9Ch.
        Expect("Hi£\n");
    }

    [Fact]
    public void A_screenshot_is_a_PNG_of_the_screens_size()
    {
        Start("--vga", "std");
        string file = Path.Combine(_machines.Directory, "screen.png");
        Assert.Equal(0, Doppel("screenshot", "screen", file).ExitCode);
        byte[] png = File.ReadAllBytes(file);
        Assert.Equal((720, 400), (BinaryPrimitives.ReadInt32BigEndian(png.AsSpan(16)), BinaryPrimitives.ReadInt32BigEndian(png.AsSpan(20))));
    }

    [Fact]
    public void What_is_wrong_is_said()
    {
        Start("--vga", "std");
        Assert.Contains("there is no key \"foo\"", Doppel("key", "screen", "ctrl-foo").Errors, StringComparison.Ordinal);
        Assert.Contains("no key of a US keyboard", Doppel("type", "screen", "ä").Errors, StringComparison.Ordinal);
        Assert.Contains("720 by 400", Doppel("mouse", "screen", "720", "0").Errors, StringComparison.Ordinal);
        Assert.Contains("would be right", Doppel("mouse", "screen", "1", "1", "hop").Errors, StringComparison.Ordinal);
        Assert.Equal(ExitCode.NoMachine, Doppel("screenshot", "nobody").ExitCode);
        Assert.Equal(ExitCode.Usage, Doppel("run", "--kernel", "x", "--display", "vnc=5").ExitCode);
        Assert.Equal(ExitCode.Usage, Doppel("run", "--kernel", "x", "--display", "vnc", "--vga", "none").ExitCode);
        Assert.Equal(ExitCode.Usage, Doppel("run", "--kernel", "x", "--vga", "cga").ExitCode);
        Assert.Equal(ExitCode.Usage, Doppel("run", "--kernel", "x", "--pointer", "pen").ExitCode);
        Assert.Equal(ExitCode.Usage, Doppel("run", "--kernel", "x", "--pointer", "tablet", "--vga", "none").ExitCode);
    }

    [Fact]
    public void A_machine_without_a_display_says_so()
    {
        Start();
        Assert.Contains("--vga std", Doppel("screenshot", "screen").Errors, StringComparison.Ordinal);
    }

    [Fact]
    public void VNC_clients_find_the_screen_where_the_machine_says()
    {
        Process machine = Start("--display", "vnc");
        string line = machine.StandardError.ReadLine()!;
        Match said = Place().Match(line);
        Assert.True(said.Success, line);
        using var client = new TcpClient();
        client.Connect(IPAddress.Loopback, int.Parse(said.Groups[1].Value));
        byte[] greeting = new byte[12];
        client.GetStream().ReadExactly(greeting);
        Assert.Equal("RFB 003.008\n", Encoding.ASCII.GetString(greeting));
    }

    [Fact]
    public void VNC_clients_must_know_the_password_behind_encryption_that_has_the_fingerprint_said()
    {
        string file = Path.Combine(_machines.Directory, "password");
        File.WriteAllText(file, "secret\n");
        Process machine = Start("--display", $"vnc,password-file={file},tls");
        string line = machine.StandardError.ReadLine()!;
        Match said = SealedPlace().Match(line);
        Assert.True(said.Success, line);
        using var client = new TcpClient();
        client.Connect(IPAddress.Loopback, int.Parse(said.Groups[1].Value));
        NetworkStream plain = client.GetStream();
        Exchange(plain, [], "RFB 003.008\n"u8.ToArray());
        Exchange(plain, "RFB 003.008\n"u8.ToArray(), [1, 19]);
        Exchange(plain, [19], [0, 2]);
        // VeNCrypt's X509 with a password.
        Exchange(plain, [0, 2], [0, 1, 0, 0, 1, 5]);
        Exchange(plain, [0, 0, 1, 5], [1]);
        using var tls = new SslStream(plain, leaveInnerStreamOpen: true, (_, certificate, _, _) => certificate!.GetCertHashString(HashAlgorithmName.SHA256) == said.Groups[2].Value);
        tls.AuthenticateAsClient("localhost");
        tls.ReadExactly(new byte[16]);
        Exchange(tls, new byte[16], [0, 0, 0, 1]);
    }

    private static void Exchange(Stream stream, byte[] sent, byte[] expected)
    {
        stream.Write(sent);
        byte[] answer = new byte[expected.Length];
        stream.ReadExactly(answer);
        Assert.Equal(expected, answer);
    }

    [GeneratedRegex(@"^doppel: VNC clients can connect to 127\.0\.0\.1:(59\d\d) \(display \d+\)$")]
    private static partial Regex Place();

    [GeneratedRegex(@"^doppel: VNC clients can connect to 127\.0\.0\.1:(59\d\d) \(display \d+\); the certificate's SHA-256 is ([0-9A-F]{64})$")]
    private static partial Regex SealedPlace();

    private Process Start(params string[] options)
    {
        string kernel = Path.Combine(_machines.Directory, "kernel");
        File.WriteAllBytes(kernel, TinyGuest.Create("ready", ShowKeys));
        Process process = _machines.Add(Command.Start(["run", "--kernel", kernel, "--memory", "16M", "--name", "screen", "--net", "none", .. options], runtime: _machines.Directory));
        byte[] output = new byte[5];
        process.StandardOutput.BaseStream.ReadExactly(output);
        // The words are on the screen some instructions after those on the console.
        if (options.Contains("--vga"))
            Expect("Hi");
        return process;
    }

    private void Expect(string text)
    {
        string shown = "";
        for (int i = 0; i < 100 && !shown.StartsWith(text, StringComparison.Ordinal); i++)
            shown = Doppel("screenshot", "--text", "screen").Output;
        Assert.StartsWith(text, shown, StringComparison.Ordinal);
    }

    private CommandResult Doppel(params string[] arguments) => Command.Run(arguments, runtime: _machines.Directory);
}
