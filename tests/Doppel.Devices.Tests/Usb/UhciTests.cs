using Doppel.Devices.Input;
using Doppel.Devices.Usb;
using static Doppel.Devices.Tests.Usb.UhciMachine;

namespace Doppel.Devices.Tests.Usb;

/// <summary>The controller as the UHCI design guide has it.</summary>
public sealed class UhciTests : IDisposable
{
    private readonly UhciMachine _uhci = new();

    public void Dispose() => _uhci.Dispose();

    [Fact]
    public void Registers_begin_as_the_guide_has_them()
    {
        Assert.Equal(0, _uhci.Read(Command));
        Assert.Equal(0x20, _uhci.Read(UhciMachine.Status));
        Assert.Equal(0, _uhci.Read(InterruptEnable));
        Assert.Equal(0x40, _uhci.Read(0x0C));
        // A device is there and has just come; the other port is empty. Bit 7 is always set, and clear where there is no port.
        Assert.Equal(0x0093, _uhci.Read(Port1));
        Assert.Equal(0x0080, _uhci.Read(Port2));
        Assert.Equal(0, _uhci.Read(0x14) & 0x80);
        _uhci.Write(Port1, 2);
        Assert.Equal(0x0091, _uhci.Read(Port1));
    }

    [Fact]
    public void A_controller_that_was_moved_walks_its_frames_when_the_one_that_was_saved_does()
    {
        _uhci.Start();
        // Nothing happens for so long that it takes several frames at once; then it takes some because a register is read.
        _uhci.Clock.Advance((40 * Frame) + (3 * Frame));
        _ = _uhci.Read(FrameNumber);
        using UhciMachine there = _uhci.Move();
        for (int i = 0; i < 40; i++)
        {
            _uhci.Clock.Advance(Frame / 2);
            there.Clock.Advance(Frame / 2);
            Assert.Equal(_uhci.Save(), there.Save());
        }
    }

    [Fact]
    public void Frames_are_counted_while_it_runs()
    {
        _uhci.Start();
        int first = _uhci.Read(FrameNumber);
        _uhci.Clock.Advance(100 * Frame);
        Assert.Equal((first + 100) & 0x7FF, _uhci.Read(FrameNumber));
        _uhci.Write(FrameNumber, 0);
        Assert.Equal((first + 100) & 0x7FF, _uhci.Read(FrameNumber));
        _uhci.Write(Command, 0xC0);
        Assert.Equal(0x20, _uhci.Read(UhciMachine.Status));
        _uhci.Write(FrameNumber, 0x7FF);
        _uhci.Clock.Advance(100 * Frame);
        Assert.Equal(0x7FF, _uhci.Read(FrameNumber));
    }

    [Fact]
    public void A_transfer_that_completes_interrupts_and_gives_way_to_the_next()
    {
        _uhci.Start();
        byte[] device = _uhci.Control(0, new UsbSetup(0x80, 6, 0x0100, 0, 18))!;
        Assert.Equal(18, device.Length);
        Assert.Equal((1, 8, 0x27, 6), (device[1], device[7], device[8], device[9]));
        Assert.Equal(1, _uhci.Read(UhciMachine.Status));
        Assert.True(_uhci.Line.Level);
        _uhci.Write(UhciMachine.Status, 1);
        Assert.False(_uhci.Line.Level);
    }

    [Fact]
    public void A_short_packet_interrupts_and_stops_the_queue()
    {
        _uhci.Start();
        // More is asked for than there is: 18 bytes in three packets, the last of two.
        Assert.Equal(18, _uhci.Control(0, new UsbSetup(0x80, 6, 0x0100, 0, 64))!.Length);
        _uhci.Write(InterruptEnable, 8);
        _uhci.Write(UhciMachine.Status, 1);
        Assert.True(_uhci.Memory.TryWrite(Buffers, new UsbSetup(0x80, 6, 0x0100, 0, 64).ToBytes()));
        _uhci.Put(Transfers, Transfers + 0x10 | 4, Active | (3 << 27), Token(Setup, 0, 0, 8), Buffers);
        for (uint i = 1; i <= 3; i++)
            _uhci.Put(Transfers + (16 * i), (Transfers + (16 * (i + 1))) | 4, Active | (3 << 27) | DetectShort, Token(In, 0, 0, 8), Buffers + (8 * i));
        _uhci.Put(Queue + 4, Transfers);
        _uhci.Clock.Advance(20 * Frame);
        Assert.True(_uhci.Line.Level);
        Assert.Equal(Transfers + 48, _uhci.Word(Queue + 4) & ~0xFu);
        Assert.Equal(1u, _uhci.Word(Transfers + 48 + 4) & 0x7FF);
    }

    [Fact]
    public void Nobody_at_an_address_is_a_timeout_after_three_errors()
    {
        _uhci.Start();
        _uhci.Submit(Token(In, 99, 0, 8));
        _uhci.Clock.Advance(Frame * 8);
        uint status = _uhci.Word(Transfers + 4);
        Assert.Equal(Stalled | TimedOut, status & (Stalled | TimedOut | Active | (3 << 27)));
        Assert.Equal(3, _uhci.Read(UhciMachine.Status));
        Assert.True(_uhci.Line.Level);
    }

    [Fact]
    public void An_unknown_request_stalls_and_the_next_setup_ends_it()
    {
        _uhci.Start();
        Assert.Null(_uhci.Control(0, new UsbSetup(0xC0, 0x55, 0, 0, 4)));
        Assert.Null(_uhci.Control(0, new UsbSetup(0x40, 0x55, 0, 0, 0)));
        Assert.Equal(18, _uhci.Control(0, new UsbSetup(0x80, 6, 0x0100, 0, 18))!.Length);
    }

    [Fact]
    public void A_packet_longer_than_the_descriptor_babbles()
    {
        _uhci.Configure();
        _uhci.Tablet.Move(new(1, 2, 0, 0, 0, PointerButtons.Left));
        _uhci.Submit(Token(In, 5, 1, 3));
        _uhci.Clock.Advance(10 * Frame);
        Assert.Equal(Stalled | Babble, _uhci.Word(Transfers + 4) & (Active | Stalled | Babble));
    }

    [Fact]
    public void A_wrong_descriptor_stops_the_controller_with_a_process_error()
    {
        _uhci.Start();
        _uhci.Submit(Token(0x77, 0, 0, 8));
        _uhci.Clock.Advance(10 * Frame);
        Assert.Equal(0x30, _uhci.Read(UhciMachine.Status) & 0x30);
        Assert.Equal(0, _uhci.Read(Command) & 1);
        Assert.True(_uhci.Line.Level);
    }

    [Fact]
    public void Memory_that_is_not_there_stops_it_with_a_system_error()
    {
        _uhci.Start();
        _uhci.Put(Queue + 4, 0xFF00_0000);
        _uhci.Clock.Advance(10 * Frame);
        Assert.Equal(0x28, _uhci.Read(UhciMachine.Status) & 0x28);
    }

    [Fact]
    public void Queues_in_a_ring_end_the_frame()
    {
        _uhci.Start();
        _uhci.Put(Queue, (Queue + 0x10) | 2, 1);
        _uhci.Put(Queue + 0x10, (Queue + 0x20) | 2, 1);
        _uhci.Put(Queue + 0x20, (Queue + 0x10) | 2, 1);
        int first = _uhci.Read(FrameNumber);
        _uhci.Clock.Advance(50 * Frame);
        Assert.Equal((first + 50) & 0x7FF, _uhci.Read(FrameNumber));
        // A transfer in the ring is served all the same.
        Assert.True(_uhci.Memory.TryWrite(Buffers, new UsbSetup(0, 5, 7, 0, 0).ToBytes()));
        _uhci.Put(Transfers, Transfers + 0x10, Active | (3 << 27), Token(Setup, 0, 0, 8), Buffers);
        _uhci.Put(Transfers + 0x10, 1, Active | (3 << 27), Token(In, 0, 0, 0), 0);
        _uhci.Put(Queue + 0x24, Transfers);
        _uhci.Clock.Advance(10 * Frame);
        Assert.Equal(7, _uhci.Tablet.Address);
    }

    [Fact]
    public void A_quiet_schedule_is_walked_seldom_and_what_the_guest_reads_is_up_to_date()
    {
        _uhci.Configure();
        _uhci.Ask();
        _uhci.Clock.Advance(100 * Frame);
        (string _, long? due) = _uhci.Clock.Timers.Single(timer => timer.Name == "uhci");
        Assert.True(due > _uhci.Clock.Now + Frame || _uhci.Clock.Now % (8 * Frame) == 0);
        _uhci.Tablet.Move(new(1, 2, 0, 0, 0, PointerButtons.Left));
        _uhci.Clock.AdvanceLate(2 * Frame);
        Assert.Equal(1, _uhci.Read(UhciMachine.Status) & 1);
        Assert.Equal(0u, _uhci.Word(Transfers + 4) & Active);
    }

    [Fact]
    public void A_reset_of_the_controller_finds_the_device_anew()
    {
        _uhci.Configure();
        _uhci.Write(Command, 2);
        Assert.Equal(0x0093, _uhci.Read(Port1));
        Assert.Equal(0, _uhci.Tablet.Address);
        Assert.Equal(0, _uhci.Read(Command));
        _uhci.Configure();
        Assert.Equal(5, _uhci.Tablet.Address);
    }

    [Fact]
    public void A_device_in_a_suspended_port_wakes_the_host_if_it_may()
    {
        _uhci.Configure();
        _uhci.Write(Port1, 0x1004);
        _uhci.Tablet.Move(new(1, 2, 0, 0, 0, default));
        Assert.Equal(0, _uhci.Read(UhciMachine.Status));
        _uhci.Write(Port1, 0x0044 | 0x1000);
        _uhci.Write(Port1, 0x0004);
        Assert.NotNull(_uhci.Control(5, new UsbSetup(0, 3, 1, 0, 0)));
        _uhci.Ask();
        _uhci.Clock.Advance(20 * Frame);
        _uhci.Write(UhciMachine.Status, 0x3F);
        _uhci.Write(Port1, 0x1004);
        Assert.True(_uhci.Tablet.IsReady);
        _uhci.Tablet.Move(new(3, 4, 0, 0, 0, default));
        Assert.Equal(4, _uhci.Read(UhciMachine.Status));
        Assert.Equal(0x1040, _uhci.Read(Port1) & 0x1040);
        Assert.True(_uhci.Line.Level);
        // The driver ends the resume signal; the report is still there.
        _uhci.Write(Port1, 0x0004);
        Assert.Equal(0, _uhci.Read(Port1) & 0x1040);
        _uhci.Ask();
        _uhci.Clock.Advance(20 * Frame);
        Assert.Equal([0, 3, 0, 4, 0, 0], _uhci.Bytes(Buffers, 6));
    }

    [Fact]
    public void The_whole_bus_asleep_is_woken_too()
    {
        _uhci.Configure();
        Assert.NotNull(_uhci.Control(5, new UsbSetup(0, 3, 1, 0, 0)));
        _uhci.Write(Command, 0xC0);
        _uhci.Write(Command, 0xC8);
        _uhci.Write(UhciMachine.Status, 0x3F);
        Assert.False(_uhci.Line.Level);
        _uhci.Tablet.Move(new(3, 4, 0, 0, 0, default));
        Assert.True(_uhci.Line.Level);
        _uhci.Write(Command, 0xD8);
        _uhci.Write(Command, 0xC0);
        _uhci.Write(Command, 0xC1);
        _uhci.Ask();
        _uhci.Clock.Advance(20 * Frame);
        Assert.Equal([0, 3, 0, 4, 0, 0], _uhci.Bytes(Buffers, 6));
    }

    [Fact]
    public void Restored_in_the_middle_of_a_control_transfer_it_goes_on()
    {
        _uhci.Start();
        Assert.True(_uhci.Memory.TryWrite(Buffers, new UsbSetup(0x80, 6, 0x0100, 0, 18).ToBytes()));
        // Breadth first: the rest of the transfer waits for the next frames.
        for (uint i = 0; i < 5; i++)
        {
            byte pid = i == 0 ? Setup : i == 4 ? Out : In;
            int length = i switch { 0 => 8, 3 => 2, 4 => 0, _ => 8 };
            _uhci.Put(Transfers + (16 * i), i == 4 ? 1 : Transfers + (16 * (i + 1)), Active | (3 << 27), Token(pid, 0, 0, length), Buffers + (8 * i));
        }

        _uhci.Put(Queue + 4, Transfers);
        // Who reads a register sees each frame by itself.
        do
        {
            _uhci.Clock.Advance(Frame);
            _ = _uhci.Read(FrameNumber);
        }
        while (_uhci.Word(Queue + 4) <= Transfers + 16);
        Assert.NotEqual(1u, _uhci.Word(Queue + 4));
        using UhciMachine copy = _uhci.Move();
        Assert.Equal(_uhci.Save(), copy.Save());
        copy.Clock.Advance(10 * Frame);
        Assert.Equal(1u, copy.Word(Queue + 4));
        Assert.Equal([18, 1, 0x10, 1], copy.Bytes(Buffers + 8, 4));
        Assert.Equal([3, 1], copy.Bytes(Buffers + 24, 2));
    }
}
