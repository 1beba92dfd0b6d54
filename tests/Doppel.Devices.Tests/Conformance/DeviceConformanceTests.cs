using Doppel.Machine.State;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Conformance;

/// <summary>What every device promises, whatever it is.</summary>
public sealed class DeviceConformanceTests(ITestOutputHelper output)
{
    private static readonly int[] Sizes = [1, 2, 4, 8];

    public static TheoryData<string> Devices => DeviceCatalog.Names;

    [Theory]
    [MemberData(nameof(Devices))]
    public void Any_access_of_any_size_at_any_offset_is_answered(string name)
    {
        DeviceUnderTest test = DeviceCatalog.Make(name);
        foreach (IoRange range in test.Regions)
        {
            foreach (ulong offset in Offsets(range.Length))
            {
                foreach (int size in Sizes)
                {
                    ulong mask = size == 8 ? ulong.MaxValue : (1UL << (8 * size)) - 1;
                    foreach (ulong value in (ReadOnlySpan<ulong>)[0, ulong.MaxValue, 0x5A5A_5A5A_5A5A_5A5A, 0x80])
                    {
                        range.Region.Write(offset, size, value & mask);
                        test.Clock.Advance(1_000);
                        ulong read = range.Region.Read(offset, size);
                        Assert.True((read & ~mask) == 0, $"{range.Region.Name}+0x{offset:x} read 0x{read:x} in {size} bytes");
                    }
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void A_reset_after_any_work_equals_the_next_reset(string name)
    {
        DeviceUnderTest test = DeviceCatalog.Make(name);
        int seed = Seed();
        Work(test, new Random(seed), 400);
        test.Device.Reset();
        byte[] first = Save(test.Device);
        test.Device.Reset();
        Assert.Equal(first, Save(test.Device));
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void A_device_restored_in_the_middle_of_work_goes_on_like_the_one_that_was_saved(string name)
    {
        for (int round = 0; round < 20; round++)
        {
            int seed = Seed();
            DeviceUnderTest original = DeviceCatalog.Make(name);
            Work(original, new Random(seed), 50 + (round * 20));
            byte[] saved = Save(original.Device);
            DeviceUnderTest copy = DeviceCatalog.Make(name);
            copy.Clock.Advance(original.Clock.Now);
            var reader = new StateReader(saved);
            copy.Device.Restore(reader, copy.Device.SectionVersion);
            Assert.True(reader.IsAtEnd, "the section was not read to its end");
            Assert.Equal(saved, Save(copy.Device));
            Assert.Equal(original.Lines.Select(l => l.Level), copy.Lines.Select(l => l.Level));
            List<ulong> expected = Work(original, new Random(seed + 1), 200);
            List<ulong> actual = Work(copy, new Random(seed + 1), 200);
            Assert.Equal(expected, actual);
            Assert.Equal(Save(original.Device), Save(copy.Device));
        }
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void A_truncated_section_or_an_unknown_version_is_refused_and_changes_nothing(string name)
    {
        int seed = Seed();
        DeviceUnderTest other = DeviceCatalog.Make(name);
        Work(other, new Random(seed), 300);
        byte[] saved = Save(other.Device);
        DeviceUnderTest test = DeviceCatalog.Make(name);
        byte[] before = Save(test.Device);
        Assert.Throws<InvalidDataException>(() => test.Device.Restore(new StateReader(saved), test.Device.SectionVersion + 1));
        Assert.Throws<InvalidDataException>(() => test.Device.Restore(new StateReader(saved), 0));
        for (int length = 0; length < saved.Length; length += 1 + (saved.Length / 64))
            Assert.Throws<InvalidDataException>(() => test.Device.Restore(new StateReader(saved.AsMemory(0, length)), test.Device.SectionVersion));
        Assert.Equal(before, Save(test.Device));
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void A_damaged_section_is_refused_or_leaves_a_device_that_still_works(string name)
    {
        int seed = Seed();
        var random = new Random(seed);
        for (int round = 0; round < 60; round++)
        {
            DeviceUnderTest test = DeviceCatalog.Make(name);
            byte[] saved = Save(test.Device);
            for (int i = 0; saved.Length > 0 && i < 4; i++)
                saved[random.Next(Math.Min(saved.Length, 400))] = (byte)random.Next(256);
            try
            {
                test.Device.Restore(new StateReader(saved), test.Device.SectionVersion);
            }
            catch (InvalidDataException)
            {
                continue;
            }

            Work(test, random, 100);
        }
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Random_accesses_do_no_harm(string name) => Harm(name, 50_000);

    [Theory]
    [MemberData(nameof(Devices))]
    [Trait("Category", "Slow")]
    public void A_million_random_accesses_do_no_harm(string name) => Harm(name, 1_000_000);

    private void Harm(string name, int accesses)
    {
        DeviceUnderTest test = DeviceCatalog.Make(name);
        var random = new Random(Seed());
        for (int i = 0; i < accesses; i += 10_000)
        {
            _ = Work(test, random, 10_000);
            // What it saves in any state it takes back.
            test.Device.Restore(new StateReader(Save(test.Device)), test.Device.SectionVersion);
        }

        test.Device.Reset();
        byte[] first = Save(test.Device);
        test.Device.Reset();
        Assert.Equal(first, Save(test.Device));
    }

    [Fact]
    public void Section_names_are_unique()
    {
        string[] names = [.. DeviceCatalog.Names.Cast<object[]>().Select(row => (string)row[0]).Where(n => n is not ("i8042-keyboard" or "fw-cfg-dma" or "pci-host-440fx")).Select(n => DeviceCatalog.Make(n).Device.SectionName)];
        Assert.Equal(names.Length, names.Distinct().Count());
    }

    private static byte[] Save(IDevice device)
    {
        var writer = new StateWriter();
        device.Save(writer);
        return writer.ToArray();
    }

    private static IEnumerable<ulong> Offsets(ulong length)
    {
        if (length <= 64)
            return Enumerable.Range(0, (int)length + 2).Select(i => (ulong)i);
        return Enumerable.Range(0, 260).Select(i => (ulong)i).Concat([length - 9, length - 8, length - 4, length - 2, length - 1, length, length * 2]);
    }

    private static List<ulong> Work(DeviceUnderTest test, Random random, int steps)
    {
        List<ulong> seen = [];
        IoRange[] ranges = [.. test.Regions];
        for (int i = 0; i < steps; i++)
        {
            int what = random.Next(10);
            int number = random.Next(1 << 16);
            IoRange range = ranges[number % ranges.Length];
            ulong offset = (ulong)random.NextInt64((long)Math.Min(range.Length, 300));
            int size = random.Next(8) == 0 ? Sizes[random.Next(4)] : 1;
            if (what < 4)
                range.Region.Write(offset, size, (ulong)random.NextInt64() & (ulong.MaxValue >> (64 - (8 * size))));
            else if (what < 7)
                seen.Add(range.Region.Read(offset, size));
            else if (what < 8)
                test.Clock.Advance(random.NextInt64(3_000_000));
            else
                test.Stimulate?.Invoke(number);
            foreach (FakeLine line in test.Lines)
                seen.Add(line.Level ? 1u : 0u);
        }

        return seen;
    }

    private int Seed()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        return seed;
    }
}
