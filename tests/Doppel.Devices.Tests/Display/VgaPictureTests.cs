using Doppel.Devices.Display;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Display;

/// <summary>What the screen shows of registers and memory, and that no more is converted than has changed.</summary>
public sealed class VgaPictureTests(ITestOutputHelper output) : IDisposable
{
    private readonly TestVga _vga = new();

    public void Dispose() => _vga.Dispose();

    [Fact]
    public void Text_is_drawn_from_the_font_in_plane_2_with_the_ninth_pixel_of_lines()
    {
        LoadFont();
        _vga.Poke(0xB8000, (byte)'A');
        _vga.Poke(0xB8001, 0x1E);
        _vga.Poke(0xB8002, 0xC4);
        _vga.Poke(0xB8003, 0x07);
        _ = _vga.Render();
        Assert.Equal((720, 400), (_vga.Surface.Width, _vga.Surface.Height));
        // The glyph of a character is its own code in each line.
        for (int y = 0; y < 16; y++)
        {
            for (int x = 0; x < 9; x++)
            {
                Assert.Equal(TestVga.Color(x < 8 && (('A' >> (7 - x)) & 1) != 0 ? 14 : 1), _vga.Surface.Row(y)[x]);
                int bit = x < 8 ? (0xC4 >> (7 - x)) & 1 : 0xC4 & 1;
                Assert.Equal(TestVga.Color(bit != 0 ? 7 : 0), _vga.Surface.Row(y)[9 + x]);
            }
        }
    }

    [Fact]
    public void Only_the_cell_that_was_written_is_drawn_again()
    {
        LoadFont();
        _ = _vga.Render();
        Assert.Empty(_vga.Render());
        _vga.Poke(0xB8000 + (2 * ((80 * 10) + 40)), (byte)'x');
        List<PixelRectangle> changed = _vga.Render();
        PixelRectangle one = Assert.Single(changed);
        Assert.True(one.Width <= 64 && one.Height <= 24, $"{one}");
        Assert.True(one.X <= 360 && one.Right >= 369 && one.Y <= 160 && one.Bottom >= 176, $"{one}");
    }

    [Fact]
    public void The_cursor_blinks_and_text_is_read_back()
    {
        LoadFont();
        _vga.OutIndexed(0x3D4, 0x0A, 0x0D);
        foreach ((char character, int i) in "login: ".Select((c, i) => (c, i)))
            _vga.Poke(0xB8000 + (ulong)(2 * ((80 * 3) + i)), (byte)character);
        _vga.OutIndexed(0x3D4, 0x0E, ((80 * 3) + 7) >> 8);
        _vga.OutIndexed(0x3D4, 0x0F, ((80 * 3) + 7) & 0xFF);
        _ = _vga.Render();
        TextScreen text = _vga.Vga.ReadText()!;
        Assert.Equal("login:", text.Lines.ElementAt(3));
        Assert.Equal((7, 3), (text.CursorColumn, text.CursorRow));
        _vga.Clock.Advance(270_000_000);
        Assert.NotEmpty(_vga.Render());
        _vga.OutIndexed(0x3D4, 0x0A, 0x2D);
        _ = _vga.Render();
        _vga.Clock.Advance(270_000_000);
        Assert.Empty(_vga.Render());
    }

    [Fact]
    public void Two_font_banks_make_512_characters()
    {
        LoadFont();
        // Bank 1 lies at 16 KiB of plane 2; attribute bit 3 chooses map A, which is bank 1 now.
        _vga.OutIndexed(0x3C4, 3, 0x04);
        SetFontAccess();
        for (int i = 0; i < 16; i++)
            _vga.Poke(0xA0000 + 0x4000 + (32 * (ulong)'A') + (ulong)i, 0xFF);
        SetTextAccess();
        _vga.Poke(0xB8000, (byte)'A');
        _vga.Poke(0xB8001, 0x0F);
        _vga.Poke(0xB8002, (byte)'A');
        _vga.Poke(0xB8003, 0x07);
        _ = _vga.Render();
        Assert.All(_vga.Surface.Row(2)[..8].ToArray(), pixel => Assert.Equal(TestVga.Color(15), pixel));
        Assert.Equal(TestVga.Color(0), _vga.Surface.Row(2)[9]);
    }

    [Fact]
    public void A_split_screen_shows_the_begin_of_memory_behind_the_line_compare()
    {
        LoadFont();
        _vga.Poke(0xB8000, 0xFF);
        _vga.Poke(0xB8001, 0x07);
        _vga.OutIndexed(0x3D4, 0x0C, 0x08);
        _vga.OutIndexed(0x3D4, 9, 0x0F);
        _vga.OutIndexed(0x3D4, 7, 0x0F);
        _vga.OutIndexed(0x3D4, 0x18, 199);
        _ = _vga.Render();
        Assert.Equal(TestVga.Color(0), _vga.Surface.Row(5)[0]);
        Assert.Equal(TestVga.Color(7), _vga.Surface.Row(205)[0]);
    }

    [Fact]
    public void Sixteen_colours_come_from_four_planes_through_the_attribute_controller()
    {
        _vga.SetMode12();
        _vga.SetAttribute(5, 9);
        _vga.OutIndexed(0x3CE, 5, 2);
        for (int x = 0; x < 16; x++)
        {
            _vga.OutIndexed(0x3CE, 8, 0x80 >> (x & 7));
            _ = _vga.Peek(0xA0000 + 160 + (ulong)(x / 8));
            _vga.Poke(0xA0000 + 160 + (ulong)(x / 8), (byte)x);
        }

        _ = _vga.Render();
        Assert.Equal((640, 480), (_vga.Surface.Width, _vga.Surface.Height));
        for (int x = 0; x < 16; x++)
            Assert.Equal(TestVga.Color(x == 5 ? 9 : x), _vga.Surface.Row(2)[x]);
        // The plane mask takes planes away.
        _vga.SetAttribute(0x12, 0x03);
        _ = _vga.Render();
        for (int x = 0; x < 16; x++)
            Assert.Equal(TestVga.Color(x & 3), _vga.Surface.Row(2)[x]);
    }

    [Fact]
    public void Mode_13h_is_320_by_200_shown_twice_in_each_direction_and_mode_X_pages_and_pans()
    {
        _vga.SetMode13();
        for (int x = 0; x < 320; x++)
            _vga.Poke(0xA0000 + (320 * 7) + (ulong)x, (byte)x);
        _ = _vga.Render();
        Assert.Equal((640, 400), (_vga.Surface.Width, _vga.Surface.Height));
        for (int x = 0; x < 640; x++)
        {
            Assert.Equal(TestVga.Color((byte)(x / 2)), _vga.Surface.Row(14)[x]);
            Assert.Equal(TestVga.Color((byte)(x / 2)), _vga.Surface.Row(15)[x]);
        }

        // Unchained: plane by plane. Page 1 begins at 4000h.
        _vga.OutIndexed(0x3C4, 4, 6);
        _vga.OutIndexed(0x3D4, 0x14, 0);
        _vga.OutIndexed(0x3D4, 0x17, 0xE3);
        for (int plane = 0; plane < 4; plane++)
        {
            _vga.OutIndexed(0x3C4, 2, 1 << plane);
            _vga.Poke(0xA0000 + 0x4000 + 3, (byte)(100 + plane));
        }

        _vga.OutIndexed(0x3D4, 0x0C, 0x40);
        _ = _vga.Render();
        Assert.Equal([TestVga.Color(100), TestVga.Color(100), TestVga.Color(101), TestVga.Color(101)], _vga.Surface.Row(0).Slice(24, 4).ToArray());
        _vga.SetAttribute(0x13, 2);
        _ = _vga.Render();
        Assert.Equal([TestVga.Color(101), TestVga.Color(101)], _vga.Surface.Row(0).Slice(24, 2).ToArray());
    }

    [Fact]
    public void CGA_graphics_take_odd_lines_from_the_second_bank()
    {
        _vga.SetMode13();
        _vga.OutIndexed(0x3C4, 1, 9);
        _vga.OutIndexed(0x3C4, 4, 2);
        _vga.OutIndexed(0x3C4, 2, 3);
        _vga.OutIndexed(0x3CE, 5, 0x30);
        _vga.OutIndexed(0x3CE, 6, 0x0F);
        _vga.SetAttribute(0x10, 1);
        _vga.SetAttribute(0x12, 3);
        _vga.OutIndexed(0x3D4, 0x11, 0x0E);
        _vga.OutIndexed(0x3D4, 1, 0x27);
        _vga.OutIndexed(0x3D4, 9, 0xC1);
        _vga.OutIndexed(0x3D4, 0x13, 0x14);
        _vga.OutIndexed(0x3D4, 0x17, 0xA2);
        _vga.Poke(0xB8000, 0b00011011);
        _vga.Poke(0xBA000, 0b11100100);
        _ = _vga.Render();
        Assert.Equal(640, _vga.Surface.Width);
        for (int pixel = 0; pixel < 4; pixel++)
        {
            Assert.Equal(TestVga.Color(pixel), _vga.Surface.Row(0)[2 * pixel]);
            Assert.Equal(TestVga.Color(3 - pixel), _vga.Surface.Row(2)[2 * pixel]);
        }
    }

    [Theory]
    [InlineData(15)]
    [InlineData(16)]
    [InlineData(24)]
    [InlineData(32)]
    [InlineData(8)]
    public void A_mode_of_the_extensions_shows_the_frame_buffer(int bits)
    {
        _vga.SetPalette();
        _vga.Out(0x3C6, 0xFF);
        Assert.Equal(0xB0C5, _vga.GetVbe(0));
        _vga.SetVbe(1, 800);
        _vga.SetVbe(2, 600);
        _vga.SetVbe(3, bits);
        _vga.SetVbe(4, 0x41);
        int bytes = (bits + 7) / 8;
        int offset = ((800 * 100) + 50) * bytes;
        (uint raw, uint expected) = bits switch
        {
            15 => (0x7C1Fu, 0xFF00FFu),
            16 => (0x07E0u, 0x00FF00u),
            8 => (77u, TestVga.Color(77)),
            _ => (0x123456u, 0x123456u),
        };
        _ = _vga.Render();
        for (int i = 0; i < bytes; i++)
            _vga.Memory.Bytes[offset + i] = (byte)(raw >> (8 * i));
        _vga.Memory.NoteWrite(offset, bytes);
        PixelRectangle changed = Assert.Single(_vga.Render());
        Assert.True(changed is { Width: <= 32, Height: <= 8 }, $"{changed}");
        Assert.Equal((800, 600), (_vga.Surface.Width, _vga.Surface.Height));
        Assert.Equal(expected, _vga.Surface.Row(100)[50]);
        // Scrolled by its offset, and without one by its bank at A0000h.
        _vga.SetVbe(9, 100);
        _ = _vga.Render();
        if (bits == 8)
            Assert.NotEqual(expected, _vga.Surface.Row(100)[50]);
    }

    [Fact]
    public void The_window_shows_the_bank_of_a_mode_of_the_extensions()
    {
        _vga.SetMode13();
        _vga.SetVbe(1, 1024);
        _vga.SetVbe(2, 768);
        _vga.SetVbe(3, 8);
        _vga.SetVbe(4, 1);
        _vga.SetVbe(5, 3);
        _vga.Poke(0xA0010, 0x42);
        Assert.Equal(0x42, _vga.Memory.Bytes[0x30010]);
        Assert.Equal(0x42, _vga.Peek(0xA0010));
    }

    [Fact]
    public void Capabilities_and_limits_of_the_extensions_are_told_and_kept()
    {
        _vga.SetVbe(4, 2);
        Assert.Equal((2560, 1600, 32), (_vga.GetVbe(1), _vga.GetVbe(2), _vga.GetVbe(3)));
        _vga.SetVbe(4, 0);
        Assert.Equal((4 << 20) / 65536, _vga.GetVbe(10));
        _vga.SetVbe(1, 60000);
        _vga.SetVbe(2, 60000);
        _vga.SetVbe(3, 32);
        _vga.SetVbe(4, 1);
        Assert.Equal(2560, _vga.GetVbe(1));
        // As many rows as 4 MiB hold.
        Assert.Equal((4 << 20) / (2560 * 4), _vga.GetVbe(2));
        _vga.SetVbe(8, 60000);
        _vga.SetVbe(9, 60000);
        _ = _vga.Render();
        Assert.Equal(2560, _vga.Surface.Width);
    }

    [Fact]
    public void A_screen_that_is_turned_off_is_black_and_comes_back()
    {
        _vga.SetMode13();
        _vga.Poke(0xA0000, 40);
        _ = _vga.Render();
        _vga.OutIndexed(0x3C4, 1, 0x21);
        _ = _vga.Render();
        Assert.Equal(0u, _vga.Surface.Row(0)[0]);
        _vga.OutIndexed(0x3C4, 1, 0x01);
        _ = _vga.Render();
        Assert.Equal(TestVga.Color(40), _vga.Surface.Row(0)[0]);
    }

    [Fact]
    public void A_restored_display_shows_what_the_saved_one_did()
    {
        LoadFont();
        _vga.Poke(0xB8000, (byte)'Q');
        _ = _vga.Render();
        using var copy = new TestVga();
        copy.Restore(_vga.Save());
        _ = copy.Render();
        Assert.Equal(_vga.Surface.Pixels.ToArray(), copy.Surface.Pixels.ToArray());
        Assert.Equal(_vga.Save(), copy.Save());
    }

    [Fact]
    public void Any_registers_make_a_picture() => MakePictures(20_000);

    [Fact]
    [Trait("Category", "Slow")]
    public void A_million_random_accesses_make_pictures() => MakePictures(1_000_000);

    private void MakePictures(int count)
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        int[] ports = [0x3B4, 0x3B5, 0x3BA, 0x3C0, 0x3C1, 0x3C2, 0x3C3, 0x3C4, 0x3C5, 0x3C6, 0x3C7, 0x3C8, 0x3C9, 0x3CE, 0x3CF, 0x3D4, 0x3D5, 0x3DA];
        for (int i = 0; i < count; i++)
        {
            switch (random.Next(8))
            {
                case 0:
                    _vga.SetVbe(random.Next(16), random.Next(2) == 0 ? random.Next(65536) : random.Next(64));
                    break;
                case 1:
                    _vga.Poke(0xA0000 + (ulong)random.Next(0x20000), (byte)random.Next(256));
                    break;
                case 2:
                    _ = _vga.Peek(0xA0000 + (ulong)random.Next(0x20000));
                    break;
                case 3:
                    _ = _vga.In(ports[random.Next(ports.Length)]);
                    break;
                default:
                    _vga.Out(ports[random.Next(ports.Length)], random.Next(256));
                    break;
            }

            _vga.Clock.Advance(random.Next(100_000));
            if (i % 500 == 0)
            {
                _ = _vga.Render();
                _ = _vga.Vga.ReadText();
            }
        }
    }

    private void LoadFont()
    {
        _vga.SetTextMode();
        // Without a cursor.
        _vga.OutIndexed(0x3D4, 0x0A, 0x2D);
        SetFontAccess();
        for (int i = 0; i < 256 * 32; i++)
            _vga.Poke(0xA0000 + (ulong)i, (byte)(i / 32));
        SetTextAccess();
        for (ulong i = 0; i < 4000; i += 2)
        {
            _vga.Poke(0xB8000 + i, 0);
            _vga.Poke(0xB8001 + i, 0x07);
        }
    }

    private void SetFontAccess()
    {
        _vga.OutIndexed(0x3C4, 2, 4);
        _vga.OutIndexed(0x3C4, 4, 6);
        _vga.OutIndexed(0x3CE, 5, 0);
        _vga.OutIndexed(0x3CE, 6, 4);
    }

    private void SetTextAccess()
    {
        _vga.OutIndexed(0x3C4, 2, 3);
        _vga.OutIndexed(0x3C4, 4, 2);
        _vga.OutIndexed(0x3CE, 5, 0x10);
        _vga.OutIndexed(0x3CE, 6, 0x0E);
    }
}
