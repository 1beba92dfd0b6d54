using Doppel.Devices.Pc;

namespace Doppel.Devices.Tests.Pc;

/// <summary>The keyboard controller as drivers probe it, and the two ways to open address line 20.</summary>
public sealed class I8042Tests
{
    private readonly FakeLine _irq1 = new();
    private readonly FakeLine _irq12 = new();
    private readonly List<bool> _a20 = [];
    private int _resets;

    [Fact]
    public void Self_test_and_interface_tests_pass()
    {
        I8042 device = Make();
        Assert.Equal(0x55, Command(device, 0xAA));
        Assert.Equal(0x00, Command(device, 0xAB));
        Assert.Equal(0x00, Command(device, 0xA9));
        Assert.Equal(0x04, device.In(0x64) & 0x05);
    }

    [Fact]
    public void The_configuration_byte_and_the_memory_read_back()
    {
        I8042 device = Make();
        device.Out(0x64, 0x60);
        device.Out(0x60, 0x47);
        Assert.Equal(0x47, Command(device, 0x20));
        device.Out(0x64, 0xAD);
        device.Out(0x64, 0xA7);
        Assert.Equal(0x77, Command(device, 0x20));
        device.Out(0x64, 0x75);
        device.Out(0x60, 0x99);
        Assert.Equal(0x99, Command(device, 0x35));
    }

    [Fact]
    public void Without_a_keyboard_a_command_times_out()
    {
        I8042 device = Make();
        device.Out(0x60, 0xF2);
        Assert.Equal(0x41, device.In(0x64) & 0x61);
        Assert.Equal(0xFE, device.In(0x60));
        device.Out(0x64, 0xD4);
        device.Out(0x60, 0xFF);
        Assert.Equal(0x61, device.In(0x64) & 0x61);
        Assert.Equal(0xFE, device.In(0x60));
        Assert.Equal(0x00, device.In(0x64) & 0x61);
    }

    [Fact]
    public void The_auxiliary_loop_raises_interrupt_12_and_the_keyboard_loop_interrupt_1()
    {
        I8042 device = Make();
        device.Out(0x64, 0x60);
        device.Out(0x60, 0x03);
        device.Out(0x64, 0xD3);
        device.Out(0x60, 0x5A);
        Assert.True(_irq12.Level);
        Assert.Equal(0x21, device.In(0x64) & 0x21);
        Assert.Equal(0x5A, device.In(0x60));
        Assert.False(_irq12.Level);
        device.Out(0x64, 0xD2);
        device.Out(0x60, 0x5A);
        Assert.True(_irq1.Level);
        Assert.False(_irq12.Level);
        device.In(0x60);
        Assert.False(_irq1.Level);
    }

    [Fact]
    public void The_reset_line_is_pulsed_by_command_and_by_the_output_port()
    {
        I8042 device = Make();
        device.Out(0x64, 0xFF);
        Assert.Equal(0, _resets);
        device.Out(0x64, 0xFE);
        Assert.Equal(1, _resets);
        device.Out(0x64, 0xD1);
        device.Out(0x60, 0x02);
        Assert.Equal(2, _resets);
    }

    [Fact]
    public void Address_line_20_follows_the_output_port()
    {
        I8042 device = Make();
        Assert.Equal(0x02, Command(device, 0xD0) & 0x02);
        device.Out(0x64, 0xD1);
        device.Out(0x60, 0xDD);
        device.Out(0x64, 0xD1);
        device.Out(0x60, 0xDF);
        device.Out(0x64, 0xDD);
        device.Out(0x64, 0xDF);
        Assert.Equal([false, true, false, true], _a20);
    }

    [Fact]
    public void A_keyboard_identifies_itself_with_and_without_translation()
    {
        I8042 device = Make(new Ps2Keyboard());
        device.Out(0x64, 0x60);
        device.Out(0x60, 0x00);
        Assert.Equal([0xFA, 0xAB, 0x83], Keyboard(device, 0xF2));
        device.Out(0x64, 0x60);
        device.Out(0x60, 0x40);
        Assert.Equal([0xFA, 0xAB, 0x41], Keyboard(device, 0xF2));
    }

    [Fact]
    public void A_keyboard_answers_reset_indicators_scan_set_and_nonsense()
    {
        var keyboard = new Ps2Keyboard();
        I8042 device = Make(keyboard);
        device.Out(0x64, 0x60);
        device.Out(0x60, 0x00);
        Assert.Equal([0xFA, 0xAA], Keyboard(device, 0xFF));
        Assert.Equal([0xFA], Keyboard(device, 0xED));
        Assert.Equal([0xFA], Keyboard(device, 0x06));
        Assert.Equal(6, keyboard.Leds);
        Assert.Equal([0xFA], Keyboard(device, 0xF0));
        Assert.Equal([0xFA, 0x02], Keyboard(device, 0x00));
        Assert.Equal([0xEE], Keyboard(device, 0xEE));
        Assert.Equal([0xFE], Keyboard(device, 0x01));
    }

    [Fact]
    public void Keys_come_in_scan_code_set_1_with_an_interrupt_each()
    {
        var keyboard = new Ps2Keyboard();
        I8042 device = Make(keyboard);
        device.Out(0x64, 0x60);
        device.Out(0x60, 0x41);
        Assert.True(keyboard.TrySend([0x1C, 0xF0, 0x1C]));
        device.Poll();
        Assert.True(_irq1.Level);
        Assert.Equal(0x1E, device.In(0x60));
        Assert.Equal(0x9E, device.In(0x60));
        Assert.False(_irq1.Level);
        Assert.Equal(2, _irq1.Rises);
    }

    [Fact]
    public void A_key_that_does_not_fit_is_lost_whole()
    {
        var keyboard = new Ps2Keyboard();
        for (int i = 0; i < 5; i++)
            Assert.True(keyboard.TrySend([0x1C, 0xF0, 0x1C]));
        Assert.False(keyboard.TrySend([0x1C, 0xF0, 0x1C]));
    }

    [Fact]
    public void Port_92_closes_address_line_20_and_resets_on_a_rise_only()
    {
        var port = new PortNinetyTwo(new A20Gate(_a20.Add), () => _resets++);
        Assert.Equal(2, port.In(0x92));
        port.Out(0x92, 0);
        Assert.Equal(0, port.In(0x92));
        port.Out(0x92, 3);
        port.Out(0x92, 3);
        Assert.Equal(1, _resets);
        port.Out(0x92, 2);
        Assert.Equal([false, true], _a20);
    }

    [Fact]
    public void Address_line_20_is_as_either_side_said_last()
    {
        var gate = new A20Gate(_a20.Add);
        var port = new PortNinetyTwo(gate, () => _resets++);
        var device = new I8042(_irq1, _irq12, gate, () => _resets++);
        port.Out(0x92, 0);
        Assert.False(gate.IsOpen);
        Assert.Equal(0, Command(device, 0xD0) & 2);
        device.Out(0x64, 0xDF);
        Assert.Equal(2, port.In(0x92));
        // HIMEM of DOS opens it by one and closes it by the other.
        device.Out(0x64, 0xD1);
        device.Out(0x60, 0xDD);
        Assert.Equal(0, port.In(0x92));
        port.Out(0x92, 2);
        Assert.Equal([false, true, false, true], _a20);
    }

    private static int Command(I8042 device, int command)
    {
        device.Out(0x64, command);
        Assert.Equal(1, device.In(0x64) & 1);
        return device.In(0x60);
    }

    private static List<int> Keyboard(I8042 device, int command)
    {
        device.Out(0x60, command);
        List<int> answers = [];
        while ((device.In(0x64) & 1) != 0)
            answers.Add(device.In(0x60));
        return answers;
    }

    private I8042 Make(Ps2Keyboard? keyboard = null) => new(_irq1, _irq12, new A20Gate(_a20.Add), () => _resets++, keyboard);
}
