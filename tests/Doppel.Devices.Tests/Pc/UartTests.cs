using Doppel.Devices.Pc;

namespace Doppel.Devices.Tests.Pc;

/// <summary>The 16550A as its data sheet has it.</summary>
public sealed class UartTests : IDisposable
{
    private const int Data = 0x3F8, Enable = 0x3F9, Identity = 0x3FA, LineControl = 0x3FB, ModemControl = 0x3FC, LineStatus = 0x3FD, ModemStatus = 0x3FE, Scratch = 0x3FF;
    private readonly FakeClock _clock = new();
    private readonly FakeLine _line = new();
    private readonly ThrottledConsole _console = new();
    private readonly Uart16550 _uart;

    public UartTests()
    {
        _uart = new Uart16550("serial0", 0x3F8, _clock, _line, _console, new Lock());
        _uart.Out(LineControl, 3);
        _uart.Out(ModemControl, 0x0B);
    }

    public void Dispose() => _uart.Dispose();

    [Fact]
    public void Output_leaves_at_once_and_the_transmitter_stays_empty()
    {
        foreach (byte value in "hello"u8)
        {
            Assert.Equal(0x60, _uart.In(LineStatus));
            _uart.Out(Data, value);
        }

        Assert.Equal("hello", _console.Text);
    }

    [Fact]
    public void The_holder_empty_interrupt_comes_when_enabled_and_after_each_byte_and_reading_iir_clears_it()
    {
        _uart.Out(Enable, 2);
        Assert.True(_line.Level);
        Assert.Equal(0x02, _uart.In(Identity));
        Assert.False(_line.Level);
        Assert.Equal(0x01, _uart.In(Identity));
        int rises = _line.Rises;
        _uart.Out(Data, 'a');
        _uart.Out(Data, 'b');
        Assert.Equal(rises + 2, _line.Rises);
        Assert.Equal(0x02, _uart.In(Identity));
    }

    [Fact]
    public void A_full_back_end_holds_the_guest_back_and_loses_nothing()
    {
        _uart.Out(Identity, 1);
        _uart.Out(Enable, 2);
        _console.Accepts = false;
        for (int i = 0; i < 16; i++)
            _uart.Out(Data, 'a' + i);
        Assert.Equal(0x00, _uart.In(LineStatus));
        Assert.False(_line.Level);
        Assert.Equal("", _console.Text);
        _uart.Out(Data, 'q');
        _console.Accepts = true;
        Assert.True(_line.Level);
        Assert.Equal(0x60, _uart.In(LineStatus));
        Assert.Equal("abcdefghijklmnopq", _console.Text);
    }

    [Fact]
    public void Input_waits_while_the_guest_does_not_assert_rts()
    {
        _uart.Out(ModemControl, 0x09);
        _console.Send("hi");
        Assert.Equal(0x60, _uart.In(LineStatus));
        // A driver that probes and opens the port clears the FIFOs; nothing may be lost by that.
        _uart.Out(Identity, 7);
        Assert.Equal(0x60, _uart.In(LineStatus));
        _uart.Out(ModemControl, 0x0B);
        Assert.Equal((byte)'h', _uart.In(Data));
        Assert.Equal((byte)'i', _uart.In(Data));
    }

    [Fact]
    public void A_guest_that_has_never_touched_modem_control_is_given_input_when_it_looks()
    {
        _uart.Reset();
        _uart.Out(LineControl, 3);
        _console.Send("hi");
        _uart.Out(Identity, 7);
        Assert.Equal(0x61, _uart.In(LineStatus));
        Assert.Equal((byte)'h', _uart.In(Data));
        Assert.Equal(0x61, _uart.In(LineStatus));
        Assert.Equal((byte)'i', _uart.In(Data));
        Assert.Equal(0x60, _uart.In(LineStatus));
    }

    [Fact]
    public void Received_bytes_interrupt_at_the_trigger_level()
    {
        _uart.Out(Identity, 0x81);
        _uart.Out(Enable, 1);
        _console.Send("1234567");
        Assert.Equal(0x61, _uart.In(LineStatus));
        Assert.False(_line.Level);
        _console.Send("8");
        Assert.True(_line.Level);
        Assert.Equal(0xC4, _uart.In(Identity));
        Assert.Equal((byte)'1', _uart.In(Data));
        Assert.False(_line.Level);
    }

    [Fact]
    public void Bytes_below_the_trigger_level_interrupt_after_four_characters_of_silence()
    {
        SetDivisor(1);
        _uart.Out(Identity, 0xC1);
        _uart.Out(Enable, 1);
        _console.Send("x");
        _clock.Advance(340_000);
        Assert.False(_line.Level);
        _clock.Advance(10_000);
        Assert.True(_line.Level);
        Assert.Equal(0xCC, _uart.In(Identity));
        Assert.Equal((byte)'x', _uart.In(Data));
        Assert.Equal(0xC1, _uart.In(Identity));
    }

    [Fact]
    public void Input_waits_in_the_back_end_when_the_fifo_is_full()
    {
        _uart.Out(Identity, 1);
        string text = string.Concat(Enumerable.Range(0, 100).Select(i => (char)('0' + (i % 64))));
        _console.Send(text);
        string read = "";
        while ((_uart.In(LineStatus) & 1) != 0)
        {
            Assert.Equal(0, _uart.In(LineStatus) & 2);
            read += (char)_uart.In(Data);
        }

        Assert.Equal(text, read);
    }

    [Fact]
    public void Interrupts_are_reported_by_priority()
    {
        _uart.Out(Identity, 1);
        _uart.Out(ModemControl, 0x1F);
        _uart.Out(ModemControl, 0x10);
        for (int i = 0; i < 17; i++)
            _uart.Out(Data, i);
        _uart.Out(Enable, 0x0F);
        Assert.Equal(0xC6, _uart.In(Identity));
        Assert.Equal(0x63, _uart.In(LineStatus));
        Assert.Equal(0xC4, _uart.In(Identity));
        while ((_uart.In(LineStatus) & 1) != 0)
            _uart.In(Data);
        Assert.Equal(0xC2, _uart.In(Identity));
        Assert.Equal(0xC0, _uart.In(Identity));
        Assert.NotEqual(0, _uart.In(ModemStatus) & 0x0F);
        Assert.Equal(0xC1, _uart.In(Identity));
    }

    [Fact]
    public void Loopback_returns_bytes_and_modem_lines_and_sends_nothing()
    {
        _uart.Out(ModemControl, 0x10);
        Assert.Equal(0x00, _uart.In(ModemStatus) & 0xF0);
        _uart.Out(ModemControl, 0x1A);
        Assert.Equal(0x90, _uart.In(ModemStatus) & 0xF0);
        _uart.Out(Data, 0x5A);
        Assert.Equal(0x61, _uart.In(LineStatus));
        Assert.Equal(0x5A, _uart.In(Data));
        Assert.Equal("", _console.Text);
    }

    [Fact]
    public void Ring_reports_its_trailing_edge_only()
    {
        _uart.Out(ModemControl, 0x10);
        _uart.In(ModemStatus);
        _uart.Out(ModemControl, 0x14);
        Assert.Equal(0x40, _uart.In(ModemStatus));
        _uart.Out(ModemControl, 0x10);
        Assert.Equal(0x04, _uart.In(ModemStatus));
        Assert.Equal(0x00, _uart.In(ModemStatus));
    }

    [Fact]
    public void Out2_gates_the_interrupt()
    {
        _uart.Out(ModemControl, 3);
        _uart.Out(Enable, 2);
        Assert.False(_line.Level);
        _uart.Out(ModemControl, 0x0B);
        Assert.True(_line.Level);
    }

    [Fact]
    public void A_break_comes_as_a_zero_byte_with_its_status()
    {
        _uart.Out(Identity, 1);
        _uart.Out(Enable, 4);
        _uart.ReceiveBreak();
        Assert.True(_line.Level);
        Assert.Equal(0xF1, _uart.In(LineStatus));
        Assert.Equal(0x61, _uart.In(LineStatus));
        Assert.Equal(0, _uart.In(Data));
    }

    [Fact]
    public void Fifo_presence_scratch_and_divisor()
    {
        Assert.Equal(0x01, _uart.In(Identity));
        _uart.Out(Identity, 1);
        Assert.Equal(0xC1, _uart.In(Identity));
        _uart.Out(Scratch, 0xA5);
        Assert.Equal(0xA5, _uart.In(Scratch));
        SetDivisor(0x1234);
        _uart.Out(LineControl, 0x83);
        Assert.Equal(0x34, _uart.In(Data));
        Assert.Equal(0x12, _uart.In(Enable));
        _uart.Out(LineControl, 0x03);
        _uart.Out(Enable, 0xFF);
        Assert.Equal(0x0F, _uart.In(Enable));
    }

    [Fact]
    public void Clearing_the_receive_fifo_drops_what_it_held()
    {
        _uart.Out(Identity, 1);
        _console.Send("abc");
        _uart.Out(Identity, 3);
        Assert.Equal(0x60, _uart.In(LineStatus));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(3)]
    public void Bytes_pass_whole_whatever_the_word_length(int lineControl)
    {
        _uart.Out(LineControl, lineControl);
        foreach (byte value in "plain~"u8)
            _uart.Out(Data, value);
        Assert.Equal("plain~", _console.Text);
        _console.Send("z");
        Assert.Equal((byte)'z', _uart.In(Data));
    }

    [Fact]
    public void A_program_that_sets_nothing_up_is_read_plainly()
    {
        _uart.Reset();
        foreach (byte value in "hello"u8)
            _uart.Out(Data, value);
        Assert.Equal("hello", _console.Text);
    }

    [Fact]
    public void After_disposal_the_back_end_is_disconnected()
    {
        _uart.Dispose();
        _console.Send("a");
        Assert.Equal(0x60, _uart.In(LineStatus));
    }

    private void SetDivisor(int divisor)
    {
        _uart.Out(LineControl, 0x83);
        _uart.Out(Data, divisor & 0xFF);
        _uart.Out(Enable, divisor >> 8);
        _uart.Out(LineControl, 0x03);
    }
}
