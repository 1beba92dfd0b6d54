using Doppel.Devices.Virtio;
using Doppel.Machine.State;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>What every virtio device promises, behind every transport and with every queue layout.</summary>
public sealed class VirtioSuite(ITestOutputHelper output)
{
    public static TheoryData<string, string, string> All => VirtioSubject.All;

    public static TheoryData<string, string, string> Slow
    {
        get
        {
            var rows = new TheoryData<string, string, string>();
            foreach (object[] row in All.Cast<object[]>().Where(row => VirtioKinds.Slow.Contains((string)row[0])))
                rows.Add((string)row[0], (string)row[1], (string)row[2]);
            return rows;
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public async Task It_works_for_long_enough_to_wrap_its_queues(string kind, string transport, string layout)
    {
        using VirtioSubject subject = VirtioSubject.Make(kind, transport, layout);
        Random random = Seeded();
        subject.Driver.Start();
        for (int i = 0; i < 100; i++)
            await VirtioKinds.WorkAsync(kind, subject, random);
        Assert.Null(subject.Device.Fault);
        Assert.True(subject.Access.TakeInterrupts() > 0);
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Features_that_were_not_offered_or_a_missing_version_are_refused(string kind, string transport, string layout)
    {
        using VirtioSubject subject = VirtioSubject.Make(kind, transport, layout);
        IVirtioAccess access = subject.Access;
        access.Status = 3;
        ulong offered = access.ReadFeatures();
        Assert.Equal(subject.Device.OfferedFeatures, offered);
        Assert.Equal(subject.Device.Type, access.DeviceType);
        access.WriteFeatures(offered | (1UL << 63));
        access.Status = 11;
        Assert.Equal(3, access.Status);
        access.WriteFeatures(offered & ~VirtioFeature.Version1);
        access.Status = 15;
        Assert.Equal(3, access.Status);
        access.WriteFeatures(VirtioFeature.Version1);
        access.Status = 11;
        Assert.Equal(11, access.Status);
        access.WriteFeatures(0);
        Assert.Equal(VirtioFeature.Version1, subject.Device.DriverFeatures);
    }

    [Theory]
    [MemberData(nameof(All))]
    public async Task A_reset_makes_it_new(string kind, string transport, string layout)
    {
        using VirtioSubject subject = VirtioSubject.Make(kind, transport, layout);
        byte[] fresh = DeviceState(subject.Device);
        for (int round = 0; round < 3; round++)
        {
            subject.Driver.Start();
            await VirtioKinds.WorkAsync(kind, subject, Seeded());
            if (round == 1)
                subject.Access.PowerOnReset();
            else
                subject.Access.Status = 0;
            Assert.Equal(0, subject.Access.Status);
            Assert.Equal(fresh, DeviceState(subject.Device));
            Assert.Equal(0, subject.Access.ConfigGeneration);
        }
    }

    [Theory]
    [MemberData(nameof(Slow))]
    public async Task A_reset_in_the_middle_of_work_ends_when_the_back_end_does(string kind, string transport, string layout)
    {
        using VirtioSubject subject = VirtioSubject.Make(kind, transport, layout);
        subject.Driver.Start();
        VirtioKinds.Close(kind, subject.Backend);
        Task work = VirtioKinds.WorkAsync(kind, subject, Seeded());
        Assert.Contains(subject.Device.Queues, queue => queue.TakenCount > 0);
        subject.Access.Status = 0;
        Assert.NotEqual(0, subject.Access.Status);
        subject.Access.Status = 15;
        VirtioKinds.Open(kind, subject.Backend);
        while (subject.Access.Status != 0)
            await Task.Delay(1);
        Assert.All(subject.Device.Queues, queue => Assert.Equal(0, queue.TakenCount));
        Assert.False(work.IsCompletedSuccessfully);
        subject.Driver.Start();
        await VirtioKinds.WorkAsync(kind, subject, Seeded());
    }

    [Theory]
    [MemberData(nameof(Slow))]
    public async Task One_queue_can_be_reset_and_used_again(string kind, string transport, string layout)
    {
        using VirtioSubject subject = VirtioSubject.Make(kind, transport, layout);
        VirtioDriver driver = subject.Driver;
        driver.Start();
        await VirtioKinds.WorkAsync(kind, subject, Seeded());
        VirtioKinds.Close(kind, subject.Backend);
        _ = VirtioKinds.WorkAsync(kind, subject, Seeded());
        int busy = subject.Device.Queues.First(queue => queue.TakenCount > 0).Index;
        subject.Access.ResetQueue(busy);
        Assert.True(subject.Access.IsQueueResetting(busy));
        driver.Abandon();
        VirtioKinds.Open(kind, subject.Backend);
        while (subject.Access.IsQueueResetting(busy))
            await Task.Delay(1);
        Assert.False(subject.Access.IsQueueEnabled(busy));
        driver.Queues[busy] = driver.MakeQueue(busy, 8);
        for (int i = 0; i < 10; i++)
            await VirtioKinds.WorkAsync(kind, subject, Seeded());
    }

    [Theory]
    [MemberData(nameof(All))]
    public async Task It_goes_on_after_a_restore(string kind, string transport, string layout)
    {
        using VirtioSubject subject = VirtioSubject.Make(kind, transport, layout);
        using VirtioSubject copy = VirtioSubject.Make(kind, transport, layout, subject.Backend);
        subject.Driver.Start();
        for (int i = 0; i < 7; i++)
            await VirtioKinds.WorkAsync(kind, subject, Seeded());
        await MoveAsync(subject, copy);
        // The driver lives in guest memory: it goes on with the copy's registers and memory.
        copy.Driver.Continue(subject.Driver);
        for (int i = 0; i < 20; i++)
            await VirtioKinds.WorkAsync(kind, copy, Seeded());
    }

    [Theory]
    [MemberData(nameof(Slow))]
    public async Task Work_in_the_middle_is_neither_lost_nor_done_twice_after_a_restore(string kind, string transport, string layout)
    {
        using VirtioSubject subject = VirtioSubject.Make(kind, transport, layout);
        using VirtioSubject copy = VirtioSubject.Make(kind, transport, layout, subject.Backend);
        subject.Driver.Start();
        await VirtioKinds.WorkAsync(kind, subject, Seeded());
        VirtioKinds.Close(kind, subject.Backend);
        _ = VirtioKinds.WorkAsync(kind, subject, Seeded());
        VirtioQueue busy = subject.Device.Queues.First(queue => queue.TakenCount > 0);
        Task held = subject.Device.HoldAsync();
        Assert.False(held.IsCompleted);
        VirtioKinds.Open(kind, subject.Backend);
        await held;
        Assert.Equal(1, busy.TakenCount);
        Assert.False(subject.Driver.Queues[busy.Index].TryGetUsed(out _, out _));
        await MoveAsync(subject, copy);
        copy.Driver.Continue(subject.Driver);
        _ = await copy.Driver.NextUsedAsync(busy.Index);
        Assert.False(copy.Driver.Queues[busy.Index].TryGetUsed(out _, out _));
        for (int i = 0; i < 5; i++)
            await VirtioKinds.WorkAsync(kind, copy, Seeded());
    }

    [Theory]
    [MemberData(nameof(Slow))]
    public async Task A_held_device_returns_what_was_done_when_it_goes_on(string kind, string transport, string layout)
    {
        using VirtioSubject subject = VirtioSubject.Make(kind, transport, layout);
        subject.Driver.Start();
        VirtioKinds.Close(kind, subject.Backend);
        Task work = VirtioKinds.WorkAsync(kind, subject, Seeded());
        Task held = subject.Device.HoldAsync();
        VirtioKinds.Open(kind, subject.Backend);
        await held;
        await Task.Delay(20);
        Assert.False(work.IsCompleted);
        subject.Device.Release();
        await work;
    }

    [Theory]
    [MemberData(nameof(All))]
    public void A_section_that_ends_early_is_refused_and_changes_nothing(string kind, string transport, string layout)
    {
        using VirtioSubject subject = VirtioSubject.Make(kind, transport, layout);
        subject.Driver.Start();
        byte[] saved = subject.Access.Save();
        using VirtioSubject other = VirtioSubject.Make(kind, transport, layout);
        byte[] before = other.Access.Save();
        for (int length = 0; length < saved.Length; length++)
            Assert.Throws<InvalidDataException>(() => other.Access.Restore(saved[..length]));
        Assert.Equal(before, other.Access.Save());
    }

    internal static byte[] DeviceState(VirtioDevice device)
    {
        var writer = new StateWriter();
        device.Save(writer);
        return writer.ToArray();
    }

    private static async Task MoveAsync(VirtioSubject from, VirtioSubject to)
    {
        await from.Device.HoldAsync();
        byte[] saved = from.Access.Save();
        byte[] memory = new byte[VirtioSubject.RamSize];
        Assert.True(from.Memory.TryRead(0, memory));
        Assert.True(to.Memory.TryWrite(0, memory));
        to.Access.Restore(saved);
        Assert.Equal(saved, to.Access.Save());
        to.Device.Release();
    }

    private Random Seeded()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        return new Random(seed);
    }
}
