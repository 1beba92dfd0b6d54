using Doppel.Devices.Display;
using Doppel.Machine.State;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Display;

/// <summary>VMware's SVGA II by the tables of its developer kit (svga_reg.h): registers, modes, the ring and its commands.</summary>
public sealed class VmwareSvgaTests(ITestOutputHelper output) : IDisposable
{
    private const int Update = 1, Fill = 2, Copy = 3, DefineCursor = 19, DefineAlphaCursor = 22, Fence = 30;
    private readonly SvgaMachine _svga = new();

    public void Dispose() => _svga.Dispose();

    [Fact]
    public void It_is_what_drivers_look_for()
    {
        Assert.Equal(0x0405_15ADu, _svga.Adapter.ReadConfig(0, 4));
        Assert.Equal(0x0300u, _svga.Adapter.ReadConfig(0x0A, 2));
        Assert.Equal(0x0405_15ADu, _svga.Adapter.ReadConfig(0x2C, 4));
        Assert.Equal(1u, _svga.Adapter.ReadConfig(0x10, 4) & 1);
        // A driver goes down from the version that it knows until it reads what it wrote.
        _svga[0] = 0x9000_0003;
        Assert.Equal(0x9000_0002u, _svga[0]);
        foreach (uint version in (uint[])[0x9000_0002, 0x9000_0001, 0x9000_0000])
        {
            _svga[0] = version;
            Assert.Equal(version, _svga[0]);
        }

        Assert.Equal((2560u, 1600u), (_svga[4], _svga[5]));
        Assert.Equal((16u << 20, 256u << 10, 291u), (_svga[15], _svga[19], _svga[30]));
        // Fill, copy, pointer, bypass 1 and 2, 8 bits, alpha pointer, extended ring, pitch lock, interrupts, traces; no 3D, no screen objects.
        Assert.Equal(0x0026_83E3u, _svga[17]);
        Assert.Equal((0u, 0u, 32u), (_svga[14], _svga[1], _svga[28]));
        // The ring tells what it can do before it is one.
        Assert.Equal((0x55u, 0u, 0u), (_svga.Word(4), _svga.Word(5), _svga.Word(7)));
        _svga.Adapter.WriteConfig(0x14, 4, 0xE000_0000);
        _svga.Adapter.WriteConfig(0x18, 4, 0xE200_0000);
        Assert.Equal((0xE000_0000u, 0xE200_0000u), (_svga[13], _svga[18]));
    }

    [Theory]
    [InlineData(8, 8, 0, 0, 0, 1)]
    [InlineData(15, 15, 0x7C00, 0x3E0, 0x1F, 2)]
    [InlineData(16, 16, 0xF800, 0x7E0, 0x1F, 2)]
    [InlineData(24, 24, 0xFF0000, 0xFF00, 0xFF, 3)]
    [InlineData(32, 24, 0xFF0000, 0xFF00, 0xFF, 4)]
    public void A_mode_is_a_size_and_a_number_of_bits(int bits, int depth, int red, int green, int blue, int bytes)
    {
        _svga.Start(1366, 768, bits);
        Assert.Equal((1366u, 768u, (uint)bits, (uint)depth), (_svga[2], _svga[3], _svga[7], _svga[6]));
        Assert.Equal(((uint)red, (uint)green, (uint)blue), (_svga[9], _svga[10], _svga[11]));
        Assert.Equal(bits == 8 ? 1u : 0, _svga[8]);
        Assert.Equal((uint)(1366 * bytes), _svga[12]);
        Assert.Equal((uint)(1366 * bytes * 768), _svga[16]);
        // White, whatever white is.
        if (bits == 8)
        {
            for (int i = 0; i < 3; i++)
                _svga[1024 + (3 * 255) + i] = 0xFF;
        }

        int last = (1366 * bytes * 768) - bytes;
        _svga.Poke(last, [.. Enumerable.Repeat((byte)0xFF, bytes)]);
        _svga.Render();
        Assert.Equal((1366, 768), (_svga.Surface.Width, _svga.Surface.Height));
        Assert.Equal(0xFFFFFFu, _svga.Surface.Row(767)[1365]);
        Assert.Equal(0u, _svga.Surface.Row(767)[1364]);
        Assert.Equal(0u, _svga.Surface.Row(0)[0]);
    }

    [Theory]
    [InlineData(2, 0u)]
    [InlineData(2, 2561u)]
    [InlineData(2, uint.MaxValue)]
    [InlineData(3, 0u)]
    [InlineData(3, 1601u)]
    [InlineData(7, 0u)]
    [InlineData(7, 4u)]
    [InlineData(7, 64u)]
    [InlineData(32, 16385u)]
    [InlineData(32, uint.MaxValue)]
    [InlineData(17, 0u)]
    [InlineData(15, 1u)]
    public void A_value_that_cannot_be_changes_nothing(int register, uint value)
    {
        uint before = _svga[register];
        _svga[register] = value;
        Assert.Equal(before, _svga[register]);
    }

    [Fact]
    public void A_locked_pitch_holds_for_all_modes_and_rows_beyond_the_memory_are_dark()
    {
        _svga.Start(640, 480);
        _svga[32] = 4096;
        Assert.Equal((4096u, 4096u), (_svga[32], _svga[12]));
        _svga.Poke((479 * 4096) + (4 * 639), 1, 2, 3);
        _svga.Render();
        Assert.Equal(0x030201u, _svga.Surface.Row(479)[639]);
        // One that is too short doesn't count.
        _svga[32] = 100;
        Assert.Equal(2560u, _svga[12]);
        _svga[32] = 16384;
        (_svga[2], _svga[3]) = (2560, 1600);
        Assert.Equal(16u << 20, _svga[16]);
        _svga.Memory.Bytes.Fill(0xFF);
        _svga.Render();
        Assert.Equal((0xFFFFFFu, 0u), (_svga.Surface.Row(1023)[2559], _svga.Surface.Row(1024)[0]));
        _svga.Send(Fill, 0x123456, 0, 1020, 10, 5);
        _svga.Send(Fill, 0x123456, 0, 1019, 10, 5);
        _svga.Render();
        Assert.Equal((0xFFFFFFu, 0x123456u), (_svga.Surface.Row(1018)[9], _svga.Surface.Row(1023)[9]));
    }

    [Fact]
    public void It_is_a_vga_until_a_driver_shows_it_and_after_it_hides_it()
    {
        _svga.Vga.Out(0x3C0, 0x20);
        _svga.Render();
        int width = _svga.Surface.Width;
        _svga.Start(800, 600);
        _svga.Render();
        Assert.Equal((800, 600), (_svga.Surface.Width, _svga.Surface.Height));
        Assert.Null(_svga.Adapter.ReadText());
        _svga[1] = 3;
        _svga.Render();
        Assert.Equal(width, _svga.Surface.Width);
        _svga[1] = 1;
        _svga.Render();
        Assert.Equal(800, _svga.Surface.Width);
        _svga.Adapter.Reset();
        _svga.Render();
        Assert.Equal(width, _svga.Surface.Width);
        Assert.Equal((0u, 0u, 1024u, 768u), (_svga[1], _svga[20], _svga[2], _svga[3]));
    }

    [Fact]
    public void What_is_written_is_seen_and_nothing_else_is_sent()
    {
        _svga.Start(640, 480);
        _svga.Render();
        _svga.Render();
        Assert.Empty(_svga.Render());
        _svga.Poke((4 * 640 * 100) + (4 * 320), 0x56, 0x34, 0x12);
        _svga.Send(Update, 320, 100, 1, 1);
        Assert.Equal(new PixelRectangle(320, 96, 32, 8), Assert.Single(_svga.Render()));
        Assert.Equal(0x123456u, _svga.Surface.Row(100)[320]);
        Assert.Equal(_svga.Word(2), _svga.Word(3));
    }

    [Fact]
    public void Rectangles_are_filled_and_copied_over_each_other_as_a_model_has_them()
    {
        var random = new Random(TestSeed.Take(output));
        foreach (int bits in (int[])[8, 16, 24, 32])
        {
            const int Width = 61, Height = 47;
            int bytes = bits / 8;
            _svga.Adapter.Reset();
            _svga.Start(Width, Height, bits);
            uint[,] model = new uint[Height, Width];
            for (int i = 0; i < 300; i++)
            {
                int width = random.Next(1, 30), height = random.Next(1, 30), x = random.Next(Width), y = random.Next(Height);
                bool isInside = x + width <= Width && y + height <= Height;
                if (random.Next(2) == 0)
                {
                    uint color = (uint)random.NextInt64() & (uint.MaxValue >> (32 - bits));
                    _svga.Send(random.Next(2) == 0 ? [Fill, color, (uint)x, (uint)y, (uint)width, (uint)height] : [13, color, (uint)x, (uint)y, (uint)width, (uint)height, 3]);
                    for (int at = 0; at < width * height && isInside; at++)
                        model[y + (at / width), x + (at % width)] = color;
                    continue;
                }

                int toX = random.Next(Width), toY = random.Next(Height);
                _svga.Send(random.Next(2) == 0
                    ? [Copy, (uint)x, (uint)y, (uint)toX, (uint)toY, (uint)width, (uint)height]
                    : [14, (uint)x, (uint)y, (uint)toX, (uint)toY, (uint)width, (uint)height, 3]);
                if (!isInside || toX + width > Width || toY + height > Height)
                    continue;
                uint[,] old = (uint[,])model.Clone();
                for (int at = 0; at < width * height; at++)
                    model[toY + (at / width), toX + (at % width)] = old[y + (at / width), x + (at % width)];
            }

            for (int i = 0; i < Width * Height; i++)
            {
                uint pixel = 0;
                for (int part = 0; part < bytes; part++)
                    pixel |= (uint)_svga.Memory.Bytes[(i * bytes) + part] << (8 * part);
                Assert.Equal(model[i / Width, i % Width], pixel);
            }
        }
    }

    [Theory]
    [InlineData(uint.MaxValue, 0u, 2u, 2u)]
    [InlineData(0u, uint.MaxValue, 2u, 2u)]
    [InlineData(0u, 0u, uint.MaxValue, 1u)]
    [InlineData(0u, 0u, 1u, uint.MaxValue)]
    [InlineData(639u, 0u, 2u, 1u)]
    [InlineData(0u, 479u, 1u, 2u)]
    [InlineData(0u, 0u, 0u, 1u)]
    public void A_rectangle_that_is_not_on_the_screen_is_ignored(uint x, uint y, uint width, uint height)
    {
        _svga.Start(640, 480);
        _svga.Send(Fill, 0xFFFFFF, 0, 0, 640, 480);
        byte[] before = _svga.Memory.Bytes.ToArray();
        _svga.Send(Fill, 0x123456, x, y, width, height);
        _svga.Send(Copy, x, y, 100, 100, width, height);
        _svga.Send(Copy, 100, 100, x, y, width, height);
        _svga.Send(Update, x, y, width, height);
        Assert.Equal(before, _svga.Memory.Bytes.ToArray());
        Assert.Equal(_svga.Word(2), _svga.Word(3));
    }

    [Fact]
    public void A_pointer_by_masks_keeps_turns_over_covers_and_is_transparent()
    {
        _svga.Start(640, 480);
        _svga.Send(Fill, 0x0F0F0F, 0, 0, 640, 480);
        // Four pixels: cover with white, cover with black, transparent, turned over.
        _svga.Send(DefineCursor, 0, 1, 0, 4, 1, 1, 1, 0b0011_0000, 0b1001_0000);
        (_svga[25], _svga[26], _svga[27]) = (11, 20, 1);
        _svga.Render();
        Assert.Equal([0x0F0F0Fu, 0xFFFFFFu, 0u, 0x0F0F0Fu, 0xF0F0F0u, 0x0F0F0Fu], _svga.Surface.Row(20).Slice(9, 6).ToArray());
        Assert.Equal(0x0F0F0Fu, _svga.Surface.Row(21)[10]);
        // With colours, and by the ring's registers.
        _svga.Send(DefineCursor, 0, 0, 0, 2, 1, 1, 32, 0b1000_0000, 0x112233, 0x445566);
        (uint x, uint y) = (638, 479);
        foreach ((int word, uint value) in (ReadOnlySpan<(int, uint)>)[(9, 1), (10, x), (11, y), (12, 1)])
            _svga.SetWord(word, value);
        Assert.Equal((638u, 479u, 1u), (_svga[25], _svga[26], _svga[27]));
        _svga.Render();
        Assert.Equal([0x0F0F0Fu ^ 0x112233u, 0x445566u], _svga.Surface.Row(479)[638..].ToArray());
        Assert.Equal(0x0F0F0Fu, _svga.Surface.Row(20)[10]);
        _svga.SetWord(9, 0);
        _svga.SetWord(12, 2);
        _svga.Render();
        Assert.Equal(-1, _svga.Surface.Pixels.IndexOfAnyExcept(0x0F0F0Fu));
    }

    [Fact]
    public void A_pointer_with_an_alpha_channel_lets_some_of_the_screen_through()
    {
        _svga.Start(64, 64);
        _svga.Send(Fill, 0xFFFFFF, 0, 0, 64, 64);
        _svga.Send(DefineAlphaCursor, 0, 0, 0, 3, 1, 0xFF112233, 0x80400000, 0);
        (_svga[25], _svga[26], _svga[27]) = (0, 0, 1);
        _svga.Render();
        Assert.Equal([0x112233u, 0xBF7F7Fu, 0xFFFFFFu, 0xFFFFFFu], _svga.Surface.Row(0)[..4].ToArray());
    }

    [Theory]
    [InlineData(0u, 8u, 1u, 1u)]
    [InlineData(257u, 8u, 1u, 1u)]
    [InlineData(8u, uint.MaxValue, 1u, 1u)]
    [InlineData(8u, 8u, 2u, 1u)]
    [InlineData(8u, 8u, 1u, uint.MaxValue)]
    [InlineData(uint.MaxValue, uint.MaxValue, 32u, 32u)]
    public void A_pointer_that_cannot_be_is_passed_over(uint width, uint height, uint keepDepth, uint colorDepth)
    {
        _svga.Start(64, 64);
        uint[] data = new uint[1000];
        _svga.Send([DefineCursor, 0, 0, 0, width, height, keepDepth, colorDepth, .. data]);
        _svga[27] = 1;
        _svga.Render();
        Assert.Equal(-1, _svga.Surface.Pixels.IndexOfAnyExcept(0u));
        _svga.Send([.. new uint[2000]]);
        _svga.Send(Fill, 1, 0, 0, 1, 1);
        Assert.Equal(1, _svga.Memory.Bytes[0]);
    }

    [Fact]
    public void A_command_waits_until_it_is_whole_and_goes_over_the_end_of_the_ring()
    {
        _svga.Start(64, 64, ringStart: 16);
        for (int round = 0; round < 9000; round++)
        {
            uint[] words = [Fill, (uint)round + 1, 0, 0, 1, 1];
            for (int i = 0; i < words.Length; i++)
            {
                if (i == 5)
                    Assert.NotEqual(_svga.Word(2), _svga.Word(3));
                _svga.Send(words[i]);
            }

            Assert.Equal(_svga.Word(2), _svga.Word(3));
            Assert.Equal(round + 1, _svga.Memory.Bytes[0] | (_svga.Memory.Bytes[1] << 8));
        }

        Assert.Equal(0u, _svga[22]);
        // The registers that the driver has left no room for are words of the ring.
        _svga.SetWord(9, 1);
        Assert.Equal(0u, _svga[27]);
    }

    [Fact]
    public void Fences_are_told_and_raise_the_interrupts_that_are_asked_for()
    {
        _svga.Start(64, 64);
        _svga.Send(Fence, 7);
        Assert.Equal((7u, false), (_svga.Word(6), _svga.Interrupt));
        _svga[33] = 5;
        _svga.SetWord(289, 9);
        _svga.Send(Fence, 8);
        Assert.True(_svga.Interrupt);
        Assert.Equal(1u, (uint)_svga.Ports.Read(8, 4));
        _svga.Ports.Write(8, 4, 1);
        Assert.False(_svga.Interrupt);
        _svga.Send(Update, 0, 0, 1, 1);
        Assert.False(_svga.Interrupt);
        _svga.Send(Fence, 9);
        Assert.Equal(5u, (uint)_svga.Ports.Read(8, 4));
        _svga[33] = 0;
        Assert.False(_svga.Interrupt);
        _svga.Ports.Write(8, 4, 7);
        _svga[33] = 2;
        _svga.Send(Update, 0, 0, 1, 1);
        Assert.True(_svga.Interrupt);
        Assert.Equal(2u, (uint)_svga.Ports.Read(8, 4));
    }

    [Fact]
    public void Much_work_is_done_in_parts_and_busy_says_so()
    {
        _svga.Start(2048, 1024);
        var words = new List<uint>();
        for (uint i = 0; i < 50; i++)
            words.AddRange([Fill, i, 0, 0, 2048, 1024]);
        _svga.SetWord(290, 1);
        _svga.Send([.. words, Fence, 1234]);
        Assert.Equal((0u, 1u), (_svga.Word(6), _svga.Word(290)));
        using var copy = new SvgaMachine();
        copy.Adapter.Restore(new StateReader(_svga.Save()), copy.Adapter.SectionVersion);
        int looks = 0;
        while (_svga[22] != 0)
            looks++;
        Assert.InRange(looks, 1, 50);
        Assert.Equal((1234u, 0u), (_svga.Word(6), _svga.Word(290)));
        Assert.Equal(49, _svga.Memory.Bytes[0]);
        // Without a driver that looks, time does it; after a restore, too.
        for (int i = 0; i < 100; i++)
            copy.Clock.Advance(1_000_000);
        Assert.Equal(1234u, copy.Word(6));
        Assert.Equal(49, copy.Memory.Bytes[0]);
    }

    [Theory]
    [InlineData(0u, 4096u, 16u, 16u)]
    [InlineData(16u, 16u, 16u, 16u)]
    [InlineData(16u, (256u << 10) + 4, 16u, 20u)]
    [InlineData(16u, 4096u, 4096u, 16u)]
    [InlineData(16u, 4096u, 16u, 4096u)]
    [InlineData(16u, 4096u, 12u, 16u)]
    [InlineData(16u, 4096u, 18u, 16u)]
    [InlineData(17u, 4096u, 20u, 17u)]
    [InlineData(uint.MaxValue - 3, uint.MaxValue - 3, uint.MaxValue - 3, 0u)]
    public void A_ring_that_cannot_be_is_left_alone(uint minimum, uint maximum, uint next, uint stop)
    {
        _svga.Start(64, 64);
        (uint Minimum, uint Maximum, uint Next, uint Stop) ring = (minimum, maximum, next, stop);
        _svga.SetWord(0, ring.Minimum);
        _svga.SetWord(1, ring.Maximum);
        _svga.SetWord(3, ring.Stop);
        _svga.SetWord(2, ring.Next);
        _svga[21] = 1;
        Assert.Equal(0u, _svga[22]);
        Assert.Equal(ring, (_svga.Word(0), _svga.Word(1), _svga.Word(2), _svga.Word(3)));
    }

    [Fact]
    public void What_is_shown_is_shown_after_a_restore()
    {
        _svga.Start(640, 480, 16);
        var random = new Random(TestSeed.Take(output));
        random.NextBytes(_svga.Memory.Bytes[..(640 * 480 * 2)]);
        _svga.Send(DefineAlphaCursor, 0, 1, 1, 2, 2, 0xFFFFFFFF, 0x80808080, 0xFF000000, 0);
        (_svga[25], _svga[26], _svga[27]) = (100, 100, 1);
        _svga[33] = 1;
        _svga.Send(Fence, 3);
        // Half of a command.
        _svga.Send(Fill, 0xFFFF, 0, 0);
        byte[] saved = _svga.Save();
        using var copy = new SvgaMachine();
        copy.Adapter.Restore(new StateReader(saved), copy.Adapter.SectionVersion);
        Assert.Equal(saved, copy.Save());
        Assert.True(copy.Interrupt);
        _svga.Render();
        copy.Render();
        Assert.Equal(_svga.Surface.Pixels, copy.Surface.Pixels);
        copy.Send(640, 480);
        copy.Render();
        Assert.Equal(0xFFFFFFu, copy.Surface.Row(479)[639]);
    }

    [Fact]
    public void Random_registers_and_commands_do_no_harm() => Harm(150_000);

    [Fact]
    [Trait("Category", "Slow")]
    public void A_million_random_registers_and_commands_do_no_harm() => Harm(1_000_000);

    private void Harm(int steps)
    {
        var random = new Random(TestSeed.Take(output));
        uint[] commands = [0, 1, 2, 3, 13, 14, 19, 20, 21, 22, 25, 29, 30, 33, 34, 1000];
        uint Number() => random.Next(8) switch
        {
            0 => (uint)random.NextInt64(),
            1 => uint.MaxValue - (uint)random.Next(4),
            2 => (uint)random.Next(1 << 18),
            3 => (uint)random.Next(4096),
            _ => (uint)random.Next(70),
        };
        for (int i = 0; i < steps; i++)
        {
            switch (random.Next(12))
            {
                case 0 when random.Next(200) == 0:
                    _svga.Adapter.Reset();
                    break;
                case 0:
                    _svga.Start(random.Next(1, 100), random.Next(1, 100), 8 << random.Next(3), random.Next(2) == 0 ? 16 : 4096);
                    break;
                case 1:
                    _svga[random.Next(64)] = Number();
                    break;
                case 2:
                    _ = _svga[random.Next(2000)];
                    break;
                case 3:
                    _svga.Ring.Write(Number(), 1 << random.Next(4), (ulong)random.NextInt64());
                    break;
                case 4:
                    _svga.SetWord(random.Next(16), Number());
                    break;
                case 5:
                    _svga.Ports.Write((ulong)random.Next(16), 1 << random.Next(3), Number());
                    _ = _svga.Ports.Read((ulong)random.Next(16), 1 << random.Next(3));
                    break;
                case 6 when random.Next(20) == 0:
                    _svga.Render();
                    break;
                case 7:
                    _svga.Clock.Advance(random.Next(2_000_000));
                    break;
                default:
                    uint next = _svga.Word(2);
                    for (int word = random.Next(1, 14); word >= 0; word--, next += 4)
                        _svga.Ring.Write(next, 4, word == 0 || random.Next(9) == 0 ? commands[random.Next(commands.Length)] : Number());
                    _svga.SetWord(2, next);
                    break;
            }
        }

        _svga.Adapter.Reset();
        _svga.Start(64, 64);
        _svga.Send(Fill, 0x123456, 0, 0, 64, 64);
        _svga.Render();
        Assert.Equal(-1, _svga.Surface.Pixels.IndexOfAnyExcept(0x123456u));
    }
}
