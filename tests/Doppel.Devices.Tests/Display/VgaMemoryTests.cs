using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Display;

/// <summary>The graphics controller against a plain model of it, bit by bit: write modes 0 to 3, read modes, latches, chains.</summary>
public sealed class VgaMemoryTests(ITestOutputHelper output) : IDisposable
{
    private readonly TestVga _vga = new();

    public void Dispose() => _vga.Dispose();

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void A_write_mode_does_what_the_data_sheet_says(int mode)
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        _vga.SetMode12();
        byte[,] planes = new byte[4, 64];
        byte[] latches = new byte[4];
        for (int step = 0; step < 4000; step++)
        {
            int set = random.Next(16), enable = random.Next(16), rotate = random.Next(8), function = random.Next(4), bits = random.Next(256), mapMask = random.Next(16);
            _vga.OutIndexed(0x3CE, 0, set);
            _vga.OutIndexed(0x3CE, 1, enable);
            _vga.OutIndexed(0x3CE, 3, rotate | (function << 3));
            _vga.OutIndexed(0x3CE, 5, mode);
            _vga.OutIndexed(0x3CE, 8, bits);
            _vga.OutIndexed(0x3C4, 2, mapMask);
            int plane = random.Next(4);
            _vga.OutIndexed(0x3CE, 4, plane);
            int at = random.Next(64);
            Assert.Equal(planes[plane, at], _vga.Peek(0xA0000 + (ulong)at));
            for (int p = 0; p < 4; p++)
                latches[p] = planes[p, at];
            int to = random.Next(64);
            byte value = (byte)random.Next(256);
            _vga.Poke(0xA0000 + (ulong)to, value);
            byte rotated = byte.RotateRight(value, rotate);
            for (int p = 0; p < 4; p++)
            {
                if ((mapMask & (1 << p)) == 0)
                    continue;
                int result = 0;
                for (int bit = 0; bit < 8; bit++)
                    result |= Bit(mode, p, bit, value, rotated, set, enable, function, bits, latches[p]) << bit;
                planes[p, to] = (byte)result;
            }
        }

        for (int p = 0; p < 4; p++)
        {
            _vga.OutIndexed(0x3CE, 4, p);
            for (int at = 0; at < 64; at++)
                Assert.Equal(planes[p, at], _vga.Peek(0xA0000 + (ulong)at));
        }
    }

    [Fact]
    public void Read_mode_1_finds_the_pixels_of_a_colour_in_the_planes_that_count()
    {
        _vga.SetMode12();
        _vga.OutIndexed(0x3CE, 5, 2);
        for (int color = 0; color < 16; color++)
        {
            _vga.OutIndexed(0x3CE, 8, 0x80 >> (color & 7));
            _ = _vga.Peek(0xA0000 + (ulong)(color / 8));
            _vga.Poke(0xA0000 + (ulong)(color / 8), (byte)color);
        }

        _vga.OutIndexed(0x3CE, 5, 8);
        for (int color = 0; color < 16; color++)
        {
            for (int care = 0; care < 16; care++)
            {
                _vga.OutIndexed(0x3CE, 2, color);
                _vga.OutIndexed(0x3CE, 7, care);
                int expected = 0;
                for (int pixel = 0; pixel < 8; pixel++)
                    expected |= ((pixel ^ color) & care) == 0 ? 0x80 >> pixel : 0;
                Assert.Equal(expected, _vga.Peek(0xA0000));
            }
        }
    }

    [Fact]
    public void Chain_4_is_linear_and_odd_even_puts_characters_beside_attributes()
    {
        _vga.SetMode13();
        for (int i = 0; i < 1000; i++)
            _vga.Poke(0xA0000 + (ulong)i, (byte)(i * 7));
        for (int i = 0; i < 1000; i++)
        {
            Assert.Equal((byte)(i * 7), _vga.Peek(0xA0000 + (ulong)i));
            Assert.Equal((byte)(i * 7), _vga.Memory.Bytes[i]);
        }

        _vga.SetTextMode();
        _vga.Poke(0xB8000, 0x41);
        _vga.Poke(0xB8001, 0x1F);
        Assert.Equal(0x41, _vga.Peek(0xB8000));
        Assert.Equal(0x1F, _vga.Peek(0xB8001));
        Assert.Equal([0x41, 0x1F], _vga.Memory.Bytes[..2].ToArray());
    }

    [Theory]
    [InlineData(0, 0xA0000, true)]
    [InlineData(0, 0xBFFFF, true)]
    [InlineData(1, 0xAFFFF, true)]
    [InlineData(1, 0xB0000, false)]
    [InlineData(2, 0xAFFFF, false)]
    [InlineData(2, 0xB7FFF, true)]
    [InlineData(2, 0xB8000, false)]
    [InlineData(3, 0xB7FFF, false)]
    [InlineData(3, 0xBFFFF, true)]
    public void The_memory_map_says_where_the_window_is(int map, int address, bool isInside)
    {
        _vga.SetMode12();
        _vga.OutIndexed(0x3CE, 6, 1 | (map << 2));
        _vga.Poke((ulong)address, 0x5A);
        Assert.Equal(isInside ? 0x5A : 0xFF, _vga.Peek((ulong)address));
        _vga.Out(0x3C2, 0xE1);
        Assert.Equal(0xFF, _vga.Peek((ulong)address));
    }

    [Fact]
    public void Registers_read_back_with_the_bits_that_they_have()
    {
        _vga.SetTextMode();
        _vga.OutIndexed(0x3C4, 4, 0xFF);
        Assert.Equal(0x0E, _vga.InIndexed(0x3C4, 4));
        _vga.OutIndexed(0x3CE, 0, 0xFF);
        Assert.Equal(0x0F, _vga.InIndexed(0x3CE, 0));
        _ = _vga.In(0x3DA);
        _vga.Out(0x3C0, 0x10);
        Assert.Equal(0x0C, _vga.In(0x3C1));
        Assert.Equal(0x67, _vga.In(0x3CC));
        // Bit 0 of the miscellaneous register moves the CRTC to 3B4h.
        _vga.Out(0x3C2, 0x66);
        Assert.Equal(0xFF, _vga.In(0x3D5));
        Assert.Equal(0x4F, _vga.InIndexed(0x3B4, 1));
    }

    [Fact]
    public void Bit_7_of_CRTC_register_11h_protects_registers_0_to_7_but_for_the_line_compare()
    {
        _vga.SetTextMode();
        _vga.OutIndexed(0x3D4, 0x11, 0x8E);
        _vga.OutIndexed(0x3D4, 1, 0x27);
        Assert.Equal(0x4F, _vga.InIndexed(0x3D4, 1));
        _vga.OutIndexed(0x3D4, 7, 0x00);
        Assert.Equal(0x0F, _vga.InIndexed(0x3D4, 7));
    }

    [Fact]
    public void The_palette_is_written_and_read_in_threes()
    {
        _vga.SetTextMode();
        _vga.Out(0x3C8, 10);
        foreach (int value in (int[])[1, 2, 3, 4, 5, 0xFF])
            _vga.Out(0x3C9, value);
        Assert.Equal(12, _vga.In(0x3C8));
        _vga.Out(0x3C7, 10);
        Assert.Equal(3, _vga.In(0x3C7));
        Assert.Equal([1, 2, 3, 4, 5, 0x3F], Enumerable.Range(0, 6).Select(_ => (int)_vga.In(0x3C9)));
    }

    [Fact]
    public void Status_shows_70_retraces_a_second_in_text_mode()
    {
        _vga.SetTextMode();
        int retraces = 0;
        bool wasOn = false;
        long inRetrace = 0;
        const long Step = 5_000;
        for (long time = 0; time < 1_000_000_000; time += Step)
        {
            bool isOn = (_vga.In(0x3DA) & 8) != 0;
            retraces += isOn && !wasOn ? 1 : 0;
            inRetrace += isOn ? Step : 0;
            wasOn = isOn;
            _vga.Clock.Advance(Step);
        }

        Assert.InRange(retraces, 69, 71);
        // Two of 449 lines.
        Assert.InRange(inRetrace / (double)retraces, 55_000, 75_000);
    }

    [Fact]
    public void A_retrace_is_noted_until_it_is_cleared()
    {
        _vga.SetTextMode();
        _vga.OutIndexed(0x3D4, 0x11, 0x0E);
        _vga.OutIndexed(0x3D4, 0x11, 0x1E);
        Assert.Equal(0, _vga.In(0x3C2) & 0x80);
        _vga.Clock.Advance(20_000_000);
        Assert.Equal(0x80, _vga.In(0x3C2) & 0x80);
        _vga.OutIndexed(0x3D4, 0x11, 0x0E);
        _vga.OutIndexed(0x3D4, 0x11, 0x1E);
        Assert.Equal(0, _vga.In(0x3C2) & 0x80);
    }

    private static int Bit(int mode, int plane, int bit, byte value, byte rotated, int set, int enable, int function, int mask, byte latch)
    {
        int held = (latch >> bit) & 1;
        if (mode == 1)
            return held;
        int data = mode switch
        {
            0 => (enable & (1 << plane)) != 0 ? (set >> plane) & 1 : (rotated >> bit) & 1,
            2 => (value >> plane) & 1,
            _ => (set >> plane) & 1,
        };
        int written = mode == 3 ? mask & rotated : mask;
        if (((written >> bit) & 1) == 0)
            return held;
        return function switch
        {
            1 => data & held,
            2 => data | held,
            3 => data ^ held,
            _ => data,
        };
    }
}
