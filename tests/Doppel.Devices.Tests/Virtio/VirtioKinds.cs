using System.Buffers.Binary;
using Doppel.Devices.Console;
using Doppel.Devices.Network;
using Doppel.Devices.Tests.Network;
using Doppel.Devices.Tests.SharedFolders;
using Doppel.Devices.Tests.Vsock;
using Doppel.Devices.Virtio;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>The kinds of devices that the suite runs on, and for each a piece of work that succeeds on a device in order.</summary>
public static class VirtioKinds
{
    private sealed record Kind(Func<object?> MakeBackend, Func<DevicePlatform, object?, VirtioDevice> Make, Func<VirtioSubject, Random, Task> WorkAsync, Action<object?>? Close = null, Action<object?>? Open = null);

    private static readonly Dictionary<string, Kind> Kinds = new()
    {
        ["block"] = new(
            () => new MemoryBlockBackend(1 << 20),
            (platform, backend) => new VirtioBlock("virtio-blk0", (MemoryBlockBackend)backend!, platform, queues: 2, serial: "doppel-disk"),
            WriteAndReadBlockAsync,
            backend => ((MemoryBlockBackend)backend!).Close(),
            backend => ((MemoryBlockBackend)backend!).Open()),
        ["random"] = new(
            () => null,
            (platform, _) => new VirtioRandom("virtio-rng0", bytes => bytes.Fill(0x5A), platform),
            DrawNumbersAsync),
        ["console"] = new(
            () => new MemoryConsole[] { new(), new() },
            (platform, backend) => new VirtioConsole("virtio-console0", Ports((MemoryConsole[])backend!), platform),
            TalkAsync),
        ["balloon"] = new(
            () => null,
            (platform, _) => new VirtioBalloon("virtio-balloon0", platform),
            GiveAndTakeAsync),
        ["fs"] = new(
            () => new GatedFolder(),
            (platform, backend) => new VirtioFs("virtio-fs0", "doppel-tag", ((GatedFolder)backend!).Serve(), platform),
            MakeAndRemoveFileAsync,
            backend => ((GatedFolder)backend!).Close(),
            backend => ((GatedFolder)backend!).Open()),
        ["net"] = new(
            () => new MemoryNetwork(),
            (platform, backend) => new VirtioNet("virtio-net0", ((MemoryNetwork)backend!).Connect(), MacAddress.Derive("test"), platform, pairs: 2, mtu: 9000),
            SendAndReceiveAsync),
        ["keyboard"] = new(
            () => null,
            (platform, _) => new VirtioKeyboard("virtio-keyboard0", platform),
            InputWork.TypeAsync),
        ["tablet"] = new(
            () => null,
            (platform, _) => new VirtioTablet("virtio-tablet0", platform),
            InputWork.PointAsync),
        ["gpu"] = new(
            () => null,
            (platform, _) => new VirtioGpu("virtio-gpu0", platform),
            GpuDriver.DrawAsync),
        ["vsock"] = new(
            () => new VsockHost(),
            (platform, backend) => new VirtioVsock("virtio-vsock0", VsockDriver.Cid, ((VsockHost)backend!).Listen(), platform),
            TalkToEchoAsync),
    };

    public static IEnumerable<string> Names => Kinds.Keys;

    /// <summary>Kinds whose work can be stopped in the middle.</summary>
    public static IEnumerable<string> Slow => Kinds.Where(kind => kind.Value.Close is not null).Select(kind => kind.Key);

    public static object? MakeBackend(string kind) => Kinds[kind].MakeBackend();

    public static VirtioDevice Make(string kind, DevicePlatform platform, object? backend) => Kinds[kind].Make(platform, backend);

    /// <summary>False for a device to which a guest gives pages by number: then any page may become zero.</summary>
    public static bool TouchesBuffersOnly(string kind) => kind != "balloon";

    /// <summary>Does something with a started device and checks the result.</summary>
    public static Task WorkAsync(string kind, VirtioSubject subject, Random random) => Kinds[kind].WorkAsync(subject, random);

    /// <summary>From now on the back end does not complete what it begins.</summary>
    public static void Close(string kind, object? backend) => Kinds[kind].Close!(backend);

    /// <summary>The back end completes what it has begun.</summary>
    public static void Open(string kind, object? backend) => Kinds[kind].Open!(backend);

    /// <summary>Bytes that a device of a kind takes for the beginning of a request.</summary>
    public static byte[] Header(string kind, Random random)
    {
        if (kind == "fs")
            return FuseDriver.RandomHeader(random);
        if (kind == "vsock")
            return VsockDriver.RandomHeader(random);
        if (kind == "gpu")
            return GpuDriver.RandomHeader(random);
        byte[] header = new byte[16];
        header[0] = (byte)random.Next(16);
        header[8] = (byte)random.Next(256);
        return header;
    }

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

    private static async Task DrawNumbersAsync(VirtioSubject subject, Random random)
    {
        int length = random.Next(1, 3000);
        ulong into = subject.Driver.Allocate(length + 1);
        Assert.True(subject.Memory.TryWrite(into, new byte[length + 1]));
        List<DriverBuffer> buffers = [new(into, (uint)length / 2, IsWritable: true), new(into + ((uint)length / 2), (uint)length - ((uint)length / 2), IsWritable: true)];
        Assert.Equal((uint)length, await subject.Driver.DoAsync(0, buffers, random.Next(2) == 0));
        byte[] bytes = subject.Driver.Bytes(into, length + 1);
        Assert.All(bytes[..length], b => Assert.Equal(0x5A, b));
        Assert.Equal(0, bytes[length]);
    }

    private static List<VirtioConsolePort> Ports(MemoryConsole[] consoles) =>
        [new VirtioConsolePort(consoles[0], IsConsole: true), new VirtioConsolePort(consoles[1], "org.doppel.test")];

    private static async Task TalkAsync(VirtioSubject subject, Random random)
    {
        VirtioDriver driver = subject.Driver;
        var consoles = (MemoryConsole[])subject.Backend!;
        var device = (VirtioConsole)subject.Device;
        if (!device.IsOpen(0))
        {
            // Device ready; both ports ready; port 0 open. The device tells of two ports, a console, a name, two open ends.
            for (int i = 0; i < 6; i++)
                _ = driver.Queues[2].Add([new DriverBuffer(driver.Allocate(64), 64, IsWritable: true)]);
            driver.Queues[2].Kick();
            foreach (byte[] message in (byte[][])[[0, 0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 3, 0, 1, 0], [1, 0, 0, 0, 3, 0, 1, 0], [0, 0, 0, 0, 6, 0, 1, 0]])
                _ = await driver.DoAsync(3, [new DriverBuffer(driver.Allocate(message), 8)]);
            for (int i = 0; i < 6; i++)
                Assert.True((await driver.NextUsedAsync(2)).Written >= 8);
            Assert.True(device.IsOpen(0));
        }

        byte[] sent = new byte[random.Next(1, 9000)];
        random.NextBytes(sent);
        int before = consoles[0].OutputLength;
        Assert.Equal(0u, await driver.DoAsync(1, [new DriverBuffer(driver.Allocate(sent), (uint)sent.Length)], random.Next(2) == 0));
        Assert.Equal(sent, consoles[0].OutputBytes()[before..]);
        byte[] typed = new byte[random.Next(1, 100)];
        random.NextBytes(typed);
        ulong into = driver.Allocate(100);
        bool isEarly = random.Next(2) == 0;
        if (isEarly)
            consoles[0].Send(typed);
        _ = driver.Queues[0].Add([new DriverBuffer(into, 100, IsWritable: true)]);
        driver.Queues[0].Kick();
        if (!isEarly)
            consoles[0].Send(typed);
        Assert.Equal((uint)typed.Length, (await driver.NextUsedAsync(0)).Written);
        Assert.Equal(typed, driver.Bytes(into, typed.Length));
    }

    private static async Task GiveAndTakeAsync(VirtioSubject subject, Random random)
    {
        VirtioDriver driver = subject.Driver;
        ulong page = 0x60_0000 + ((ulong)random.Next(100) * 4096);
        Assert.True(subject.Memory.TryWrite(page - 1, [1, 2, 3]));
        Assert.True(subject.Memory.TryWrite(page + 4095, [4, 5]));
        byte[] numbers = BitConverter.GetBytes((uint)(page / 4096));
        _ = await driver.DoAsync(0, [new DriverBuffer(driver.Allocate(numbers), 4)]);
        Assert.Equal([1, 0, 0], driver.Bytes(page - 1, 3));
        Assert.Equal([0, 5], driver.Bytes(page + 4095, 2));
        _ = await driver.DoAsync(1, [new DriverBuffer(driver.Allocate(numbers), 4)], random.Next(2) == 0);
        Assert.True(subject.Memory.TryWrite(page, [9]));
        Assert.Equal([9], driver.Bytes(page, 1));
    }

    private static async Task TalkToEchoAsync(VirtioSubject subject, Random random)
    {
        var vsock = new VsockDriver(subject.Driver);
        uint port = (uint)random.Next(1024, 1 << 29);
        await vsock.SendAsync(VsockDriver.Request, port, VsockHost.EchoPort);
        Assert.Equal(VsockDriver.Response, (await vsock.ReceiveAsync()).Operation);
        byte[] content = new byte[random.Next(1, 3000)];
        random.NextBytes(content);
        await vsock.SendAsync(VsockDriver.Data, port, VsockHost.EchoPort, content);
        var echo = new List<byte>();
        while (echo.Count < content.Length)
            echo.AddRange((await vsock.ReceiveAsync(VsockDriver.Data)).Data);
        Assert.Equal(content, echo);
        await vsock.SendAsync(VsockDriver.Shutdown, port, VsockHost.EchoPort, flags: 3);
        Assert.Equal(VsockDriver.Reset, (await vsock.ReceiveAsync()).Operation);
    }

    private static async Task MakeAndRemoveFileAsync(VirtioSubject subject, Random random)
    {
        var fuse = new FuseDriver(subject.Driver) { IsIndirect = random.Next(2) == 0 };
        string name = $"file-{random.NextInt64()}";
        (ulong node, ulong handle) = await fuse.CreateAsync(1, name);
        byte[] content = new byte[random.Next(1, 5000)];
        random.NextBytes(content);
        Assert.Equal(content.Length, await fuse.WriteAsync(node, handle, 10, content));
        byte[] read = await fuse.ReadAsync(node, handle, 0, content.Length + 100);
        Assert.Equal([.. new byte[10], .. content], read);
        await fuse.ReleaseAsync(node, handle);
        await fuse.ForgetAsync(node);
        Assert.Equal(0, (await fuse.AskAsync(10, 1, FuseDriver.Name(name), 0)).Error);
        Assert.Equal(-2, (await fuse.AskAsync(1, 1, FuseDriver.Name(name), 128)).Error);
    }

    private static async Task SendAndReceiveAsync(VirtioSubject subject, Random random)
    {
        VirtioDriver driver = subject.Driver;
        var network = (MemoryNetwork)subject.Backend!;
        network.Sent.Clear();
        ulong acknowledged = driver.Allocate([0xFF]);
        _ = await driver.DoAsync(4, [new(driver.Allocate([0, 1, 1]), 3), new(acknowledged, 1, IsWritable: true)]);
        Assert.Equal(0, driver.Bytes(acknowledged, 1)[0]);

        byte[] sent = Frames.Random(random, random.Next(14, 4000));
        byte[] content = [.. new byte[FrameOffload.Length], .. sent];
        uint cut = (uint)random.Next(1, content.Length);
        ulong at = driver.Allocate(content);
        Assert.Equal(0u, await driver.DoAsync(1, [new(at, cut), new(at + cut, (uint)content.Length - cut)], random.Next(2) == 0));
        Assert.Equal(sent, Assert.Single(network.Sent).Frame);

        byte[] given = Frames.Random(random, random.Next(14, 1500));
        int size = random.Next(12, 600), count = (FrameOffload.Length + given.Length + size - 1) / size;
        bool isEarly = random.Next(2) == 0;
        if (isEarly)
            network.Deliver(given);
        // The queues of the tests have as few as eight places.
        size = count > 8 ? FrameOffload.Length + given.Length : size;
        count = count > 8 ? 1 : count;
        ulong[] buffers = [.. Enumerable.Range(0, count).Select(_ => driver.Allocate(size))];
        foreach (ulong buffer in buffers)
            _ = driver.Queues[0].Add([new DriverBuffer(buffer, (uint)size, IsWritable: true)]);
        driver.Queues[0].Kick();
        if (!isEarly)
            network.Deliver(given);
        var received = new List<byte>();
        foreach (ulong buffer in buffers)
            received.AddRange(driver.Bytes(buffer, (int)(await driver.NextUsedAsync(0)).Written));
        Assert.Equal(count, BinaryPrimitives.ReadUInt16LittleEndian(received.ToArray().AsSpan(10)));
        Assert.Equal(given, received.Skip(FrameOffload.Length));
        Assert.False(driver.Queues[0].TryGetUsed(out _, out _));
    }
}
