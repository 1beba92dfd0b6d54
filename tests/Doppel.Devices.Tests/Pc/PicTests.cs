using Doppel.Devices.Pc;

namespace Doppel.Devices.Tests.Pc;

/// <summary>The 8259 pair as its data sheet has it.</summary>
public sealed class PicTests
{
    private readonly FakeLine _intr = new();
    private readonly PicPair _pic;

    public PicTests()
    {
        _pic = new PicPair(_intr);
        Initialise();
    }

    [Fact]
    public void A_chip_that_was_never_initialised_asks_for_nothing()
    {
        var pic = new PicPair(_intr);
        pic.Out(0x21, 0);
        pic.Line(1).Set(true);
        Assert.False(pic.IsAsserted);
    }

    [Fact]
    public void An_edge_is_delivered_once_with_the_vector_of_its_input()
    {
        _pic.Line(4).Set(true);
        Assert.True(_intr.Level);
        Assert.Equal(0x10, Irr());
        Assert.Equal(0x24, _pic.Acknowledge());
        Assert.False(_intr.Level);
        Assert.Equal(0, Irr());
        Assert.Equal(0x10, Isr());
        _pic.Out(0x20, 0x20);
        Assert.Equal(0, Isr());
        Assert.False(_intr.Level);
        _pic.Line(4).Set(false);
        _pic.Line(4).Set(true);
        Assert.True(_intr.Level);
    }

    [Fact]
    public void A_lower_request_waits_for_the_end_of_the_higher_and_a_higher_one_nests()
    {
        _pic.Line(4).Set(true);
        _pic.Acknowledge();
        _pic.Line(6).Set(true);
        Assert.False(_intr.Level);
        _pic.Line(1).Set(true);
        Assert.Equal(0x21, _pic.Acknowledge());
        Assert.Equal(0x12, Isr());
        _pic.Out(0x20, 0x20);
        Assert.Equal(0x10, Isr());
        _pic.Out(0x20, 0x20);
        Assert.Equal(0x26, _pic.Acknowledge());
    }

    [Fact]
    public void The_slave_answers_through_the_cascade()
    {
        _pic.Line(12).Set(true);
        Assert.Equal(0x04, Irr());
        Assert.Equal(0x2C, _pic.Acknowledge());
        Assert.Equal(0x04, Isr());
        _pic.Out(0xA0, 0x0B);
        Assert.Equal(0x10, _pic.In(0xA0));
        _pic.Line(9).Set(true);
        Assert.False(_intr.Level);
        _pic.Out(0xA0, 0x20);
        _pic.Out(0x20, 0x20);
        Assert.Equal(0x29, _pic.Acknowledge());
    }

    [Fact]
    public void A_request_that_vanishes_gives_the_spurious_vector_and_nothing_in_service()
    {
        _pic.Line(3).Set(true);
        _pic.Line(3).Set(false);
        Assert.False(_intr.Level);
        Assert.Equal(0x27, _pic.Acknowledge());
        Assert.Equal(0, Isr());
    }

    [Fact]
    public void A_request_masked_before_its_acknowledge_is_spurious()
    {
        _pic.Line(7).Set(true);
        _pic.Out(0x21, 0x80);
        Assert.Equal(0x27, _pic.Acknowledge());
        Assert.Equal(0, Isr());
        _pic.Out(0x21, 0);
        Assert.Equal(0x27, _pic.Acknowledge());
        Assert.Equal(0x80, Isr());
    }

    [Fact]
    public void A_single_chip_answers_a_vanished_request_with_input_7()
    {
        var chip = new Pic8259("slave", 0xDE);
        foreach ((int port, byte value) in new[] { (0, (byte)0x11), (1, (byte)0x28), (1, (byte)2), (1, (byte)1) })
            chip.Write(port, value);
        chip.SetInput(3, true);
        Assert.True(chip.Output);
        chip.SetInput(3, false);
        Assert.Equal(7, chip.Acknowledge(out bool spurious));
        Assert.True(spurious);
        Assert.Equal(0, chip.InService);
    }

    [Fact]
    public void A_level_triggered_input_asks_until_its_line_falls()
    {
        _pic.Out(0x4D0, 0xFF);
        _pic.Out(0x4D1, 0xFF);
        Assert.Equal(0xF8, _pic.In(0x4D0));
        Assert.Equal(0xDE, _pic.In(0x4D1));
        _pic.Line(9).Set(true);
        Assert.Equal(0x29, _pic.Acknowledge());
        _pic.Out(0xA0, 0x20);
        _pic.Out(0x20, 0x20);
        Assert.True(_intr.Level);
        Assert.Equal(0x29, _pic.Acknowledge());
        _pic.Line(9).Set(false);
        _pic.Out(0xA0, 0x20);
        _pic.Out(0x20, 0x20);
        Assert.False(_intr.Level);
    }

    [Fact]
    public void Automatic_end_of_interrupt_keeps_nothing_in_service()
    {
        Initialise(icw4: 3);
        _pic.Line(1).Set(true);
        _pic.Line(5).Set(true);
        Assert.Equal(0x21, _pic.Acknowledge());
        Assert.Equal(0, Isr());
        Assert.Equal(0x25, _pic.Acknowledge());
    }

    [Fact]
    public void Rotation_in_automatic_mode_makes_the_served_input_the_lowest()
    {
        Initialise(icw4: 3);
        _pic.Out(0x20, 0x80);
        _pic.Line(3).Set(true);
        Assert.Equal(0x23, _pic.Acknowledge());
        _pic.Line(3).Set(false);
        _pic.Line(3).Set(true);
        _pic.Line(5).Set(true);
        Assert.Equal(0x25, _pic.Acknowledge());
        Assert.Equal(0x23, _pic.Acknowledge());
    }

    [Fact]
    public void Rotation_on_the_end_of_interrupt_and_set_priority()
    {
        _pic.Line(4).Set(true);
        _pic.Acknowledge();
        _pic.Out(0x20, 0xA0);
        _pic.Line(3).Set(true);
        _pic.Line(5).Set(true);
        Assert.Equal(0x25, _pic.Acknowledge());
        _pic.Out(0x20, 0xE5);
        _pic.Out(0x20, 0xC2);
        Assert.Equal(0x23, _pic.Acknowledge());
        _pic.Out(0x20, 0x63);
        Assert.Equal(0, Isr());
    }

    [Fact]
    public void The_special_mask_mode_lets_lower_requests_through_a_masked_level_in_service()
    {
        _pic.Line(3).Set(true);
        _pic.Acknowledge();
        _pic.Line(6).Set(true);
        _pic.Out(0x21, 0x08);
        Assert.False(_intr.Level);
        _pic.Out(0x20, 0x68);
        Assert.True(_intr.Level);
        Assert.Equal(0x26, _pic.Acknowledge());
        _pic.Out(0x20, 0x20);
        Assert.Equal(0x08, Isr());
        _pic.Out(0x20, 0x48);
        _pic.Out(0x20, 0x20);
        Assert.Equal(0, Isr());
    }

    [Fact]
    public void A_poll_acknowledges_by_a_read()
    {
        _pic.Line(5).Set(true);
        _pic.Out(0x20, 0x0C);
        Assert.Equal(0x85, _pic.In(0x20));
        Assert.Equal(0x20, Isr());
        _pic.Out(0x20, 0x20);
        _pic.Out(0x20, 0x0C);
        Assert.Equal(0, _pic.In(0x20));
    }

    [Fact]
    public void Initialisation_clears_masks_and_edges_already_seen()
    {
        _pic.Out(0x21, 0xFF);
        _pic.Line(4).Set(true);
        Initialise();
        Assert.Equal(0, _pic.In(0x21));
        Assert.False(_intr.Level);
        Assert.Equal(0, Irr());
    }

    [Fact]
    public void The_cascade_input_has_no_wire()
    {
        _pic.Line(2).Set(true);
        Assert.False(_intr.Level);
    }

    [Fact]
    public void An_output_that_acknowledges_at_once_ends_low()
    {
        PicPair? pic = null;
        List<int> vectors = [];
        bool level = false;
        pic = new PicPair(new CallbackLine(on =>
        {
            level = on;
            if (on)
                vectors.Add(pic!.Acknowledge());
        }));
        Initialise(pic, 3);
        pic.Line(3).Set(true);
        pic.Line(1).Set(true);
        Assert.Equal([0x23, 0x21], vectors);
        Assert.False(level);
    }

    private static void Initialise(PicPair pic, int icw4)
    {
        pic.Out(0x20, 0x11);
        pic.Out(0x21, 0x20);
        pic.Out(0x21, 0x04);
        pic.Out(0x21, icw4);
        pic.Out(0xA0, 0x11);
        pic.Out(0xA1, 0x28);
        pic.Out(0xA1, 0x02);
        pic.Out(0xA1, icw4);
    }

    private void Initialise(int icw4 = 1) => Initialise(_pic, icw4);

    private int Irr()
    {
        _pic.Out(0x20, 0x0A);
        return _pic.In(0x20);
    }

    private int Isr()
    {
        _pic.Out(0x20, 0x0B);
        return _pic.In(0x20);
    }
}
