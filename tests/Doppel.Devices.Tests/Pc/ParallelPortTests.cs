using Doppel.Devices.Pc;
using Doppel.Machine.Bus;
using Doppel.Machine.State;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Pc;

/// <summary>The parallel port as IEEE 1284's compatibility mode and the PC87332's data sheet have it.</summary>
public sealed class ParallelPortTests : IDisposable
{
    private const int Data = PcPorts.Parallel1, Status = Data + 1, Control = Data + 2;
    private const int NotBusy = 0x80, NotAcknowledge = 0x40, PaperOut = 0x20, Selected = 0x10, NoError = 0x08, TimedOut = 0x01;
    private const int Strobe = 1, Idle = 0x0C, InterruptEnable = 0x10, Reverse = 0x20;
    private readonly ITestOutputHelper _output;
    private readonly FakeLine _line = new();
    private readonly ThrottledConsole _printer = new();
    private readonly ParallelPort _port;

    public ParallelPortTests(ITestOutputHelper output)
    {
        _output = output;
        _port = Make(_printer, _line);
    }

    public void Dispose() => _port.Dispose();

    [Fact]
    public void After_a_reset_the_printer_is_selected_ready_and_has_paper()
    {
        Assert.Equal(NotBusy | NotAcknowledge | Selected | NoError, _port.In(Status));
        Assert.Equal(0, _port.In(Status) & PaperOut);
        Assert.Equal(0xC0 | Idle, _port.In(Control));
        Assert.Equal(0, _port.In(Data));
    }

    [Fact]
    public void The_acknowledge_pulse_is_seen_once_for_each_byte_and_means_no_wait()
    {
        for (int i = 0; i < 3; i++)
        {
            Pulse();
            // What SeaBIOS gives a program as AH, turned round by 48h: D0h for a byte that was printed, then 90h.
            Assert.Equal(0xD0, _port.In(Status) ^ 0x48);
            Assert.Equal(0x90, _port.In(Status) ^ 0x48);
        }

        Pulse();
        _port.Out(Control, Idle | Strobe);
        Assert.Equal(NotAcknowledge, _port.In(Status) & (NotAcknowledge | NotBusy));
    }

    [Fact]
    public void An_EPP_cycle_times_out_and_prints_nothing()
    {
        for (int register = Data + 3; register < Data + 8; register++)
        {
            _port.Out(register, 'x');
            Assert.Equal(TimedOut, _port.In(Status) & TimedOut);
            Assert.Equal(0, _port.In(Status) & TimedOut);
            Assert.Equal(0xFF, _port.In(register));
            _port.Out(Status, TimedOut);
            Assert.Equal(0, _port.In(Status) & TimedOut);
        }

        Assert.Equal("", _printer.Text);
    }

    [Fact]
    public void A_byte_is_printed_once_by_the_edge_of_its_strobe()
    {
        foreach (byte each in "doppel\r\n"u8)
        {
            _port.Out(Data, each);
            Assert.NotEqual(0, _port.In(Status) & NotBusy);
            _port.Out(Control, Idle | Strobe);
            Assert.Equal(0, _port.In(Status) & NotBusy);
            _port.Out(Control, Idle | Strobe);
            _port.Out(Data, '!');
            _port.Out(Control, Idle);
        }

        Assert.Equal("doppel\r\n", _printer.Text);
    }

    [Fact]
    public void Every_value_reaches_the_file_and_is_read_back()
    {
        for (int i = 0; i < 256; i++)
        {
            _port.Out(Data, i);
            Assert.Equal(i, _port.In(Data));
            Pulse();
        }

        Assert.Equal(Enumerable.Range(0, 256).Select(i => (byte)i), _printer.Output);
    }

    [Fact]
    public void A_printer_that_is_initialized_or_not_selected_takes_nothing()
    {
        _port.Out(Data, 'x');
        foreach (int control in (int[])[0x00, 0x04, 0x08])
        {
            _port.Out(Control, control);
            _port.Out(Control, control | Strobe);
            _port.Out(Control, control);
        }

        Assert.Equal("", _printer.Text);
        _port.Out(Control, Idle);
        Pulse();
        Assert.Equal("x", _printer.Text);
    }

    [Fact]
    public void The_acknowledge_interrupts_where_it_is_enabled_until_the_status_is_read()
    {
        Pulse();
        Assert.Equal(0, _line.Rises);
        _port.Out(Control, Idle | InterruptEnable);
        Assert.False(_line.Level);
        _port.Out(Control, Idle | InterruptEnable | Strobe);
        Assert.False(_line.Level);
        _port.Out(Control, Idle | InterruptEnable);
        Assert.True(_line.Level);
        _ = _port.In(Status);
        Assert.False(_line.Level);
        // A driver that never reads the status gets an edge for each byte all the same.
        int rises = _line.Rises;
        for (int i = 0; i < 3; i++)
            Pulse(InterruptEnable);
        Assert.Equal(rises + 3, _line.Rises);
        _port.Out(Control, Idle);
        Assert.False(_line.Level);
    }

    [Fact]
    public void Reversed_lines_are_pulled_up_and_the_register_keeps_its_byte()
    {
        _port.Out(Data, 0x55);
        _port.Out(Control, Idle | Reverse);
        Assert.Equal(0xFF, _port.In(Data));
        _port.Out(Data, 0xAA);
        Assert.Equal(0xFF, _port.In(Data));
        _port.Out(Control, Idle);
        Assert.Equal(0xAA, _port.In(Data));
        Assert.Equal("", _printer.Text);
    }

    [Fact]
    public void A_slow_printer_is_busy_and_loses_nothing()
    {
        _printer.Accepts = false;
        _port.Out(Data, 'a');
        Pulse(InterruptEnable);
        Assert.Equal(0, _port.In(Status) & NotBusy);
        Assert.False(_line.Level);
        // A strobe that doesn't wait is lost, as it is on a printer.
        _port.Out(Data, 'b');
        Pulse(InterruptEnable);
        _printer.Accepts = true;
        Assert.Equal("a", _printer.Text);
        Assert.True(_line.Level);
        Assert.NotEqual(0, _port.In(Status) & NotBusy);
        Pulse(InterruptEnable);
        Assert.Equal("ab", _printer.Text);
    }

    [Fact]
    public void A_byte_that_waits_for_the_printer_survives_saving_and_a_reset()
    {
        _printer.Accepts = false;
        _port.Out(Data, 'a');
        _port.Out(Control, Idle | InterruptEnable | Strobe);
        var writer = new StateWriter();
        _port.Save(writer);
        FakeLine line = new();
        ThrottledConsole printer = new();
        using ParallelPort copy = Make(printer, line);
        copy.Restore(new StateReader(writer.ToArray()), copy.SectionVersion);
        Assert.Equal("a", printer.Text);
        Assert.False(line.Level);
        Assert.Equal(0, copy.In(Status) & NotBusy);
        copy.Out(Control, Idle | InterruptEnable);
        Assert.True(line.Level);
        Assert.Equal("a", printer.Text);
        _port.Reset();
        Assert.Equal("a", _printer.Text);
        Assert.NotEqual(0, _port.In(Status) & NotBusy);
    }

    [Fact]
    public void Random_accesses_do_no_harm() => Harm(20_000);

    [Fact]
    [Trait("Category", "Slow")]
    public void A_million_random_accesses_do_no_harm() => Harm(1_000_000);

    private static ParallelPort Make(ThrottledConsole printer, FakeLine line) => new("parallel0", PcPorts.Parallel1, line, printer, new Lock());

    private void Pulse(int more = 0)
    {
        _port.Out(Control, Idle | more | Strobe);
        _port.Out(Control, Idle | more);
    }

    private void Harm(int count)
    {
        var random = new Random(TestSeed.Take(_output));
        IIoRegion region = _port.Ports[0].Region;
        for (int i = 0; i < count; i++)
        {
            ulong register = (ulong)random.Next(10);
            int size = 1 << random.Next(4);
            switch (random.Next(8))
            {
                case < 4:
                    region.Write(register, size, (ulong)random.NextInt64());
                    break;
                case < 6:
                    _ = region.Read(register, size);
                    break;
                case 6:
                    _printer.Accepts = random.Next(4) != 0;
                    break;
                default:
                    _port.Out(Control, Idle | (random.Next(2) * InterruptEnable));
                    break;
            }

            Assert.True(!_line.Level || (_port.In(Control) & InterruptEnable) != 0, "the interrupt is requested though it is disabled");
        }

        // Whatever came before, it prints.
        _printer.Accepts = true;
        _port.Out(Control, Idle);
        byte[] before = _printer.Output;
        _port.Out(Data, 'z');
        Pulse();
        Assert.Equal([.. before, (byte)'z'], _printer.Output);
    }
}
