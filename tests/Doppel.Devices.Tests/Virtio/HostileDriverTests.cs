using System.Buffers.Binary;
using Doppel.Devices.Virtio;
using Doppel.Machine.Memory;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>Drivers that break the rules: the device asks for a reset, touches only what it was given, and works again after the reset.</summary>
public sealed class HostileDriverTests(ITestOutputHelper output)
{
    private const ulong Beyond = VirtioSubject.RamSize;

    // Apart from the tables of descriptors, or what a device puts there would make descriptors that lead anywhere.
    private const ulong Data = VirtioDriver.BufferArea + 0x1000;

    public static TheoryData<string, string, string> All => VirtioSubject.All;

    public static TheoryData<string> Kinds => new(VirtioKinds.Names);

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Each_malformation_of_a_split_ring_asks_for_a_reset(string kind)
    {
        (string, Action<VirtioSubject, SplitDriverQueue>)[] cases =
        [
            ("head", (_, q) => q.Publish(q.Size)),
            ("index", (_, q) => q.SetAvailableIndex(q.Size + 1)),
            ("loop", (_, q) => Publish(q, (VirtioDriver.BufferArea, 16, 1, 0))),
            ("next", (_, q) => Publish(q, (VirtioDriver.BufferArea, 16, 1, 99))),
            ("beyond", (_, q) => Publish(q, (Beyond, 16, 0, 0))),
            ("across", (_, q) => Publish(q, (Beyond - 8, 16, 0, 0))),
            ("overflow", (_, q) => Publish(q, (ulong.MaxValue - 7, 16, 0, 0))),
            ("hole", (_, q) => Publish(q, (0xFEE0_0000, 16, 2, 0))),
            ("order", (_, q) =>
            {
                q.SetDescriptor(1, VirtioDriver.BufferArea, 16, 0, 0);
                Publish(q, (VirtioDriver.BufferArea, 16, 3, 1));
            }),
            ("table size", (_, q) => Publish(q, (VirtioDriver.BufferArea, 24, 4, 0))),
            ("no table", (_, q) => Publish(q, (VirtioDriver.BufferArea, 0, 4, 0))),
            ("table beyond", (_, q) => Publish(q, (Beyond - 16, 32, 4, 0))),
            ("table with next", (_, q) => Publish(q, (VirtioDriver.BufferArea, 16, 5, 0))),
            ("table in table", (s, q) =>
            {
                WriteDescriptor(s.Memory, VirtioDriver.BufferArea, VirtioDriver.BufferArea + 64, 16, 4, 0);
                Publish(q, (VirtioDriver.BufferArea, 16, 4, 0));
            }),
            ("loop in table", (s, q) =>
            {
                WriteDescriptor(s.Memory, VirtioDriver.BufferArea, VirtioDriver.BufferArea + 64, 16, 1, 0);
                Publish(q, (VirtioDriver.BufferArea, 16, 4, 0));
            }),
            ("sum", (_, q) =>
            {
                q.SetDescriptor(1, 0, uint.MaxValue, 0, 0);
                Publish(q, (0, uint.MaxValue, 1, 1));
            }),
        ];
        foreach ((string name, Action<VirtioSubject, SplitDriverQueue> harm) in cases)
        {
            output.WriteLine(name);
            using VirtioSubject subject = VirtioSubject.Make(kind, "msix", "split");
            subject.Driver.Start();
            foreach (DriverQueue queue in subject.Driver.Queues)
            {
                harm(subject, (SplitDriverQueue)queue);
                queue.Notify();
            }

            await ExpectRefusalAsync(kind, subject, name);
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Each_malformation_of_a_packed_ring_asks_for_a_reset(string kind)
    {
        (string, Action<VirtioSubject, PackedDriverQueue>)[] cases =
        [
            ("endless", (_, q) =>
            {
                for (int i = 0; i < q.Size; i++)
                    q.Put(VirtioDriver.BufferArea, 1, 0, 1);
            }),
            ("beyond", (_, q) => q.Put(Beyond, 16, 0, 0)),
            ("across", (_, q) => q.Put(Beyond - 8, 16, 0, 2)),
            ("overflow", (_, q) => q.Put(ulong.MaxValue - 7, 16, 0, 0)),
            ("order", (s, q) =>
            {
                WriteDescriptor(s.Memory, q.Descriptors + 16, VirtioDriver.BufferArea, 16, 0, 0x80);
                q.Put(VirtioDriver.BufferArea, 16, 0, 3);
            }),
            ("table size", (_, q) => q.Put(VirtioDriver.BufferArea, 24, 0, 4)),
            ("table beyond", (_, q) => q.Put(Beyond - 16, 32, 0, 4)),
            ("table with next", (_, q) => q.Put(VirtioDriver.BufferArea, 16, 0, 5)),
            ("table in table", (s, q) =>
            {
                WriteDescriptor(s.Memory, VirtioDriver.BufferArea, VirtioDriver.BufferArea + 64, 16, 0, 4);
                q.Put(VirtioDriver.BufferArea, 16, 0, 4);
            }),
        ];
        foreach ((string name, Action<VirtioSubject, PackedDriverQueue> harm) in cases)
        {
            output.WriteLine(name);
            using VirtioSubject subject = VirtioSubject.Make(kind, "msix", "packed");
            subject.Driver.Start();
            foreach (DriverQueue queue in subject.Driver.Queues)
            {
                harm(subject, (PackedDriverQueue)queue);
                queue.Notify();
            }

            await ExpectRefusalAsync(kind, subject, name);
        }
    }

    [Theory]
    [InlineData("split", 16, 0x10_0008UL, 0x11_0000UL, 0x12_0000UL)]
    [InlineData("split", 16, 0x10_0000UL, 0x11_0001UL, 0x12_0000UL)]
    [InlineData("split", 16, 0x10_0000UL, 0x11_0000UL, 0x12_0002UL)]
    [InlineData("split", 16, 0x7F_FF80UL, 0x11_0000UL, 0x12_0000UL)]
    [InlineData("split", 16, 0x10_0000UL, 0xFFFF_FFFF_FFFF_FFF0UL, 0x12_0000UL)]
    [InlineData("split", 12, 0x10_0000UL, 0x11_0000UL, 0x12_0000UL)]
    [InlineData("split", 0, 0x10_0000UL, 0x11_0000UL, 0x12_0000UL)]
    [InlineData("packed", 16, 0x10_0000UL, 0x11_0002UL, 0x12_0000UL)]
    [InlineData("packed", 16, 0x10_0000UL, 0x11_0000UL, 0x7F_FFFEUL)]
    [InlineData("packed", 0, 0x10_0000UL, 0x11_0000UL, 0x12_0000UL)]
    public void A_queue_in_an_impossible_place_asks_for_a_reset(string layout, int size, ulong descriptors, ulong driver, ulong device)
    {
        using VirtioSubject subject = VirtioSubject.Make("block", "mmio", layout);
        subject.Access.Status = 3;
        subject.Access.WriteFeatures(VirtioFeature.Version1 | (layout == "packed" ? VirtioFeature.PackedRing : 0));
        subject.Access.Status = 11;
        subject.Access.SetQueue(0, size, descriptors, driver, device);
        subject.Access.EnableQueue(0);
        subject.Access.Status = 15;
        Assert.Equal(15 | 64, subject.Access.Status);
        subject.Access.Notify(0);
        byte[] state = subject.Access.Save();
        using VirtioSubject copy = VirtioSubject.Make("block", "mmio", layout);
        copy.Access.Restore(state);
        Assert.Equal(state, copy.Access.Save());
    }

    [Fact]
    public void A_driver_that_fills_a_slow_queue_again_and_again_is_stopped()
    {
        var backend = new MemoryBlockBackend(1 << 20);
        using VirtioSubject subject = VirtioSubject.Make("block", "mmio", "split", backend);
        subject.Driver.Start();
        backend.Close();
        var queue = (SplitDriverQueue)subject.Driver.Queues[0];
        List<DriverBuffer> request = VirtioKinds.BlockRequest(subject.Driver, 4, 0, [], out _);
        int head = queue.Add(request);
        for (int i = 0; i < 100; i++)
        {
            queue.Notify();
            queue.Publish(head);
        }

        Assert.InRange(subject.Device.Queues[0].TakenCount, 1, queue.Size);
        Assert.NotNull(subject.Device.Fault);
        backend.Open();
    }

    [Theory]
    [MemberData(nameof(All))]
    public async Task Random_descriptors_and_registers_do_no_harm(string kind, string transport, string layout)
    {
        await HarmAsync(kind, transport, layout, 15_000);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    [Trait("Category", "Slow")]
    public async Task A_million_random_descriptors_do_no_harm(string kind)
    {
        await HarmAsync(kind, "msix", "split", 500_000);
        await HarmAsync(kind, "mmio", "packed", 500_000);
    }

    /// <summary>Gives a device so many random descriptors, and looks then at memory that it was not given.</summary>
    private async Task HarmAsync(string kind, string transport, string layout, long descriptors)
    {
        int seed = TestSeed.Take(output, $"{kind}, {transport}, {layout}");
        var random = new Random(seed);
        using VirtioSubject subject = VirtioSubject.Make(kind, transport, layout);
        byte[] guard = new byte[VirtioSubject.RamSize - 0x50_0000];
        random.NextBytes(guard);
        Assert.True(subject.Memory.TryWrite(VirtioDriver.BufferEnd, guard));
        byte[] low = new byte[VirtioDriver.QueueArea];
        random.NextBytes(low);
        Assert.True(subject.Memory.TryWrite(0, low));
        while (descriptors > 0)
        {
            subject.Access.PowerOnReset();
            SpinWait.SpinUntil(() => subject.Access.Status == 0);
            subject.Driver.Start();
            // A device that wants a reset looks at nothing more.
            for (int i = 0; i < 20 && (subject.Access.Status & 64) == 0; i++)
            {
                DriverQueue queue = subject.Driver.Queues[random.Next(subject.Driver.Queues.Length)];
                descriptors -= Harm(kind, subject, queue, random);
                if (random.Next(3) == 0)
                    subject.Access.Poke(random);
                queue.Notify();
            }
        }

        subject.Access.PowerOnReset();
        SpinWait.SpinUntil(() => subject.Access.Status == 0);
        subject.Driver.Start();
        await VirtioKinds.WorkAsync(kind, subject, random);
        if (!VirtioKinds.TouchesBuffersOnly(kind))
            return;
        Assert.Equal(guard, subject.Driver.Bytes(VirtioDriver.BufferEnd, guard.Length));
        Assert.Equal(low, subject.Driver.Bytes(0, low.Length));
    }

    private static int Harm(string kind, VirtioSubject subject, DriverQueue queue, Random random)
    {
        GuestMemory memory = subject.Memory;
        byte[] descriptor = new byte[16];
        int count = 0;
        // Fill a stretch of the ring, and of a table that some of them lead to, with descriptors that are nearly right.
        for (int i = 0; i < queue.Size; i++)
        {
            if (random.Next(2) == 0)
                continue;
            count += 2;
            Describe(descriptor, random, queue.Size, isPacked: queue is PackedDriverQueue);
            Assert.True(memory.TryWrite(queue.Descriptors + ((ulong)i * 16), descriptor));
            Describe(descriptor, random, queue.Size, isPacked: queue is PackedDriverQueue);
            Assert.True(memory.TryWrite(VirtioDriver.BufferArea + ((ulong)i * 16), descriptor));
        }

        // A header that the device takes for a request.
        Assert.True(memory.TryWrite(Data + (ulong)random.Next(0x1000), VirtioKinds.Header(kind, random)));
        if (queue is SplitDriverQueue split)
        {
            for (int i = random.Next(4); i > 0; i--)
                split.Publish(random.Next(10) == 0 ? random.Next(65536) : random.Next(queue.Size));
            if (random.Next(40) == 0)
                split.SetAvailableIndex(random.Next(65536));
        }

        return count;
    }

    private static void Describe(byte[] descriptor, Random random, int size, bool isPacked)
    {
        int flags = random.Next(4) | (random.Next(5) == 0 ? 4 : 0);
        ulong inside = (flags & 4) == 0 ? Data + (ulong)random.Next(0x1000) : VirtioDriver.BufferArea + (16 * (ulong)random.Next(size));
        (ulong address, uint length) = random.Next(24) switch
        {
            0 => (Beyond - (ulong)random.Next(64), (uint)random.Next(64, 4096)),
            1 => ((ulong)random.NextInt64(), (uint)random.Next()),
            2 => (ulong.MaxValue - (ulong)random.Next(64), (uint)random.Next(64, 4096)),
            3 => (0xFEE0_0000UL + (ulong)random.Next(4096), (uint)random.Next(1, 4096)),
            4 => (inside, 0u),
            5 => (inside, 1u),
            _ => (inside, random.Next(2) == 0 ? 16u * (uint)random.Next(1, 64) : 512u * (uint)random.Next(1, 16)),
        };
        // A random address may be RAM by chance, where the driver did give it to the device; the test needs to know.
        if (address < VirtioDriver.BufferArea || (address >= VirtioDriver.BufferEnd && address < Beyond && length <= Beyond - address))
            address = Beyond;
        BinaryPrimitives.WriteUInt64LittleEndian(descriptor, address);
        BinaryPrimitives.WriteUInt32LittleEndian(descriptor.AsSpan(8), length);
        ushort next = (ushort)(random.Next(20) == 0 ? random.Next(65536) : random.Next(size));
        if (isPacked)
            flags |= random.Next(4) << 7 == 0 ? 0x80 : random.Next(2) == 0 ? 0x80 : 0x8000;
        BinaryPrimitives.WriteUInt16LittleEndian(descriptor.AsSpan(12), (ushort)(isPacked ? next : flags));
        BinaryPrimitives.WriteUInt16LittleEndian(descriptor.AsSpan(14), (ushort)(isPacked ? flags : next));
    }

    private static void Publish(SplitDriverQueue queue, (ulong Address, uint Length, int Flags, int Next) first)
    {
        queue.SetDescriptor(0, first.Address, first.Length, first.Flags, first.Next);
        queue.Publish(0);
    }

    private static void WriteDescriptor(GuestMemory memory, ulong at, ulong address, uint length, int third, int fourth)
    {
        byte[] descriptor = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(descriptor, address);
        BinaryPrimitives.WriteUInt32LittleEndian(descriptor.AsSpan(8), length);
        BinaryPrimitives.WriteUInt16LittleEndian(descriptor.AsSpan(12), (ushort)third);
        BinaryPrimitives.WriteUInt16LittleEndian(descriptor.AsSpan(14), (ushort)fourth);
        Assert.True(memory.TryWrite(at, descriptor));
    }

    private static async Task ExpectRefusalAsync(string kind, VirtioSubject subject, string name)
    {
        Assert.True((subject.Access.Status & 64) != 0, name);
        Assert.NotNull(subject.Device.Fault);
        Assert.True(subject.Access.TakeInterrupts() > 0, "the driver is told");
        foreach (DriverQueue queue in subject.Driver.Queues)
            Assert.False(queue.TryGetUsed(out _, out _));
        subject.Driver.Start();
        await VirtioKinds.WorkAsync(kind, subject, new Random(1));
    }
}
