using Doppel.Devices.Input;
using Doppel.Devices.Pc;

namespace Doppel.Devices.Tests.Input;

/// <summary>Keyboard and mouse behind the keyboard controller, as their data sheets and drivers have them.</summary>
public sealed class Ps2Tests : IDisposable
{
    private readonly FakeClock _clock = new();
    private readonly Ps2Keyboard _keyboard;
    private readonly Ps2Mouse _mouse = new();
    private readonly I8042 _controller;

    public Ps2Tests()
    {
        _keyboard = new Ps2Keyboard(_clock);
        _controller = new I8042(new FakeLine(), new FakeLine(), new A20Gate(_ => { }), () => { }, _keyboard, _mouse);
        SetConfiguration(0x00);
    }

    public void Dispose() => _keyboard.Dispose();

    [Theory]
    [InlineData("a", new byte[] { 0x1C }, new byte[] { 0xF0, 0x1C })]
    [InlineData("f7", new byte[] { 0x83 }, new byte[] { 0xF0, 0x83 })]
    [InlineData("up", new byte[] { 0xE0, 0x75 }, new byte[] { 0xE0, 0xF0, 0x75 })]
    [InlineData("rightctrl", new byte[] { 0xE0, 0x14 }, new byte[] { 0xE0, 0xF0, 0x14 })]
    [InlineData("kpenter", new byte[] { 0xE0, 0x5A }, new byte[] { 0xE0, 0xF0, 0x5A })]
    [InlineData("print", new byte[] { 0xE0, 0x12, 0xE0, 0x7C }, new byte[] { 0xE0, 0xF0, 0x7C, 0xE0, 0xF0, 0x12 })]
    [InlineData("pause", new byte[] { 0xE1, 0x14, 0x77, 0xE1, 0xF0, 0x14, 0xF0, 0x77 }, new byte[] { })]
    [InlineData("super", new byte[] { 0xE0, 0x1F }, new byte[] { 0xE0, 0xF0, 0x1F })]
    [InlineData("numlock", new byte[] { 0x77 }, new byte[] { 0xF0, 0x77 })]
    public void A_key_sends_its_codes_of_set_2(string name, byte[] make, byte[] release)
    {
        Press(name, true);
        Assert.Equal(make, Drain());
        Press(name, false);
        Assert.Equal(release, Drain());
    }

    [Theory]
    [InlineData("a", new byte[] { 0x1E }, new byte[] { 0x9E })]
    [InlineData("delete", new byte[] { 0xE0, 0x53 }, new byte[] { 0xE0, 0xD3 })]
    [InlineData("print", new byte[] { 0xE0, 0x2A, 0xE0, 0x37 }, new byte[] { 0xE0, 0xB7, 0xE0, 0xAA })]
    [InlineData("pause", new byte[] { 0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5 }, new byte[] { })]
    [InlineData("f12", new byte[] { 0x58 }, new byte[] { 0xD8 })]
    public void Set_1_and_the_translation_of_set_2_are_the_same(string name, byte[] make, byte[] release)
    {
        SetConfiguration(0x40);
        Press(name, true);
        Assert.Equal(make, Drain());
        Press(name, false);
        Assert.Equal(release, Drain());
        SetConfiguration(0x00);
        Assert.Equal([0xFA], Send(0xF0));
        Assert.Equal([0xFA], Send(0x01));
        Press(name, true);
        Assert.Equal(make, Drain());
        Press(name, false);
        Assert.Equal(release, Drain());
    }

    [Fact]
    public void In_set_3_each_key_has_one_code_and_a_mode_of_its_own()
    {
        Send(0xF0);
        Send(0x03);
        Press("up", true);
        Assert.Equal([0x63], Drain());
        Press("up", false);
        Assert.Equal([], Drain());
        Press("shift", true);
        Press("shift", false);
        Assert.Equal([0x12, 0xF0, 0x12], Drain());
        // FCh: the up key tells when it is let go.
        Assert.Equal([0xFA], Send(0xFC));
        Assert.Equal([0xFA], Send(0x63));
        Assert.Equal([0xFA], Send(0xF4));
        Press("f1", true);
        Press("f1", false);
        Assert.Equal([0x07], Drain());
        Press("home", true);
        Press("home", false);
        Assert.Equal([0x6E], Drain());
        Press("up", true);
        Press("up", false);
        Assert.Equal([0x63, 0xF0, 0x63], Drain());
    }

    [Fact]
    public void A_held_key_repeats_at_the_rate_that_was_set()
    {
        // 500 ms, then 30 a second.
        Send(0xF3);
        Send(0x20);
        Press("a", true);
        Assert.Equal([0x1C], Drain());
        _clock.Advance(490_000_000);
        Assert.Equal([], Drain());
        int count = 0;
        for (int i = 0; i < 100; i++)
        {
            _clock.Advance(10_000_000);
            count += Drain().Length;
        }

        Assert.InRange(count, 28, 31);
        Press("a", false);
        Assert.Equal([0xF0, 0x1C], Drain());
        _clock.Advance(1_000_000_000);
        Assert.Equal([], Drain());
    }

    [Fact]
    public void Keys_wait_for_a_guest_that_reads_slowly()
    {
        for (int i = 0; i < 50; i++)
        {
            Press("a", true);
            Press("a", false);
        }

        Assert.Equal(Enumerable.Repeat<byte[]>([0x1C, 0xF0, 0x1C], 50).SelectMany(b => b), Drain());
    }

    [Fact]
    public void Every_named_key_has_codes_in_all_sets()
    {
        foreach (KeyCode key in KeyNames.Codes)
        {
            for (int set = 1; set <= 3; set++)
            {
                byte[] make = Ps2KeyCodes.Encode(key, isDown: true, set, ctrl: false, alt: false);
                Assert.True(make.Length != 0 && make[^1] != 0, $"{key} in set {set}");
            }
        }
    }

    [Fact]
    public void A_mouse_tells_how_it_moves_and_becomes_one_with_a_wheel()
    {
        Assert.Equal([0xFA, 0xAA, 0x00], SendMouse(0xFF));
        Assert.Equal([0xFA, 0x00], SendMouse(0xF2));
        Assert.Equal([0xFA], SendMouse(0xF4));
        Assert.True(_mouse.IsReady);
        _mouse.Move(new PointerChange(0, 0, 10, 20, 0, PointerButtons.Left));
        Assert.Equal([0x29, 10, unchecked((byte)-20)], DrainMouse());
        _mouse.Move(new PointerChange(0, 0, -300, 0, 0, PointerButtons.None));
        Assert.Equal([0x18, 0x01, 0, 0x18, unchecked((byte)-45), 0], DrainMouse());
        SetRates(200, 100, 80);
        Assert.Equal([0xFA, 0x03], SendMouse(0xF2));
        _mouse.Move(new PointerChange(0, 0, 0, 0, 2, PointerButtons.Middle));
        Assert.Equal([0x0C, 0, 0, 2], DrainMouse());
        SetRates(200, 200, 80);
        Assert.Equal([0xFA, 0x04], SendMouse(0xF2));
        _mouse.Move(new PointerChange(0, 0, 0, 0, -1, PointerButtons.Back | PointerButtons.Forward));
        Assert.Equal([0x08, 0, 0, 0x3F], DrainMouse());
    }

    [Fact]
    public void A_remote_mouse_reports_when_it_is_asked()
    {
        SendMouse(0xF0);
        SendMouse(0xF4);
        _mouse.Move(new PointerChange(0, 0, 5, -6, 0, PointerButtons.Right));
        Assert.Equal([], DrainMouse());
        Assert.Equal([0xFA, 0x0A, 5, 6], SendMouse(0xEB));
        Assert.Equal([0xFA, 0x61, 2, 100], SendMouse(0xE9));
        SendMouse(0xEE);
        Assert.Equal([0x42], SendMouse(0x42));
        Assert.Equal([0xFA], SendMouse(0xEC));
    }

    [Fact]
    public void Wrong_rates_and_resolutions_are_refused()
    {
        SendMouse(0xF3);
        Assert.Equal([0xFC], SendMouse(0x33));
        SendMouse(0xE8);
        Assert.Equal([0xFC], SendMouse(0x04));
        SendMouse(0xE8);
        Assert.Equal([0xFA], SendMouse(0x03));
        Assert.Equal(3, _mouse.Resolution);
        Assert.Equal([0xFE], SendMouse(0x11));
    }

    [Fact]
    public void Combinations_of_keys_are_read_by_name()
    {
        Assert.True(KeyNames.TryParseCombination("ctrl-alt-f2", out IReadOnlyList<KeyCode> keys, out _));
        Assert.Equal([new KeyCode(0x1D), new KeyCode(0x38), new KeyCode(0x3C)], keys);
        Assert.True(KeyNames.TryParseCombination("-", out keys, out _));
        Assert.Equal([new KeyCode(0x0C)], keys);
        Assert.False(KeyNames.TryParseCombination("ctrl-foo", out _, out string? unknown));
        Assert.Equal("foo", unknown);
    }

    private void SetConfiguration(int value)
    {
        _controller.Out(0x64, 0x60);
        _controller.Out(0x60, value);
    }

    private void Press(string name, bool isDown)
    {
        Assert.True(KeyNames.TryFind(name, out KeyCode key));
        _keyboard.SetKey(key, isDown);
    }

    private byte[] Send(int command)
    {
        _controller.Out(0x60, command);
        return Drain();
    }

    private byte[] SendMouse(int command)
    {
        _controller.Out(0x64, 0xD4);
        _controller.Out(0x60, command);
        return DrainMouse();
    }

    private void SetRates(params int[] rates)
    {
        foreach (int rate in rates)
        {
            SendMouse(0xF3);
            SendMouse(rate);
        }
    }

    private byte[] Drain()
    {
        List<byte> bytes = [];
        while ((_controller.In(0x64) & 1) != 0)
        {
            Assert.Equal(0, _controller.In(0x64) & 0x20);
            bytes.Add(_controller.In(0x60));
        }

        return [.. bytes];
    }

    private byte[] DrainMouse()
    {
        List<byte> bytes = [];
        while ((_controller.In(0x64) & 1) != 0)
        {
            Assert.Equal(0x20, _controller.In(0x64) & 0x20);
            bytes.Add(_controller.In(0x60));
        }

        return [.. bytes];
    }
}
