using System.Text;
using Doppel.Devices.Console;
using Doppel.Vmm.Consoles;

namespace Doppel.Vmm.Tests.Consoles;

public sealed class PanicWatchTests
{
    private readonly MemoryConsole _console = new();
    private readonly PanicWatch _watch;
    private int _ended;

    public PanicWatchTests()
    {
        _watch = new PanicWatch(_console);
        _watch.Ended += () => _ended++;
    }

    [Fact]
    public void A_panic_line_gives_the_reason_and_passes_through()
    {
        Write("[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n");
        Assert.Equal("VFS: Unable to mount root fs on unknown-block(0,0)", _watch.Reason);
        Assert.Contains("Kernel panic", _console.Text, StringComparison.Ordinal);
        Assert.Equal(0, _ended);
    }

    [Fact]
    public void The_end_line_after_a_panic_ends_the_machine()
    {
        Write("[    1.2] ---[ end Kernel panic - not syncing: x ]---\n");
        Assert.Equal(0, _ended);
        Write("[    1.2] Kernel panic - not syncing: x\n[    1.3] CPU: 0 PID: 1\n[    1.4] ---[ end Kernel panic - not syncing: x ]---\n");
        Assert.Equal(1, _ended);
    }

    [Theory]
    [InlineData("echo Kernel panic - not syncing: no\n")]
    [InlineData("Kernel panic - not syncing: said a program\n")]
    [InlineData("[    1.2] Kernel panic - not syncing: no end of line")]
    [InlineData("root@doppel:~# [ 1.2] Kernel panic - not syncing: typed\n")]
    public void What_is_not_a_line_of_the_kernels_log_is_no_panic(string text)
    {
        Write(text);
        Assert.Null(_watch.Reason);
    }

    [Fact]
    public void A_line_that_comes_byte_by_byte_is_seen()
    {
        foreach (char c in "[   10.0][    T1] Kernel panic - not syncing: slow\n")
            Write(c.ToString());
        Assert.Equal("slow", _watch.Reason);
    }

    [Fact]
    public void A_very_long_line_does_not_hurt()
    {
        Write(new string('x', 100_000) + "\n[    1.2] Kernel panic - not syncing: y\n");
        Assert.Equal("y", _watch.Reason);
    }

    private void Write(string text) => _watch.Write(Encoding.UTF8.GetBytes(text));
}
