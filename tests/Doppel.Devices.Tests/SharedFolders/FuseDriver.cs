using System.Buffers.Binary;
using System.Text;
using Doppel.Devices.Tests.Virtio;

namespace Doppel.Devices.Tests.SharedFolders;

/// <summary>A guest's side of FUSE over virtio: builds requests and reads answers, as Linux lays them out.</summary>
public sealed class FuseDriver(VirtioDriver driver)
{
    private const int RequestQueue = 1, PriorityQueue = 0;
    private ulong _unique;

    public bool IsIndirect { get; init; }

    /// <summary>A header with any opcode, a node that may exist, and a length that may be right.</summary>
    public static byte[] RandomHeader(Random random)
    {
        byte[] bytes = new byte[120];
        random.NextBytes(bytes.AsSpan(40));
        // Names end, numbers of open files are small, and so are offsets.
        for (int i = 40; i < bytes.Length; i += random.Next(1, 12))
            bytes[i] = 0;
        BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(40), (ulong)random.Next(6));
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, random.Next(8) == 0 ? (uint)random.Next() : (uint)random.Next(40, 121));
        // Not FUSE_FALLOCATE, which would really take the space that it asks for, nor FUSE_SYNCFS, which waits for the host's disk.
        uint opcode = (uint)random.Next(53);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4), opcode is 43 or 50 ? 44 : opcode);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(16), random.Next(8) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(6));
        return bytes;
    }

    public static byte[] Name(string name) => [.. Encoding.UTF8.GetBytes(name), 0];

    public static byte[] Fields(params ulong[] values) => [.. values.SelectMany(BitConverter.GetBytes)];

    public static byte[] Words(params uint[] values) => [.. values.SelectMany(BitConverter.GetBytes)];

    public static ulong UInt64(byte[] bytes, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(offset));

    public static uint UInt32(byte[] bytes, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(offset));

    /// <summary>Sends a request and waits for its answer.</summary>
    /// <param name="opcode">FUSE_*.</param>
    /// <param name="node">Node id.</param>
    /// <param name="arguments">What follows the header.</param>
    /// <param name="room">Bytes for the answer, behind its header.</param>
    public async Task<(int Error, byte[] Data)> AskAsync(uint opcode, ulong node, byte[] arguments, int room)
    {
        ulong unique = ++_unique;
        byte[] header = Header(opcode, unique, node, arguments.Length);
        ulong into = driver.Allocate(new byte[16 + room]);
        List<DriverBuffer> buffers = [new(driver.Allocate(header), 40), new(into, 16, IsWritable: true)];
        if (arguments.Length != 0)
            buffers.Insert(1, new DriverBuffer(driver.Allocate(arguments), (uint)arguments.Length));
        if (room != 0)
            buffers.Add(new DriverBuffer(into + 16, (uint)room, IsWritable: true));
        uint written = await driver.DoAsync(RequestQueue, buffers, IsIndirect);
        byte[] answer = driver.Bytes(into, 16 + room);
        Assert.Equal(written, UInt32(answer, 0));
        Assert.Equal(unique, UInt64(answer, 8));
        return ((int)UInt32(answer, 4), answer[16..(int)written]);
    }

    public async Task<(ulong Node, ulong Handle)> CreateAsync(ulong directory, string name, uint mode = 0x81A4, uint flags = 0xC2)
    {
        (int error, byte[] data) = await AskAsync(35, directory, [.. Words(flags, mode, 0, 0), .. Name(name)], 144);
        Assert.Equal(0, error);
        return (UInt64(data, 0), UInt64(data, 128));
    }

    public async Task<ulong> LookupAsync(ulong directory, string name)
    {
        (int error, byte[] data) = await AskAsync(1, directory, Name(name), 128);
        Assert.Equal(0, error);
        return UInt64(data, 0);
    }

    public async Task<int> WriteAsync(ulong node, ulong handle, ulong offset, byte[] content)
    {
        (int error, byte[] data) = await AskAsync(16, node, [.. Fields(handle, offset), .. Words((uint)content.Length, 0), .. Fields(0, 0), .. content], 8);
        return error != 0 ? error : (int)UInt32(data, 0);
    }

    public async Task<byte[]> ReadAsync(ulong node, ulong handle, ulong offset, int length)
    {
        (int error, byte[] data) = await AskAsync(15, node, [.. Fields(handle, offset), .. Words((uint)length, 0), .. Fields(0, 0)], length);
        Assert.Equal(0, error);
        return data;
    }

    public async Task ReleaseAsync(ulong node, ulong handle) => Assert.Equal(0, (await AskAsync(18, node, Fields(handle, 0, 0), 0)).Error);

    /// <summary>Tells that a node is forgotten, which has no answer.</summary>
    public async Task ForgetAsync(ulong node, ulong lookups = 1)
    {
        byte[] request = [.. Header(2, 0, node, 8), .. Fields(lookups)];
        Assert.Equal(0u, await driver.DoAsync(PriorityQueue, [new DriverBuffer(driver.Allocate(request), (uint)request.Length)], IsIndirect));
    }

    /// <summary>Reads a directory's names, with the numbers of their nodes where the answer has them.</summary>
    public async Task<Dictionary<string, ulong>> ListAsync(ulong node, bool isPlus, int room = 4096)
    {
        (int error, byte[] opened) = await AskAsync(27, node, Words(0, 0), 16);
        Assert.Equal(0, error);
        ulong handle = UInt64(opened, 0), at = 0;
        var found = new Dictionary<string, ulong>();
        while (true)
        {
            (error, byte[] data) = await AskAsync(isPlus ? 44u : 28u, node, [.. Fields(handle, at), .. Words((uint)room, 0), .. Fields(0, 0)], room);
            Assert.Equal(0, error);
            if (data.Length == 0)
                break;
            for (int i = 0; i < data.Length;)
            {
                ulong id = isPlus ? UInt64(data, i) : 0;
                i += isPlus ? 128 : 0;
                int length = (int)UInt32(data, i + 16);
                found.Add(Encoding.UTF8.GetString(data, i + 24, length), id);
                at = UInt64(data, i + 8);
                i += (24 + length + 7) & ~7;
            }
        }

        Assert.Equal(0, (await AskAsync(29, node, Fields(handle, 0, 0), 0)).Error);
        return found;
    }

    private static byte[] Header(uint opcode, ulong unique, ulong node, int arguments) =>
        [.. Words(40 + (uint)arguments, opcode), .. Fields(unique, node), .. Words(0, 0, 1, 0)];
}
