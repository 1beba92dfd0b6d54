using System.Diagnostics;

namespace Doppel.Cli.Tests;

public sealed class RunTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-run-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void A_guest_that_powers_off_ends_with_0_and_its_output_is_standard_output()
    {
        CommandResult result = Run(TinyGuest.PowerOff, "hello\r\n");
        Assert.Equal(("hello\r\n", "", ExitCode.Success), (result.Output, result.Errors, result.ExitCode));
    }

    [Fact]
    public void A_triple_fault_ends_with_its_code_and_says_where()
    {
        CommandResult result = Run(TinyGuest.TripleFault);
        Assert.Equal(ExitCode.TripleFault, result.ExitCode);
        Assert.Contains("triple fault: vCPU 0, 32-bit protected mode, CPL 0, CS:RIP 0010:000000000010005", result.ErrorLine, StringComparison.Ordinal);
    }

    [Fact]
    public void A_reset_ends_the_run_only_when_asked()
    {
        CommandResult result = Run(TinyGuest.Reset, "up ", "--no-reboot");
        Assert.Equal(("up ", ExitCode.Reset), (result.Output, result.ExitCode));
        Assert.Contains("port CF9h", result.ErrorLine, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_reset_boots_again()
    {
        using Process process = Command.Start(["run", "--kernel", Kernel(TinyGuest.Reset, "up ")]);
        char[] output = new char[30];
        Assert.Equal(30, await process.StandardOutput.ReadBlockAsync(output));
        Assert.Equal("up up up up up up up up up up ", new string(output));
        process.Kill();
    }

    [Fact]
    public void A_ROM_begins_at_the_processors_first_instruction()
    {
        // F000:0000: "R" to port E9h, then a reset by port CF9h; the reset vector jumps there.
        var rom = new byte[0x10000];
        ((ReadOnlySpan<byte>)[0xB0, (byte)'R', 0xE6, 0xE9, 0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE, 0xF4]).CopyTo(rom);
        ((ReadOnlySpan<byte>)[0xEA, 0x00, 0x00, 0x00, 0xF0]).CopyTo(rom.AsSpan(0xFFF0));
        string file = Path.Combine(_directory, "rom.bin"), said = Path.Combine(_directory, "said");
        File.WriteAllBytes(file, rom);
        CommandResult result = Command.Run(["run", "--bios", file, "--memory", "4M", "--net", "none", "--no-reboot", "--debug-port", said]);
        Assert.Equal(ExitCode.Reset, result.ExitCode);
        Assert.Equal("R", File.ReadAllText(said));
        File.WriteAllBytes(file, new byte[1000]);
        Assert.Contains("the firmware has 1000 bytes", Command.Run(["run", "--bios", file, "--memory", "4M", "--net", "none"]).ErrorLine, StringComparison.Ordinal);
    }

    [Fact]
    public void The_debug_exit_device_gives_the_exit_code()
    {
        Assert.Equal(33, Run(TinyGuest.DebugExit, "", "--testdev").ExitCode);
        Assert.Equal(33, Run(TinyGuest.DebugExit, "", "--testdev", "--clock", "instructions").ExitCode);
    }

    [Fact]
    public void Standard_output_is_written_where_the_file_stands_and_moves_it_on()
    {
        string file = Path.Combine(_directory, "out");
        string script = "(echo before; \"$1\" run --kernel \"$2\" --memory 16M --serial stdio; echo after) >\"$3\" </dev/null";
        using Process shell = Process.Start("/bin/sh", ["-c", script, "sh", Command.Path, Kernel(TinyGuest.PowerOff, "middle\n"), file]);
        shell.WaitForExit();
        Assert.Equal(["before", "middle", "after"], File.ReadAllLines(file).Where(line => line.Length > 0));
    }

    [Fact]
    public void Statistics_are_said_at_the_end_when_asked_for()
    {
        Assert.Matches(@"doppel: [1-9]\d* guest instructions in [\d.]+ s: [\d.]+ million a second\n", Run(TinyGuest.DebugExit, "", "--testdev", "--stats").Errors);
        Assert.DoesNotContain("instructions", Run(TinyGuest.DebugExit, "", "--testdev").Errors, StringComparison.Ordinal);
    }

    [Fact]
    public void A_crash_of_a_Linux_kernel_ends_with_its_code_and_reason()
    {
        CommandResult result = Run(TinyGuest.Hang, "[    1.5] Kernel panic - not syncing: no init\n[    1.5] ---[ end Kernel panic - not syncing: no init ]---\n");
        Assert.Equal(ExitCode.GuestCrash, result.ExitCode);
        Assert.StartsWith("doppel: the guest's kernel crashed: no init (at vCPU 0", result.ErrorLine, StringComparison.Ordinal);
        Assert.Equal(ExitCode.GuestCrash, Run(TinyGuest.Reset, "[    1.5] Kernel panic - not syncing: no init\n").ExitCode);
    }

    [Fact]
    public void A_pipe_is_the_guests_keyboard_and_its_end_is_not_the_machines()
    {
        CommandResult result = Command.Run(["run", "--kernel", Kernel(TinyGuest.Echo), "--memory", "16M"], "HAL\u0001xq");
        Assert.Equal(("IBM\u0002y", ExitCode.Success), (result.Output, result.ExitCode));
    }

    [Fact]
    public void The_serial_port_can_go_to_a_file_or_nowhere()
    {
        string file = Path.Combine(_directory, "serial.txt");
        CommandResult result = Run(TinyGuest.PowerOff, "to the file", "--serial", $"file:{file}");
        Assert.Equal(("", ExitCode.Success), (result.Output, result.ExitCode));
        Assert.Equal("to the file", File.ReadAllText(file));
        result = Run(TinyGuest.PowerOff, "to nobody", "--serial", "none");
        Assert.Equal(("", "", ExitCode.Success), (result.Output, result.Errors, result.ExitCode));
    }

    [Fact]
    public async Task The_serial_port_can_be_a_pseudo_terminal()
    {
        using Process process = Command.Start(["run", "--kernel", Kernel(TinyGuest.Echo), "--serial", "pty"]);
        string line = (await process.StandardError.ReadLineAsync())!;
        Assert.StartsWith("doppel: the serial port is /dev/pts/", line, StringComparison.Ordinal);
        await using (FileStream terminal = new(line[line.IndexOf('/', StringComparison.Ordinal)..], FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0))
        {
            terminal.WriteByte((byte)'a');
            Assert.Equal('b', terminal.ReadByte());
            terminal.WriteByte((byte)'q');
        }

        await process.WaitForExitAsync();
        Assert.Equal(ExitCode.Success, process.ExitCode);
    }

    [Fact]
    public async Task Four_serial_ports_go_where_they_are_told_to()
    {
        string second = Path.Combine(_directory, "second"), third = Path.Combine(_directory, "third");
        // What comes on the fourth goes out on the third, until it is 'q'.
        byte[] code =
        [
            0x66, 0xBA, 0xF8, 0x02, 0xB0, (byte)'2', 0xEE, // mov dx, 2F8h; mov al, '2'; out dx, al
            0x66, 0xBA, 0xE8, 0x03, 0xB0, (byte)'3', 0xEE,
            0x66, 0xBA, 0xE8, 0x02, 0xB0, (byte)'4', 0xEE,
            0x66, 0xBA, 0xED, 0x02, 0xEC, 0xA8, 0x01, 0x74, 0xF7, // 0: mov dx, 2EDh; in al, dx; test al, 1; jz 0
            0x66, 0xBA, 0xE8, 0x02, 0xEC, 0x3C, (byte)'q', 0x74, 0x07, // mov dx, 2E8h; in al, dx; cmp al, 'q'; je end
            0x66, 0xBA, 0xE8, 0x03, 0xEE, 0xEB, 0xE7, // mov dx, 3E8h; out dx, al; jmp 0
            .. TinyGuest.PowerOff,
        ];
        using Process process = Command.Start(["run", "--kernel", Kernel(code, "first"), "--serial", "stdio", "--serial", $"file:{second}", "--serial", $"file:{third}", "--serial", "pty"]);
        string line = (await process.StandardError.ReadLineAsync())!;
        Assert.StartsWith("doppel: serial port 4 is /dev/pts/", line, StringComparison.Ordinal);
        await using (FileStream terminal = new(line[line.IndexOf('/', StringComparison.Ordinal)..], FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0))
        {
            Assert.Equal('4', terminal.ReadByte());
            terminal.Write("xyq"u8);
        }

        Assert.Equal("first", await process.StandardOutput.ReadToEndAsync());
        await process.WaitForExitAsync();
        Assert.Equal(ExitCode.Success, process.ExitCode);
        Assert.Equal(("2", "3xy"), (await File.ReadAllTextAsync(second), await File.ReadAllTextAsync(third)));
    }

    [Fact]
    public async Task Signals_end_the_run_with_128_and_their_number()
    {
        foreach ((string name, int number) in new[] { ("TERM", 15), ("INT", 2), ("HUP", 1) })
        {
            using Process process = Command.Start(["run", "--kernel", Kernel(TinyGuest.Hang, "up")]);
            Assert.Equal('u', process.StandardOutput.Read());
            using Process kill = Process.Start("/bin/kill", [$"-{name}", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
            await process.WaitForExitAsync();
            Assert.Equal(ExitCode.Signal + number, process.ExitCode);
        }
    }

    [Fact]
    public async Task A_closed_standard_output_ends_the_run()
    {
        using Process process = Command.Start(["run", "--kernel", Kernel(TinyGuest.Reset, "up ")]);
        Assert.Equal('u', process.StandardOutput.Read());
        process.StandardOutput.Close();
        await process.WaitForExitAsync();
        Assert.Equal(ExitCode.BrokenPipe, process.ExitCode);
    }

    [Fact]
    public void A_trace_has_the_documented_lines()
    {
        string file = Path.Combine(_directory, "trace.txt");
        CommandResult result = Run(TinyGuest.PowerOff, "A", "--trace", "instructions,ports", "--trace-file", file);
        Assert.Equal(("A", ""), (result.Output, result.Errors));
        string[] lines = File.ReadAllLines(file);
        Assert.Equal("0 insn 0010:0000000000100040 be61001000                     mov esi, 0x100061", lines[0]);
        Assert.Contains("- port write serial0 0x3f8 size=1 value=0x41", lines);
        Assert.DoesNotContain(lines, l => l.Contains(" exc ", StringComparison.Ordinal));
        result = Run(TinyGuest.TripleFault, "", "--trace", "exceptions");
        Assert.Contains("0 exc  0010:00000000001", result.Errors, StringComparison.Ordinal);
        Assert.Contains(" 8 DoubleFault error=0x0\n", result.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task On_a_terminal_keys_work_and_its_settings_come_back()
    {
        using var terminal = new Host.Terminals.PseudoTerminal();
        string before = Stty(terminal.Path, "sane") + Stty(terminal.Path, "-g");
        foreach (string ending in (string[])["\u0001x", "q"])
        {
            using Process process = StartOn(terminal.Path);
            await ReadUntilAsync(terminal.Stream, "up");
            Assert.NotEqual(before, Stty(terminal.Path, "-g"));
            await terminal.Stream.WriteAsync("\u0001h"u8.ToArray());
            await ReadUntilAsync(terminal.Stream, "Ctrl-A x");
            await terminal.Stream.WriteAsync("\u0001c"u8.ToArray());
            await ReadUntilAsync(terminal.Stream, "32-bit protected mode");
            await terminal.Stream.WriteAsync("\u0003"u8.ToArray());
            await ReadUntilAsync(terminal.Stream, "\u0004");
            await terminal.Stream.WriteAsync(System.Text.Encoding.ASCII.GetBytes(ending));
            await process.WaitForExitAsync();
            Assert.Equal(ExitCode.Success, process.ExitCode);
            Assert.Equal(before, Stty(terminal.Path, "-g"));
        }
    }

    [Fact]
    public async Task After_a_signal_the_terminals_settings_come_back()
    {
        using var terminal = new Host.Terminals.PseudoTerminal();
        string before = Stty(terminal.Path, "sane") + Stty(terminal.Path, "-g");
        using Process process = StartOn(terminal.Path);
        await ReadUntilAsync(terminal.Stream, "up");
        using Process kill = Process.Start("/bin/kill", ["-TERM", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        await process.WaitForExitAsync();
        Assert.Equal(ExitCode.Signal + 15, process.ExitCode);
        Assert.Equal(before, Stty(terminal.Path, "-g"));
    }

    private static string Stty(string path, string arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo("stty", ["-F", path, arguments]) { RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return output;
    }

    private static async Task ReadUntilAsync(Stream stream, string text)
    {
        string seen = "";
        byte[] buffer = new byte[256];
        while (!seen.Contains(text, StringComparison.Ordinal))
        {
            int count = await stream.ReadAsync(buffer);
            seen += System.Text.Encoding.UTF8.GetString(buffer, 0, count);
        }
    }

    private Process StartOn(string terminal) =>
        Process.Start(new ProcessStartInfo("/bin/sh", ["-c", $"exec '{Command.Path}' run --kernel '{Kernel(TinyGuest.Echo, "up")}' <{terminal} >{terminal} 2>&1"]))!;

    private CommandResult Run(byte[] ending, string text = "", params string[] options) =>
        Command.Run(["run", "--kernel", Kernel(ending, text), "--memory", "16M", .. options]);

    private string Kernel(byte[] ending, string text = "")
    {
        string path = Path.Combine(_directory, $"kernel-{Guid.NewGuid():N}");
        File.WriteAllBytes(path, TinyGuest.Create(text, ending));
        return path;
    }
}
