using System.Diagnostics;
using Doppel.Devices.Virtio;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>A driver: brings a device up as virtio 1.2, 3.1.1 says, and has memory to give to it.</summary>
public sealed class VirtioDriver
{
    /// <summary>Where the queues lie.</summary>
    public const ulong QueueArea = 0x10_0000;

    /// <summary>Where buffers lie.</summary>
    public const ulong BufferArea = 0x40_0000;

    /// <summary>End of the buffers.</summary>
    public const ulong BufferEnd = 0x50_0000;

    private const ulong QueueStride = 0x1_0000;
    private const ulong TableArea = 0x30_0000;
    private readonly ulong _wanted;
    private ulong _next = BufferArea;
    private int _abandoned;
    private int _waiting;

    public VirtioDriver(IVirtioAccess access, GuestMemory memory, ulong wanted)
    {
        Access = access;
        Memory = memory;
        _wanted = wanted;
    }

    public IVirtioAccess Access { get; }

    public GuestMemory Memory { get; }

    public DriverQueue[] Queues { get; private set; } = [];

    public ulong Features { get; private set; }

    /// <summary>Resets the device and brings it up to DRIVER_OK.</summary>
    public void Start(int queueSize = 16)
    {
        Abandon();
        Access.Status = 0;
        Assert.Equal(0, Access.Status);
        Access.Status = 1;
        Access.Status = 3;
        Features = Access.ReadFeatures() & _wanted;
        Access.WriteFeatures(Features);
        Access.Status = 11;
        Assert.Equal(11, Access.Status);
        var queues = new List<DriverQueue>();
        for (int i = 0; Access.QueueMaximum(i) != 0; i++)
            queues.Add(MakeQueue(i, Math.Min(queueSize, Access.QueueMaximum(i))));
        Queues = [.. queues];
        Access.Status = 15;
        Assert.Equal(15, Access.Status);
        _ = Access.TakeInterrupts();
    }

    /// <summary>Makes a queue in fresh memory and enables it.</summary>
    public DriverQueue MakeQueue(int index, int size)
    {
        ulong area = QueueArea + ((ulong)index * QueueStride);
        Assert.True(Memory.TryWrite(area, new byte[QueueStride]));
        DriverQueue queue = Adopt(index, size);
        Access.SetQueue(index, size, queue.Descriptors, queue.DriverArea, queue.DeviceArea);
        Access.EnableQueue(index);
        Assert.True(Access.IsQueueEnabled(index));
        return queue;
    }

    /// <summary>A region of buffer memory.</summary>
    public ulong Allocate(int length)
    {
        if (_next + (ulong)length > BufferEnd)
            _next = BufferArea;
        ulong address = _next;
        _next += ((ulong)length + 15) & ~15UL;
        return address;
    }

    public ulong Allocate(byte[] content)
    {
        ulong address = Allocate(content.Length);
        Assert.True(Memory.TryWrite(address, content));
        return address;
    }

    public byte[] Bytes(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(Memory.TryRead(address, bytes));
        return bytes;
    }

    /// <summary>Waits for a used chain of a queue; a back end completes on its own threads.</summary>
    public async Task<(int Id, uint Written)> NextUsedAsync(int queue)
    {
        int abandoned = Volatile.Read(ref _abandoned);
        long begin = Stopwatch.GetTimestamp();
        DriverQueue ring = Queues[queue];
        _ = Interlocked.Increment(ref _waiting);
        try
        {
            for (int looks = 0; ; looks++)
            {
                if (Volatile.Read(ref _abandoned) != abandoned)
                    throw new OperationCanceledException("the driver does not wait any more");
                if (ring.TryGetUsed(out int id, out uint written))
                    return (id, written);
                if (Stopwatch.GetElapsedTime(begin) > TimeSpan.FromMinutes(1))
                    throw new TimeoutException($"queue {queue} has returned nothing for a minute");
                // Most answers come sooner than the shortest delay.
                if (looks < 200)
                    await Task.Yield();
                else
                    await Task.Delay(1);
            }
        }
        finally
        {
            _ = Interlocked.Decrement(ref _waiting);
        }
    }

    /// <summary>Ends all waiting: what the device was asked for is not wanted any more.</summary>
    public void Abandon()
    {
        _ = Interlocked.Increment(ref _abandoned);
        SpinWait.SpinUntil(() => Volatile.Read(ref _waiting) == 0);
    }

    /// <summary>Takes over a driver whose machine has been moved to this one's access and memory.</summary>
    public void Continue(VirtioDriver moved)
    {
        moved.Abandon();
        Queues = [.. moved.Queues.Select(queue => queue.MoveTo(Access, Memory))];
        Features = moved.Features;
        _next = moved._next;
    }

    /// <summary>Adds a chain, tells the device and waits for it.</summary>
    public async Task<uint> DoAsync(int queue, IReadOnlyList<DriverBuffer> buffers, bool isIndirect = false)
    {
        int id = Queues[queue].Add(buffers, isIndirect && (Features & VirtioFeature.IndirectDescriptors) != 0);
        Queues[queue].Kick();
        (int used, uint written) = await NextUsedAsync(queue);
        Assert.Equal(id, used);
        return written;
    }

    private DriverQueue Adopt(int index, int size)
    {
        ulong area = QueueArea + ((ulong)index * QueueStride), tables = TableArea + ((ulong)index * QueueStride);
        bool usesEventIndex = (Features & VirtioFeature.EventIndex) != 0;
        return (Features & VirtioFeature.PackedRing) != 0
            ? new PackedDriverQueue(Access, Memory, index, size, area, tables, usesEventIndex)
            : new SplitDriverQueue(Access, Memory, index, size, area, tables, usesEventIndex);
    }
}
