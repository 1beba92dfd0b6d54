using System.Buffers.Binary;
using Doppel.Devices.Virtio;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>The kinds of devices that the suite runs on, and for each a piece of work that succeeds on a device in order.</summary>
public static class VirtioKinds
{
    private sealed record Kind(Func<object?> MakeBackend, Func<VirtioPlatform, object?, VirtioDevice> Make, Func<VirtioSubject, Random, Task> WorkAsync, Action<object?>? Close = null, Action<object?>? Open = null);

    private static readonly Dictionary<string, Kind> Kinds = new()
    {
        ["block"] = new(
            () => new MemoryBlockBackend(1 << 20),
            (platform, backend) => new VirtioBlock("virtio-blk0", (MemoryBlockBackend)backend!, platform, queues: 2, serial: "doppel-disk"),
            WriteAndReadBlockAsync,
            backend => ((MemoryBlockBackend)backend!).Close(),
            backend => ((MemoryBlockBackend)backend!).Open()),
    };

    public static IEnumerable<string> Names => Kinds.Keys;

    /// <summary>Kinds whose work can be stopped in the middle.</summary>
    public static IEnumerable<string> Slow => Kinds.Where(kind => kind.Value.Close is not null).Select(kind => kind.Key);

    public static object? MakeBackend(string kind) => Kinds[kind].MakeBackend();

    public static VirtioDevice Make(string kind, VirtioPlatform platform, object? backend) => Kinds[kind].Make(platform, backend);

    /// <summary>Does something with a started device and checks the result.</summary>
    public static Task WorkAsync(string kind, VirtioSubject subject, Random random) => Kinds[kind].WorkAsync(subject, random);

    /// <summary>From now on the back end does not complete what it begins.</summary>
    public static void Close(string kind, object? backend) => Kinds[kind].Close!(backend);

    /// <summary>The back end completes what it has begun.</summary>
    public static void Open(string kind, object? backend) => Kinds[kind].Open!(backend);

    /// <summary>A chain that writes or reads sectors of a disk.</summary>
    public static List<DriverBuffer> BlockRequest(VirtioDriver driver, uint type, ulong sector, IEnumerable<DriverBuffer> data, out ulong status)
    {
        byte[] header = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), sector);
        status = driver.Allocate([0xFF]);
        return [new DriverBuffer(driver.Allocate(header), 16), .. data, new DriverBuffer(status, 1, IsWritable: true)];
    }

    private static async Task WriteAndReadBlockAsync(VirtioSubject subject, Random random)
    {
        VirtioDriver driver = subject.Driver;
        int queue = random.Next(driver.Queues.Length);
        byte[] content = new byte[512 * random.Next(1, 9)];
        random.NextBytes(content);
        ulong sector = (ulong)random.Next(2000);
        bool isIndirect = random.Next(2) == 0;
        int cut = random.Next(1, content.Length);
        List<DriverBuffer> write = BlockRequest(
            driver, 1, sector, [new(driver.Allocate(content[..cut]), (uint)cut), new(driver.Allocate(content[cut..]), (uint)(content.Length - cut))], out ulong written);
        Assert.Equal(1u, await driver.DoAsync(queue, write, isIndirect));
        Assert.Equal(0, driver.Bytes(written, 1)[0]);
        ulong into = driver.Allocate(content.Length);
        List<DriverBuffer> read = BlockRequest(driver, 0, sector, [new(into, (uint)content.Length, IsWritable: true)], out ulong status);
        Assert.Equal((uint)content.Length + 1, await driver.DoAsync(queue, read, !isIndirect));
        Assert.Equal(0, driver.Bytes(status, 1)[0]);
        Assert.Equal(content, driver.Bytes(into, content.Length));
    }
}
