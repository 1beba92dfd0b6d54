using System.Runtime.InteropServices;
using Doppel.Host.Terminals;

namespace Doppel.Host.Tests.Terminals;

public sealed unsafe class TerminalTests
{
    [Fact]
    public void Structures_and_constants_match_the_C_compiler()
    {
        long[] actual = CProgram.Evaluate(
            ["termios.h", "sys/ioctl.h", "fcntl.h"],
            [
                "sizeof(struct termios)", "offsetof(struct termios, c_lflag)", "offsetof(struct termios, c_line)",
                "offsetof(struct termios, c_cc)", "offsetof(struct termios, c_ispeed)", "offsetof(struct termios, c_ospeed)",
                "sizeof(struct winsize)", "offsetof(struct winsize, ws_col)",
                "TCSANOW", "TCSADRAIN", "TIOCGWINSZ", "TIOCSWINSZ", "O_RDWR", "O_NOCTTY", "O_CLOEXEC",
            ]);
        long[] mirrored =
        [
            sizeof(Termios), Offset<Termios>(nameof(Termios.LocalFlags)), Offset<Termios>(nameof(Termios.LineDiscipline)),
            Offset<Termios>(nameof(Termios.ControlCharacters)), Offset<Termios>(nameof(Termios.InputSpeed)), Offset<Termios>(nameof(Termios.OutputSpeed)),
            sizeof(WindowSize), Offset<WindowSize>(nameof(WindowSize.Columns)),
            TerminalCalls.SetNow, TerminalCalls.SetAfterDrain, (long)TerminalCalls.GetWindowSize, (long)TerminalCalls.SetWindowSize,
            TerminalCalls.ReadWrite, TerminalCalls.NoControllingTerminal, TerminalCalls.CloseOnExec,
        ];
        Assert.Equal(actual, mirrored);
    }

    [Fact]
    public void A_pseudo_terminal_carries_bytes_both_ways_unchanged()
    {
        using var terminal = new PseudoTerminal();
        using FileStream program = new(terminal.Path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        byte[] sent = [1, 3, 10, 13, 200, 0x7F];
        terminal.Stream.Write(sent);
        byte[] received = new byte[6];
        program.ReadExactly(received);
        Assert.Equal(sent, received);
        program.Write(sent);
        terminal.Stream.ReadExactly(received);
        Assert.Equal(sent, received);
    }

    [Fact]
    public void A_terminals_size_can_be_set_and_read()
    {
        using var terminal = new PseudoTerminal();
        Assert.Null(HostTerminal.GetSize(terminal.Descriptor));
        HostTerminal.SetSize(terminal.Descriptor, new TerminalSize(50, 132));
        Assert.Equal(new TerminalSize(50, 132), HostTerminal.GetSize(terminal.Descriptor));
    }

    [Fact]
    public void Raw_mode_ends_with_exactly_the_settings_from_before()
    {
        using var terminal = new PseudoTerminal();
        using FileStream program = new(terminal.Path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        int descriptor = (int)program.SafeFileHandle.DangerousGetHandle();
        Termios before = Get(descriptor);
        before.LocalFlags |= 0x8 | 0x2;
        Assert.Equal(0, TerminalCalls.SetAttributes(descriptor, TerminalCalls.SetNow, &before));
        using (RawTerminal raw = RawTerminal.Enter(descriptor))
            Assert.Equal(0u, Get(descriptor).LocalFlags & 0xA);
        Assert.Equal(before.LocalFlags, Get(descriptor).LocalFlags);
    }

    [Fact]
    public void Raw_mode_of_something_that_is_no_terminal_is_refused()
    {
        using FileStream file = File.OpenRead("/dev/null");
        int descriptor = (int)file.SafeFileHandle.DangerousGetHandle();
        Assert.False(HostTerminal.IsTerminal(descriptor));
        Assert.Equal("tcgetattr", Assert.Throws<HostException>(() => RawTerminal.Enter(descriptor)).Call);
    }

    private static Termios Get(int descriptor)
    {
        Termios attributes;
        Assert.Equal(0, TerminalCalls.GetAttributes(descriptor, &attributes));
        return attributes;
    }

    private static long Offset<T>(string field) => Marshal.OffsetOf<T>(field);
}
