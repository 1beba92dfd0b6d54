using System.Buffers.Binary;
using Doppel.Devices.Display;
using Doppel.Devices.Virtio;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>What a virtio GPU makes of its driver's commands (virtio 1.2, 5.7).</summary>
public sealed class VirtioGpuTests : IDisposable
{
    private readonly VirtioSubject _subject;
    private readonly GpuDriver _gpu;
    private readonly ITestOutputHelper _output;

    public VirtioGpuTests(ITestOutputHelper output)
    {
        _output = output;
        _subject = VirtioSubject.Make("gpu", "vga", "split");
        _subject.Driver.Start();
        _gpu = new GpuDriver(_subject.Driver);
    }

    private VirtioVga Adapter => (VirtioVga)((PciAccess)_subject.Access).Function;

    public void Dispose() => _subject.Dispose();

    [Fact]
    public async Task One_screen_of_1024_by_768_is_there()
    {
        Assert.Equal([0u, 0u, 1u, 0u], Enumerable.Range(0, 4).Select(i => (uint)_subject.Access.ReadConfig(4 * i, 4)));
        byte[] answer = await _gpu.AskAsync(GpuDriver.Command(GpuDriver.Display));
        Assert.Equal(24 + (16 * 24), answer.Length);
        Assert.Equal(0x1101u, GpuDriver.Type(answer));
        uint[] first = [.. Enumerable.Range(0, 6).Select(i => BinaryPrimitives.ReadUInt32LittleEndian(answer.AsSpan(24 + (4 * i))))];
        Assert.Equal([0u, 0u, 1024u, 768u, 1u, 0u], first);
        Assert.All(answer[48..], b => Assert.Equal(0, b));
    }

    [Fact]
    public async Task The_monitor_tells_of_itself_in_a_block_that_adds_up_to_zero()
    {
        byte[] answer = await _gpu.AskAsync(GpuDriver.Command(GpuDriver.EdidCommand, 0, 0));
        Assert.Equal(24 + 8 + 1024, answer.Length);
        Assert.Equal(0x1104u, GpuDriver.Type(answer));
        Assert.Equal(128u, BinaryPrimitives.ReadUInt32LittleEndian(answer.AsSpan(24)));
        byte[] edid = answer[32..160];
        Assert.Equal([0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0], edid[..8]);
        Assert.Equal(0, edid.Sum(b => b) & 0xFF);
        Assert.Equal((1, 4, 0), (edid[18], edid[19], edid[126]));
        // Manufacturer DPL, five bits a letter.
        Assert.Equal("DPL", new string([.. Enumerable.Range(0, 3).Select(i => (char)('@' + ((((edid[8] << 8) | edid[9]) >> (10 - (5 * i))) & 31)))]));
        // The detailed timing: 1024 by 768 at 60 Hz within half a per cent.
        Assert.Equal(1024, edid[56] | ((edid[58] & 0xF0) << 4));
        Assert.Equal(768, edid[59] | ((edid[61] & 0xF0) << 4));
        int columns = 1024 + (edid[57] | ((edid[58] & 15) << 8)), rows = 768 + (edid[60] | ((edid[61] & 15) << 8));
        double rate = BinaryPrimitives.ReadUInt16LittleEndian(edid.AsSpan(54)) * 10_000.0 / columns / rows;
        Assert.InRange(rate, 59.7, 60.3);
        Assert.Equal(GpuDriver.InvalidScreen, await _gpu.DoAsync(GpuDriver.EdidCommand, 1, 0));
    }

    [Fact]
    public async Task A_fence_comes_back_with_the_answer()
    {
        byte[] answer = await _gpu.AskAsync(GpuDriver.Command(GpuDriver.CreateCommand, 0x1122_3344_5566_7788, 1, 2, 8, 8));
        Assert.Equal(24, answer.Length);
        Assert.Equal(GpuDriver.Done, GpuDriver.Type(answer));
        Assert.Equal(1u, BinaryPrimitives.ReadUInt32LittleEndian(answer.AsSpan(4)));
        Assert.Equal(0x1122_3344_5566_7788u, BinaryPrimitives.ReadUInt64LittleEndian(answer.AsSpan(8)));
        answer = await _gpu.AskAsync(GpuDriver.Command(GpuDriver.RemoveCommand, 99, 0));
        Assert.Equal(GpuDriver.InvalidResource, GpuDriver.Type(answer));
        Assert.All(answer[4..], b => Assert.Equal(0, b));
    }

    public static TheoryData<uint, uint, uint[]> Refusals => new()
    {
        { GpuDriver.InvalidResource, GpuDriver.CreateCommand, [0, 1, 8, 8] },
        { GpuDriver.InvalidResource, GpuDriver.CreateCommand, [1, 1, 8, 8] },
        { GpuDriver.InvalidParameter, GpuDriver.CreateCommand, [2, 5, 8, 8] },
        { GpuDriver.InvalidParameter, GpuDriver.CreateCommand, [2, 1, 0, 8] },
        { GpuDriver.InvalidParameter, GpuDriver.CreateCommand, [2, 1, 8, 8193] },
        { GpuDriver.InvalidParameter, GpuDriver.CreateCommand, [2, 1, uint.MaxValue, uint.MaxValue] },
        { GpuDriver.OutOfMemory, GpuDriver.CreateCommand, [2, 1, 8192, 8192] },
        { GpuDriver.InvalidParameter, GpuDriver.CreateCommand, [2, 1, 8] },
        { GpuDriver.InvalidResource, GpuDriver.RemoveCommand, [2, 0] },
        { GpuDriver.InvalidScreen, GpuDriver.ScreenCommand, [0, 0, 8, 8, 1, 1] },
        { GpuDriver.InvalidScreen, GpuDriver.ScreenCommand, [0, 0, 0, 0, 1, 0] },
        { GpuDriver.InvalidResource, GpuDriver.ScreenCommand, [0, 0, 8, 8, 0, 2] },
        { GpuDriver.InvalidParameter, GpuDriver.ScreenCommand, [0, 0, 17, 8, 0, 1] },
        { GpuDriver.InvalidParameter, GpuDriver.ScreenCommand, [uint.MaxValue, 0, 2, 8, 0, 1] },
        { GpuDriver.InvalidParameter, GpuDriver.ScreenCommand, [0, 0, 0, 8, 0, 1] },
        { GpuDriver.InvalidResource, GpuDriver.FlushCommand, [0, 0, 8, 8, 2, 0] },
        { GpuDriver.InvalidParameter, GpuDriver.FlushCommand, [0, 9, 16, 8, 1, 0] },
        { GpuDriver.InvalidResource, GpuDriver.TransferCommand, [0, 0, 8, 8, 0, 0, 2, 0] },
        { GpuDriver.Unspecified, GpuDriver.TransferCommand, [0, 0, 8, 8, 0, 0, 1, 0] },
        { GpuDriver.InvalidParameter, GpuDriver.TransferCommand, [0, 0, 17, 8, 0, 0, 1, 0] },
        { GpuDriver.InvalidResource, GpuDriver.AttachCommand, [2, 1, 0x1000, 0, 64, 0] },
        { GpuDriver.InvalidParameter, GpuDriver.AttachCommand, [1, 0] },
        { GpuDriver.InvalidParameter, GpuDriver.AttachCommand, [1, 2, 0x1000, 0, 64, 0] },
        { GpuDriver.InvalidParameter, GpuDriver.AttachCommand, [1, uint.MaxValue, 0x1000, 0, 64, 0] },
        { GpuDriver.InvalidParameter, GpuDriver.AttachCommand, [1, 1, 0xFEE0_0000, 0, 64, 0] },
        { GpuDriver.InvalidParameter, GpuDriver.AttachCommand, [1, 1, 0xFFFF_FFF0, uint.MaxValue, 64, 0] },
        { GpuDriver.InvalidResource, GpuDriver.DetachCommand, [2, 0] },
        { GpuDriver.Unspecified, 0x108, [0, 0] },
        { GpuDriver.Unspecified, GpuDriver.UpdateCursor, [0, 0, 0, 0, 0, 0, 0, 0] },
        { GpuDriver.Unspecified, 0, [] },
    };

    [Theory]
    [MemberData(nameof(Refusals))]
    public async Task What_cannot_be_is_refused_with_the_error_that_says_why(uint error, uint command, uint[] words)
    {
        Assert.Equal(GpuDriver.Done, await _gpu.CreateAsync(1, 16, 16));
        Assert.Equal(error, await _gpu.DoAsync(command, words));
        Assert.Null(_subject.Device.Fault);
        Assert.Equal(GpuDriver.Done, await _gpu.ShowAsync(1, new PixelRectangle(0, 0, 16, 16)));
    }

    [Fact]
    public async Task A_command_without_a_header_or_room_for_an_answer_is_returned()
    {
        Assert.Equal(GpuDriver.Unspecified, GpuDriver.Type(await _gpu.AskAsync(new byte[23])));
        Assert.Empty(await _gpu.AskAsync(GpuDriver.Command(GpuDriver.Display), room: 23));
        Assert.Empty(await _gpu.AskAsync(GpuDriver.Command(GpuDriver.Display), room: 0));
        Assert.Equal(24 + 50, (await _gpu.AskAsync(GpuDriver.Command(GpuDriver.Display), room: 74)).Length);
    }

    [Fact]
    public async Task Resources_have_bounds_together()
    {
        Assert.Equal(GpuDriver.Done, await _gpu.CreateAsync(1, 8192, 4096));
        Assert.Equal(GpuDriver.Done, await _gpu.CreateAsync(2, 8192, 4096));
        Assert.Equal(GpuDriver.OutOfMemory, await _gpu.CreateAsync(3, 1, 1));
        Assert.Equal(GpuDriver.Done, await _gpu.DoAsync(GpuDriver.RemoveCommand, 2, 0));
        for (uint id = 2; id <= VirtioGpu.MaximumResources; id++)
            Assert.Equal(GpuDriver.Done, await _gpu.CreateAsync(id, 1, 1));
        Assert.Equal(GpuDriver.OutOfMemory, await _gpu.CreateAsync(5000, 1, 1));
        const int Batch = 8192;
        (ulong, uint)[] pieces = [.. Enumerable.Repeat((0x1000UL, 4u), Batch)];
        for (uint id = 1; id <= VirtioGpu.MaximumPieces / Batch; id++)
            Assert.Equal(GpuDriver.Done, await _gpu.AttachAsync(id, pieces));
        Assert.Equal(GpuDriver.OutOfMemory, await _gpu.AttachAsync(100, (0x1000, 4)));
        Assert.Equal(GpuDriver.Done, await _gpu.DoAsync(GpuDriver.RemoveCommand, 1, 0));
        Assert.Equal(GpuDriver.Done, await _gpu.AttachAsync(100, (0x1000, 4)));
    }

    // A pixel of red 11h, green 22h, blue 33h.
    [Theory]
    [InlineData(1, 0x77, new byte[] { 0x33, 0x22, 0x11, 0x77 })]
    [InlineData(2, 0xFF, new byte[] { 0x33, 0x22, 0x11, 0x77 })]
    [InlineData(3, 0x77, new byte[] { 0x77, 0x11, 0x22, 0x33 })]
    [InlineData(4, 0xFF, new byte[] { 0x77, 0x11, 0x22, 0x33 })]
    [InlineData(67, 0x77, new byte[] { 0x11, 0x22, 0x33, 0x77 })]
    [InlineData(68, 0xFF, new byte[] { 0x77, 0x33, 0x22, 0x11 })]
    [InlineData(121, 0x77, new byte[] { 0x77, 0x33, 0x22, 0x11 })]
    [InlineData(134, 0xFF, new byte[] { 0x11, 0x22, 0x33, 0x77 })]
    public async Task Each_format_has_its_bytes_in_its_order(uint format, int alpha, byte[] bytes)
    {
        var all = new PixelRectangle(0, 0, 64, 64);
        byte[] content = [.. Enumerable.Repeat(bytes, 64 * 64).SelectMany(b => b)];
        await MakeAsync(1, 64, 64, content, format);
        Assert.Equal(GpuDriver.Done, await _gpu.ShowAsync(1, all));
        Assert.Equal(0x112233u, Picture().Row(5)[7]);
        // As a pointer over a black screen: its alpha shows over white only.
        await MakeAsync(2, 64, 64, [.. Enumerable.Repeat((byte)0xFF, 64 * 64 * 4)]);
        Assert.Equal(GpuDriver.Done, await _gpu.ShowAsync(2, all));
        await _gpu.CursorAsync(GpuDriver.UpdateCursor, 0, 0, 1);
        uint stays = 255 - (uint)alpha;
        uint expected = ((0x11 + stays) << 16) | ((0x22 + stays) << 8) | (0x33 + stays);
        Assert.Equal(expected, Picture().Row(5)[7]);
    }

    [Fact]
    public async Task Parts_are_copied_from_scattered_memory_as_a_model_has_them()
    {
        int seed = TestSeed.Take(_output, "parts");
        var random = new Random(seed);
        const int Width = 50, Height = 40;
        byte[] guest = new byte[4 * Width * Height];
        random.NextBytes(guest);
        // Pieces in the reverse order of their addresses, some without a byte.
        var pieces = new List<(ulong Address, uint Length)>();
        ulong top = 0x48_0000;
        for (int at = 0; at < guest.Length;)
        {
            int length = Math.Min(random.Next(0, 700), guest.Length - at);
            top -= 1000;
            Assert.True(_subject.Memory.TryWrite(top, guest.AsSpan(at, length)));
            pieces.Add((top, (uint)length));
            at += length;
        }

        Assert.Equal(GpuDriver.Done, await _gpu.CreateAsync(7, Width, Height));
        Assert.Equal(GpuDriver.Done, await _gpu.AttachAsync(7, [.. pieces]));
        Assert.Equal(GpuDriver.Unspecified, await _gpu.AttachAsync(7, [.. pieces]));
        Assert.Equal(GpuDriver.Done, await _gpu.ShowAsync(7, new PixelRectangle(0, 0, Width, Height)));
        byte[] model = new byte[guest.Length];
        for (int round = 0; round < 200; round++)
        {
            int x = random.Next(Width), y = random.Next(Height), width = random.Next(1, Width - x + 1), height = random.Next(1, Height - y + 1);
            if (random.Next(4) == 0)
                (x, width) = (0, Width);
            int offset = random.Next(3) == 0 ? random.Next(guest.Length) : 4 * ((y * Width) + x);
            int last = offset + ((height - 1) * Width * 4) + (width * 4);
            if (width == Width)
                last = offset + (width * height * 4);
            uint answer = await _gpu.TransferAsync(7, new PixelRectangle(x, y, width, height), (ulong)offset);
            Assert.Equal(last <= guest.Length ? GpuDriver.Done : GpuDriver.InvalidParameter, answer);
            for (int row = 0; row < height && (last <= guest.Length || width != Width); row++)
            {
                int from = offset + (row * Width * 4);
                if (from + (width * 4) > guest.Length)
                    break;
                guest.AsSpan(from, width * 4).CopyTo(model.AsSpan(4 * (((y + row) * Width) + x)));
            }
        }

        Assert.Equal(GpuDriver.Done, await _gpu.FlushAsync(7, new PixelRectangle(0, 0, Width, Height)));
        PixelSurface picture = Picture();
        for (int i = 0; i < Width * Height; i++)
            Assert.Equal(BinaryPrimitives.ReadUInt32LittleEndian(model.AsSpan(4 * i)) & 0xFFFFFF, picture.Pixels[i]);
    }

    [Fact]
    public async Task What_is_copied_is_shown_when_it_is_flushed_and_only_that_is_sent()
    {
        await MakeAsync(1, 200, 100, new byte[200 * 100 * 4]);
        var part = new PixelRectangle(40, 20, 128, 64);
        Assert.Equal(GpuDriver.Done, await _gpu.ShowAsync(1, part));
        var surface = new PixelSurface();
        var damage = new DamageRegion();
        Render(surface, damage, isNew: true);
        Assert.Equal((128, 64), (surface.Width, surface.Height));
        _ = damage.Take(surface.Bounds);
        Assert.Equal(GpuDriver.Done, await _gpu.DoAsync(GpuDriver.DetachCommand, 1, 0));
        ulong white = _subject.Driver.Allocate([.. Enumerable.Repeat((byte)0xFF, 200 * 100 * 4)]);
        Assert.Equal(GpuDriver.Done, await _gpu.AttachAsync(1, (white, 200 * 100 * 4)));
        Assert.Equal(GpuDriver.Done, await _gpu.TransferAsync(1, new PixelRectangle(0, 0, 200, 100)));
        Render(surface, damage);
        Assert.True(damage.IsEmpty);
        // Of this rectangle 8 by 4 pixels are on the screen, in its corner.
        Assert.Equal(GpuDriver.Done, await _gpu.FlushAsync(1, new PixelRectangle(0, 0, 48, 24)));
        Render(surface, damage);
        Assert.Equal(new PixelRectangle(0, 0, 32, 8), Assert.Single(damage.Take(surface.Bounds)));
        Assert.Equal(0xFFFFFFu, surface.Row(3)[7]);
        Assert.Equal((0u, 0u), (surface.Row(3)[8], surface.Row(4)[7]));
        // Another part of it, and then none.
        Assert.Equal(GpuDriver.Done, await _gpu.ShowAsync(1, part with { X = 41 }));
        Render(surface, damage);
        Assert.Equal(0xFFFFFFu, surface.Row(63)[127]);
        Assert.Equal(GpuDriver.Done, await _gpu.ShowAsync(0, default));
        Render(surface, damage);
        Assert.Equal((128, 64), (surface.Width, surface.Height));
        Assert.Equal(-1, surface.Pixels.IndexOfAnyExcept(0u));
    }

    [Fact]
    public async Task A_picture_that_is_removed_leaves_a_dark_screen()
    {
        await MakeAsync(1, 32, 32, [.. Enumerable.Repeat((byte)0xFF, 32 * 32 * 4)]);
        Assert.Equal(GpuDriver.Done, await _gpu.ShowAsync(1, new PixelRectangle(0, 0, 32, 32)));
        Assert.Equal(0xFFFFFFu, Picture().Row(0)[0]);
        Assert.Equal(GpuDriver.Done, await _gpu.DoAsync(GpuDriver.RemoveCommand, 1, 0));
        Assert.Equal(-1, Picture().Pixels.IndexOfAnyExcept(0u));
        Assert.Equal(GpuDriver.InvalidResource, await _gpu.FlushAsync(1, new PixelRectangle(0, 0, 32, 32)));
    }

    [Fact]
    public async Task The_pointer_lies_over_the_picture_moves_and_goes()
    {
        await MakeAsync(1, 160, 96, new byte[160 * 96 * 4]);
        Assert.Equal(GpuDriver.Done, await _gpu.ShowAsync(1, new PixelRectangle(0, 0, 160, 96)));
        byte[] image = new byte[64 * 64 * 4];
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(4 * ((2 * 64) + 3)), 0xFF123456);
        await MakeAsync(2, 64, 64, image, format: 1);
        var surface = new PixelSurface();
        var damage = new DamageRegion();
        Render(surface, damage, isNew: true);
        await _gpu.CursorAsync(GpuDriver.UpdateCursor, 100, 50, 2, hotX: 3, hotY: 2);
        Render(surface, damage);
        Assert.Equal((0x123456u, 1), (surface.Row(50)[100], Lit(surface)));
        // The picture that it was given stays, whatever becomes of the resource.
        Assert.Equal(GpuDriver.Done, await _gpu.DoAsync(GpuDriver.RemoveCommand, 2, 0));
        await _gpu.CursorAsync(GpuDriver.MoveCursor, 0, 95);
        _ = damage.Take(surface.Bounds);
        Render(surface, damage);
        Assert.Equal((0x123456u, 1), (surface.Row(95)[0], Lit(surface)));
        Assert.Equal(2, damage.Take(surface.Bounds).Count);
        await _gpu.CursorAsync(GpuDriver.MoveCursor, -1, 10);
        Render(surface, damage);
        Assert.Equal(0, Lit(surface));
        await _gpu.CursorAsync(GpuDriver.MoveCursor, int.MinValue, int.MaxValue);
        Render(surface, damage);
        Assert.Equal(0, Lit(surface));
        // One for another screen, one of another size, one with its point outside it: nothing happens.
        await _gpu.CursorAsync(GpuDriver.MoveCursor, 10, 10);
        await _gpu.CursorAsync(GpuDriver.MoveCursor, 20, 20, screen: 1);
        await _gpu.CursorAsync(GpuDriver.UpdateCursor, 20, 20, 1);
        await MakeAsync(3, 64, 64, image, format: 1);
        await _gpu.CursorAsync(GpuDriver.UpdateCursor, 20, 20, 3, hotX: 64);
        Render(surface, damage);
        Assert.Equal((0x123456u, 1), (surface.Row(10)[10], Lit(surface)));
        await _gpu.CursorAsync(GpuDriver.UpdateCursor, 10, 10);
        Render(surface, damage);
        Assert.Equal(0, Lit(surface));
    }

    [Fact]
    public async Task It_is_a_vga_until_its_driver_shows_something_and_after_its_reset()
    {
        Assert.Equal(0x1050_1AF4u, Adapter.ReadConfig(0, 4));
        Assert.Equal(0x0300u, Adapter.ReadConfig(0x0A, 2));
        // 800x600x32 by the VGA's registers in the first page of BAR 2.
        IoRange page = new(0, 4096, Adapter.Bars.Single(bar => bar.Index == 2).Region);
        foreach ((ulong register, ulong value) in (ReadOnlySpan<(ulong, ulong)>)[(1, 800), (2, 600), (3, 32), (4, 0x41)])
            page.Region.Write(0x500 + (2 * register), 2, value);
        Assert.Equal(0xB0C5u, page.Region.Read(0x500, 2));
        Adapter.Bars.Single(bar => bar.Index == 0).Region.Write(0, 4, 0xABCDEF);
        PixelSurface picture = Picture();
        Assert.Equal((800, 600, 0xABCDEFu), (picture.Width, picture.Height, picture.Row(0)[0]));
        await MakeAsync(1, 32, 32, new byte[32 * 32 * 4]);
        Assert.Equal(800, Picture().Width);
        Assert.Equal(GpuDriver.Done, await _gpu.ShowAsync(1, new PixelRectangle(0, 0, 32, 32)));
        Assert.Equal(32, Picture().Width);
        _subject.Access.Status = 0;
        Assert.Equal(800, Picture().Width);
    }

    [Fact]
    public async Task What_is_shown_is_shown_after_a_restore()
    {
        byte[] content = new byte[100 * 80 * 4];
        Random.Shared.NextBytes(content);
        await MakeAsync(5, 100, 80, content);
        await MakeAsync(3, 64, 64, [.. Enumerable.Repeat((byte)0x80, 64 * 64 * 4)], format: 1);
        Assert.Equal(GpuDriver.Done, await _gpu.ShowAsync(5, new PixelRectangle(10, 5, 80, 70)));
        await _gpu.CursorAsync(GpuDriver.UpdateCursor, 40, 30, 3, 1, 1);
        byte[] saved = _subject.Access.Save();
        using VirtioSubject copy = VirtioSubject.Make("gpu", "vga", "split");
        byte[] memory = new byte[VirtioSubject.RamSize];
        Assert.True(_subject.Memory.TryRead(0, memory));
        Assert.True(copy.Memory.TryWrite(0, memory));
        copy.Access.Restore(saved);
        Assert.Equal(saved, copy.Access.Save());
        copy.Device.Release();
        copy.Driver.Continue(_subject.Driver);
        var adapter = (VirtioVga)((PciAccess)copy.Access).Function;
        Assert.Equal(Picture().Pixels, GpuDriver.Picture(adapter, copy.Gate).Pixels);
        // It goes on with what it had: the backing is still there.
        var gpu = new GpuDriver(copy.Driver);
        Assert.Equal(GpuDriver.Done, await gpu.TransferAsync(5, new PixelRectangle(0, 0, 100, 80)));
        Assert.Equal(GpuDriver.InvalidResource, await gpu.CreateAsync(3, 4, 4));
        copy.Access.Status = 0;
        copy.Driver.Start();
        Assert.Equal(GpuDriver.Done, await gpu.CreateAsync(3, 4, 4));
    }

    private static int Lit(PixelSurface surface)
    {
        int count = 0;
        foreach (uint pixel in surface.Pixels)
            count += pixel != 0 ? 1 : 0;
        return count;
    }

    private PixelSurface Picture() => GpuDriver.Picture(Adapter, _subject.Gate);

    private void Render(PixelSurface surface, DamageRegion damage, bool isNew = false)
    {
        lock (_subject.Gate)
            Adapter.Capture();
        Adapter.Render(surface, damage, isNew);
    }

    private async Task MakeAsync(uint id, int width, int height, byte[] content, uint format = 2)
    {
        Assert.Equal(GpuDriver.Done, await _gpu.CreateAsync(id, width, height, format));
        Assert.Equal(GpuDriver.Done, await _gpu.AttachAsync(id, (_subject.Driver.Allocate(content), (uint)content.Length)));
        Assert.Equal(GpuDriver.Done, await _gpu.TransferAsync(id, new PixelRectangle(0, 0, width, height)));
    }
}
