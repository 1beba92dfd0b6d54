using System.Buffers.Binary;
using Doppel.Devices.Virtio;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>What the balloon asks for, takes and is told.</summary>
public sealed class VirtioBalloonTests : IDisposable
{
    private readonly VirtioSubject _subject = VirtioSubject.Make("balloon", "msix", "packed");

    private VirtioBalloon Balloon => (VirtioBalloon)_subject.Device;

    private VirtioDriver Driver => _subject.Driver;

    public void Dispose() => _subject.Dispose();

    [Fact]
    public void The_guest_is_told_of_a_target_and_tells_what_it_has_given()
    {
        Driver.Start();
        Balloon.Target = 1 << 20;
        Assert.Equal(1, _subject.Access.TakeInterrupts());
        Assert.Equal(256u, _subject.Access.ReadConfig(0, 4));
        Balloon.Target = (1 << 20) + 5;
        Assert.Equal(0, _subject.Access.TakeInterrupts());
        _subject.Access.WriteConfig(4, 4, 100);
        Assert.Equal(100UL * 4096, Balloon.Actual);
        _subject.Access.WriteConfig(0, 4, 7);
        Assert.Equal(1UL << 20, Balloon.Target);
        _subject.Access.Status = 0;
        Assert.Equal(0UL, Balloon.Actual);
        Assert.Equal(1UL << 20, Balloon.Target);
    }

    [Fact]
    public async Task Pages_in_any_order_are_freed_and_those_that_are_no_ram_are_not()
    {
        Driver.Start();
        uint[] pages = [0x600, 0x601, 0x605, 0x604, 0x603, 0xFEE00, uint.MaxValue, 0x7FF, 0x800, 0x620];
        foreach (uint page in pages.Where(p => p < 0x800))
            Assert.True(_subject.Memory.TryWrite((page * 4096) + 7, [1]));
        Assert.True(_subject.Memory.TryWrite(0x602 * 4096, [1]));
        byte[] numbers = new byte[pages.Length * 4];
        Buffer.BlockCopy(pages, 0, numbers, 0, numbers.Length);
        _ = await Driver.DoAsync(0, [new DriverBuffer(Driver.Allocate(numbers), (uint)numbers.Length)]);
        foreach (uint page in pages.Where(p => p < 0x7FF))
            Assert.Equal([0], Driver.Bytes((page * 4096) + 7, 1));
        Assert.Equal([1], Driver.Bytes(0x602 * 4096, 1));
        Assert.Null(Balloon.Fault);
    }

    [Fact]
    public async Task Reported_pages_are_freed_whole()
    {
        Driver.Start();
        Assert.True(_subject.Memory.TryWrite(0x60_0000, [.. Enumerable.Repeat((byte)3, 0x4000)]));
        _ = await Driver.DoAsync(3, [new DriverBuffer(0x60_0100, 0x2000, IsWritable: true)]);
        Assert.Equal(0x1000UL, Balloon.FreedBytes);
        Assert.Equal([3, 0], [Driver.Bytes(0x60_0FFF, 1)[0], Driver.Bytes(0x60_1000, 1)[0]]);
        Assert.Equal([0, 3], [Driver.Bytes(0x60_1FFF, 1)[0], Driver.Bytes(0x60_2000, 1)[0]]);
        _ = await Driver.DoAsync(3, [new DriverBuffer(0x60_0000, 0x4000, IsWritable: true)]);
        Assert.All(Driver.Bytes(0x60_0000, 0x4000), b => Assert.Equal(0, b));
    }

    [Fact]
    public async Task Statistics_come_when_they_are_asked_for()
    {
        var received = new List<BalloonStatistics>();
        Balloon.StatisticsReceived += received.Add;
        Driver.Start();
        ulong buffer = Driver.Allocate(100);
        Fill(buffer, (4, 1000), (5, 2000));
        _ = Driver.Queues[2].Add([new DriverBuffer(buffer, 20)]);
        Driver.Queues[2].Kick();
        Assert.Equal(new BalloonStatistics { Free = 1000, Total = 2000 }, Balloon.Statistics);
        Assert.False(Driver.Queues[2].TryGetUsed(out _, out _));

        // Neither a pause nor a reset waits for the buffer that is kept.
        await Balloon.HoldAsync();
        Balloon.Release();
        Balloon.RequestStatistics();
        _ = await Driver.NextUsedAsync(2);
        Fill(buffer, (4, 500), (6, 700), (99, 1));
        _ = Driver.Queues[2].Add([new DriverBuffer(buffer, 30)]);
        Driver.Queues[2].Kick();
        Assert.Equal(new BalloonStatistics { Free = 500, Available = 700 }, received[^1]);
        _subject.Access.Status = 0;
        Assert.Equal(0, _subject.Access.Status);
        Assert.Null(Balloon.Statistics);
    }

    [Fact]
    public void Without_statistics_the_queue_for_reports_moves_up()
    {
        var driver = new VirtioDriver(_subject.Access, _subject.Memory, ~2UL);
        driver.Start();
        Assert.True(_subject.Memory.TryWrite(0x60_0000, [1]));
        _ = driver.Queues[2].Add([new DriverBuffer(0x60_0000, 0x1000, IsWritable: true)]);
        driver.Queues[2].Kick();
        Assert.Equal([0], driver.Bytes(0x60_0000, 1));
    }

    private void Fill(ulong address, params (ushort Tag, ulong Value)[] entries)
    {
        byte[] bytes = new byte[entries.Length * 10];
        for (int i = 0; i < entries.Length; i++)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(i * 10), entries[i].Tag);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan((i * 10) + 2), entries[i].Value);
        }

        Assert.True(_subject.Memory.TryWrite(address, bytes));
    }
}
