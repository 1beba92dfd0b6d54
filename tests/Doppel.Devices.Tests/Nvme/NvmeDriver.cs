using System.Buffers.Binary;
using System.Diagnostics;
using Doppel.Devices.Nvme;
using Doppel.Devices.Pci;
using Doppel.Devices.Storage;
using Doppel.Devices.Tests.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Nvme;

/// <summary>A driver's side of an NVMe controller: brings it up, makes a pair of I/O queues, and submits commands.</summary>
public sealed class NvmeDriver : IDisposable
{
    public const ulong RamSize = 8 << 20;
    public const int QueueSize = 8;
    public const ulong QueueArea = 0x10_0000;
    public const ulong BufferArea = 0x40_0000;
    public const ulong BufferEnd = 0x50_0000;

    private const ulong Bar0 = 0xD000_0000, Bar4 = 0xD010_0000;
    private readonly IoBus _bus;
    private readonly Side[] _sides = [new(QueueArea), new(QueueArea + 0x4000)];
    private ulong _next = BufferArea;
    private ushort _commandId;

    public NvmeDriver(IReadOnlyList<IBlockBackend> disks, bool useMsix = true, Action<StorageFullException>? full = null, bool isDeterministic = false)
    {
        Memory = new GuestMemory(RamSize);
        _bus = new IoBus("mmio", 1UL << 40, Gate);
        var pci = new PciBus(_ => Line);
        var platform = new DevicePlatform(Memory, Gate, e =>
        {
            lock (Failures)
                Failures.Add(e);
        })
        {
            IsDeterministic = isDeterministic,
        };
        Controller = new NvmeController(
            "nvme0", [.. disks.Select((disk, i) => new NvmeNamespace(disk, NvmeController.MakeIdentifier($"disk {i}")))], platform, _bus, new IoBus("port", 65536, Gate), Messages, 2, "doppel-serial", full);
        pci.Add(new PciAddress(0, 4, 0), Controller);
        Place(useMsix);
    }

    public Lock Gate { get; } = new();

    public GuestMemory Memory { get; }

    public FakeLine Line { get; } = new();

    public MessageRecorder Messages { get; } = new();

    public List<Exception> Failures { get; } = [];

    public NvmeController Controller { get; }

    public uint Status => Read(0x1C);

    public uint Read(int register) => (uint)_bus.Read(Bar0 + (uint)register, 4);

    public void Write(int register, uint value) => _bus.Write(Bar0 + (uint)register, 4, value);

    public void Write64(int register, ulong value) => _bus.Write(Bar0 + (uint)register, 8, value);

    public void Dispose()
    {
        Controller.Dispose();
        Memory.Dispose();
        Assert.Empty(Failures);
    }

    public void Place(bool useMsix = true)
    {
        Controller.WriteConfig(0x10, 4, (uint)Bar0);
        Controller.WriteConfig(0x20, 4, (uint)Bar4);
        Controller.WriteConfig(PciConfigSpace.Command, 2, 6);
        if (!useMsix)
            return;
        Controller.WriteConfig(0x42, 2, 0x8000);
        for (ulong vector = 0; vector < 3; vector++)
        {
            _bus.Write(Bar4 + (16 * vector), 8, 0xFEE0_0000);
            _bus.Write(Bar4 + (16 * vector) + 8, 8, 0x40 + vector);
        }
    }

    /// <summary>Resets and enables the controller.</summary>
    public void Start()
    {
        Write(0x14, 0);
        Assert.True(SpinWait.SpinUntil(() => (Status & 1) == 0, TimeSpan.FromSeconds(30)));
        Assert.True(Memory.TryWrite(QueueArea, new byte[0x8000]));
        foreach (Side side in _sides)
            side.Reset();
        Write(0x24, (QueueSize - 1) | ((QueueSize - 1) << 16));
        Write64(0x28, _sides[0].Submission);
        Write64(0x30, _sides[0].Completion);
        Write(0x14, 0x0046_0001);
        Assert.Equal(1u, Status & 3);
    }

    /// <summary>Starts it and makes I/O queue pair 1.</summary>
    public async Task StartWithQueuesAsync()
    {
        Start();
        Assert.Equal(0, (await AdminAsync(5, 0, _sides[1].Completion, 1 | ((QueueSize - 1) << 16), 3 | (1 << 16))).Status);
        Assert.Equal(0, (await AdminAsync(1, 0, _sides[1].Submission, 1 | ((QueueSize - 1) << 16), 1 | (1 << 16))).Status);
    }

    public Task<(int Status, uint Result)> AdminAsync(byte opcode, uint space, ulong prp1, uint word10 = 0, uint word11 = 0, uint word12 = 0, ulong prp2 = 0) =>
        DoAsync(0, Command(opcode, space, prp1, prp2, word10, word11, word12));

    /// <summary>Submits a command and waits for its completion.</summary>
    public async Task<(int Status, uint Result)> DoAsync(int queue, byte[] command)
    {
        ushort id = Submit(queue, command);
        (ushort completed, int status, uint result) = await NextAsync(queue);
        Assert.Equal(id, completed);
        return (status, result);
    }

    public Task<(int Status, uint Result)> ReadAsync(ulong block, int blocks, ulong prp1, ulong prp2 = 0) =>
        DoAsync(1, Command(2, 1, prp1, prp2, (uint)block, (uint)(block >> 32), (uint)blocks - 1));

    public Task<(int Status, uint Result)> WriteAsync(ulong block, int blocks, ulong prp1, ulong prp2 = 0, uint flags = 0) =>
        DoAsync(1, Command(1, 1, prp1, prp2, (uint)block, (uint)(block >> 32), ((uint)blocks - 1) | flags));

    public static byte[] Command(byte opcode, uint space, ulong prp1, ulong prp2 = 0, uint word10 = 0, uint word11 = 0, uint word12 = 0, int kind = 0)
    {
        byte[] command = new byte[64];
        command[0] = opcode;
        command[1] = (byte)(kind << 6);
        BinaryPrimitives.WriteUInt32LittleEndian(command.AsSpan(4), space);
        BinaryPrimitives.WriteUInt64LittleEndian(command.AsSpan(24), prp1);
        BinaryPrimitives.WriteUInt64LittleEndian(command.AsSpan(32), prp2);
        BinaryPrimitives.WriteUInt32LittleEndian(command.AsSpan(40), word10);
        BinaryPrimitives.WriteUInt32LittleEndian(command.AsSpan(44), word11);
        BinaryPrimitives.WriteUInt32LittleEndian(command.AsSpan(48), word12);
        return command;
    }

    /// <summary>Submits a command.</summary>
    /// <returns>Its identifier.</returns>
    public ushort Submit(int queue, byte[] command)
    {
        Side side = _sides[queue];
        BinaryPrimitives.WriteUInt16LittleEndian(command.AsSpan(2), ++_commandId);
        Assert.True(Memory.TryWrite(side.Submission + ((ulong)side.Tail * 64), command));
        side.Tail = (side.Tail + 1) % QueueSize;
        Write(0x1000 + (8 * queue), (uint)side.Tail);
        return _commandId;
    }

    public async Task<(ushort Id, int Status, uint Result)> NextAsync(int queue)
    {
        long begin = Stopwatch.GetTimestamp();
        while (true)
        {
            if (TryNext(queue) is { } next)
                return next;
            if (Stopwatch.GetElapsedTime(begin) > TimeSpan.FromMinutes(1))
                throw new TimeoutException($"queue {queue} has completed nothing for a minute");
            await Task.Delay(1);
        }
    }

    public (ushort Id, int Status, uint Result)? TryNext(int queue, bool acknowledge = true)
    {
        Side side = _sides[queue];
        byte[] entry = Bytes(side.Completion + ((ulong)side.Head * 16), 16);
        int status = BinaryPrimitives.ReadUInt16LittleEndian(entry.AsSpan(14));
        if ((status & 1) != side.Phase)
            return null;
        if (++side.Head == QueueSize)
        {
            side.Head = 0;
            side.Phase ^= 1;
        }

        if (acknowledge)
            Acknowledge(queue);
        return (BinaryPrimitives.ReadUInt16LittleEndian(entry.AsSpan(12)), (status >> 1) & 0x7FF, BinaryPrimitives.ReadUInt32LittleEndian(entry));
    }

    public void Acknowledge(int queue) => Write(0x1004 + (8 * queue), (uint)_sides[queue].Head);

    public ulong Allocate(int length, int alignment = 4096)
    {
        _next = (_next + (ulong)alignment - 1) & ~((ulong)alignment - 1);
        if (_next + (ulong)length > BufferEnd)
            _next = BufferArea;
        ulong address = _next;
        _next += (ulong)length;
        return address;
    }

    public ulong Allocate(byte[] content, int alignment = 4096)
    {
        ulong address = Allocate(content.Length, alignment);
        Assert.True(Memory.TryWrite(address, content));
        return address;
    }

    public byte[] Bytes(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(Memory.TryRead(address, bytes));
        return bytes;
    }

    public byte[] Save()
    {
        var writer = new StateWriter();
        lock (Gate)
            Controller.Save(writer);
        return writer.ToArray();
    }

    /// <summary>Becomes the driver of a machine that has been moved here.</summary>
    public async Task MoveFromAsync(NvmeDriver other)
    {
        await other.Controller.HoldAsync();
        byte[] state = other.Save();
        Assert.True(Memory.TryWrite(0, other.Bytes(0, (int)RamSize)));
        lock (Gate)
            Controller.Restore(new StateReader(state), 1);
        Assert.Equal(state, Save());
        for (int i = 0; i < _sides.Length; i++)
            _sides[i].CopyFrom(other._sides[i]);
        (_next, _commandId) = (other._next, other._commandId);
        Controller.Release();
    }

    private sealed class Side(ulong area)
    {
        internal ulong Submission => area;

        internal ulong Completion => area + 0x2000;

        internal int Tail { get; set; }

        internal int Head { get; set; }

        internal int Phase { get; set; } = 1;

        internal void Reset() => (Tail, Head, Phase) = (0, 0, 1);

        internal void CopyFrom(Side other) => (Tail, Head, Phase) = (other.Tail, other.Head, other.Phase);
    }
}
