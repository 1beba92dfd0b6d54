using System.Buffers.Binary;
using Doppel.Devices.Display;
using Doppel.Devices.Virtio;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>The commands of a virtio GPU as a driver sends them (virtio 1.2, 5.7.6.8).</summary>
public sealed class GpuDriver(VirtioDriver driver)
{
    public const uint Display = 0x100, CreateCommand = 0x101, RemoveCommand = 0x102, ScreenCommand = 0x103, FlushCommand = 0x104, TransferCommand = 0x105,
        AttachCommand = 0x106, DetachCommand = 0x107, EdidCommand = 0x10A, UpdateCursor = 0x300, MoveCursor = 0x301;

    public const uint Done = 0x1100, Unspecified = 0x1200, OutOfMemory = 0x1201, InvalidScreen = 0x1202, InvalidResource = 0x1203, InvalidParameter = 0x1205;

    /// <summary>Bytes of a command: its header, and words behind it.</summary>
    public static byte[] Command(uint type, params uint[] words) => Command(type, null, words);

    /// <summary>Bytes of a command with a fence.</summary>
    public static byte[] Command(uint type, ulong? fence, params uint[] words)
    {
        byte[] bytes = new byte[24 + (4 * words.Length)];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, type);
        if (fence is ulong number)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4), 1);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(8), number);
        }

        for (int i = 0; i < words.Length; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(24 + (4 * i)), words[i]);
        return bytes;
    }

    /// <summary>Sends a command.</summary>
    /// <returns>The answer, as many bytes as the device wrote.</returns>
    public async Task<byte[]> AskAsync(byte[] command, int room = 1200, int queue = 0, bool isIndirect = false)
    {
        ulong answer = driver.Allocate(Math.Max(room, 1));
        List<DriverBuffer> buffers = [new DriverBuffer(driver.Allocate(command), (uint)command.Length)];
        if (room > 0)
            buffers.Add(new DriverBuffer(answer, (uint)room, IsWritable: true));
        uint written = await driver.DoAsync(queue, buffers, isIndirect);
        return driver.Bytes(answer, (int)written);
    }

    /// <summary>Sends a command that has no more than a type for an answer.</summary>
    public async Task<uint> DoAsync(uint type, params uint[] words) => Type(await AskAsync(Command(type, words)));

    /// <summary>Creates a resource in the format B8G8R8X8.</summary>
    public Task<uint> CreateAsync(uint id, int width, int height, uint format = 2) => DoAsync(CreateCommand, id, format, (uint)width, (uint)height);

    /// <summary>Attaches pieces of memory.</summary>
    public Task<uint> AttachAsync(uint id, params (ulong Address, uint Length)[] pieces) =>
        DoAsync(AttachCommand, [id, (uint)pieces.Length, .. pieces.SelectMany(p => (uint[])[(uint)p.Address, (uint)(p.Address >> 32), p.Length, 0])]);

    /// <summary>Copies a part from memory.</summary>
    public Task<uint> TransferAsync(uint id, PixelRectangle part, ulong offset = 0) =>
        DoAsync(TransferCommand, [.. Words(part), (uint)offset, (uint)(offset >> 32), id, 0]);

    /// <summary>Shows a part of a resource.</summary>
    public Task<uint> ShowAsync(uint id, PixelRectangle part, uint screen = 0) => DoAsync(ScreenCommand, [.. Words(part), screen, id]);

    /// <summary>Shows what was copied.</summary>
    public Task<uint> FlushAsync(uint id, PixelRectangle part) => DoAsync(FlushCommand, [.. Words(part), id, 0]);

    /// <summary>A command of the queue for the pointer, which has no answer.</summary>
    public async Task CursorAsync(uint type, int x, int y, uint id = 0, uint hotX = 0, uint hotY = 0, uint screen = 0) =>
        _ = await AskAsync(Command(type, screen, (uint)x, (uint)y, 0, id, hotX, hotY, 0), room: 0, queue: 1);

    public static uint Type(byte[] answer) => BinaryPrimitives.ReadUInt32LittleEndian(answer);

    /// <summary>What an adapter shows, drawn anew.</summary>
    public static PixelSurface Picture(IDisplayAdapter adapter, Lock gate)
    {
        var surface = new PixelSurface();
        lock (gate)
            adapter.Capture();
        adapter.Render(surface, new DamageRegion(), isNew: true);
        return surface;
    }

    /// <summary>Bytes that the device takes for a command, with numbers that often mean something.</summary>
    public static byte[] RandomHeader(Random random)
    {
        uint[] types = [Display, CreateCommand, RemoveCommand, ScreenCommand, FlushCommand, TransferCommand, AttachCommand, DetachCommand, EdidCommand, UpdateCursor, MoveCursor, 0x108, 0x10D, (uint)random.Next()];
        byte[] bytes = new byte[24 + (4 * random.Next(13))];
        random.NextBytes(bytes.AsSpan(4, 20));
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, types[random.Next(types.Length)]);
        for (int at = 24; at < bytes.Length; at += 4)
        {
            uint word = random.Next(40) switch
            {
                0 => (uint)random.NextInt64(),
                1 => uint.MaxValue - (uint)random.Next(3),
                2 => 4096u,
                3 => (uint)VirtioDriver.BufferArea + (uint)random.Next(0x1000),
                < 10 => 0u,
                < 30 => (uint)random.Next(1, 5),
                _ => (uint)random.Next(1, 65),
            };
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(at), word);
        }

        return bytes;
    }

    /// <summary>Makes a picture, shows it, and takes it away again.</summary>
    internal static async Task DrawAsync(VirtioSubject subject, Random random)
    {
        VirtioDriver driver = subject.Driver;
        var gpu = new GpuDriver(driver);
        uint id = (uint)random.Next(1, 1000);
        int width = random.Next(1, 40), height = random.Next(1, 40);
        byte[] content = new byte[4 * width * height];
        random.NextBytes(content);
        ulong at = driver.Allocate(content);
        uint cut = (uint)random.Next(content.Length);
        bool isIndirect = random.Next(2) == 0;
        Assert.Equal(Done, Type(await gpu.AskAsync(Command(CreateCommand, id, 2, (uint)width, (uint)height), isIndirect: isIndirect)));
        Assert.Equal(Done, await gpu.AttachAsync(id, (at, cut), (at + cut, (uint)content.Length - cut)));
        var all = new PixelRectangle(0, 0, width, height);
        Assert.Equal(Done, await gpu.TransferAsync(id, all));
        Assert.Equal(Done, await gpu.ShowAsync(id, all));
        Assert.Equal(Done, await gpu.FlushAsync(id, all));
        await gpu.CursorAsync(MoveCursor, random.Next(100), random.Next(100));
        PixelSurface picture = Picture((VirtioGpu)subject.Device, subject.Gate);
        Assert.Equal((width, height), (picture.Width, picture.Height));
        for (int i = 0; i < width * height; i++)
            Assert.Equal(BinaryPrimitives.ReadUInt32LittleEndian(content.AsSpan(4 * i)) & 0xFFFFFF, picture.Pixels[i]);
        Assert.Equal(Done, await gpu.DoAsync(DetachCommand, id, 0));
        Assert.Equal(Done, await gpu.DoAsync(RemoveCommand, id, 0));
    }

    private static uint[] Words(PixelRectangle part) => [(uint)part.X, (uint)part.Y, (uint)part.Width, (uint)part.Height];
}
