using System.Text;
using Doppel.Vmm.Snapshots;
using Doppel.Vmm.Tests.Execution;
using Xunit.Abstractions;

namespace Doppel.Vmm.Tests.Snapshots;

/// <summary>Snapshots of a machine that stands still at an exact instruction: what they hold, and what is refused.</summary>
public sealed class SnapshotTests(ITestOutputHelper output) : IDisposable
{
    private static readonly MachineSpec Spec = new() { Kernel = "ticking", Memory = 16 << 20, TestDevices = true, Engine = EngineNames.Interpreter };
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-s-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static string Other(string engine) => EngineNames.All.First(name => name != engine);

    [Fact]
    public void A_machine_restored_at_any_instruction_under_either_engine_is_the_one_that_was_never_saved()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var whole = new SteppedMachine(Spec, TickingGuest.Create());
        whole.RunTo(ulong.MaxValue);
        Assert.Equal(VmExitKind.PowerOff, whole.Pc.EndReason?.Kind);
        string[] end = whole.State();
        for (int i = 0; i < 8; i++)
        {
            ulong at = (ulong)random.NextInt64(1, (long)whole.Retired - 1000), later = (ulong)random.NextInt64((long)at, (long)whole.Retired);
            MachineSpec spec = Spec with { Engine = EngineNames.All[i % 2] };
            using var first = new SteppedMachine(spec, TickingGuest.Create());
            first.RunTo(at);
            _ = first.Save(_folder, $"s{i}");
            using SnapshotReader reader = SnapshotReader.Open(Path.Combine(_folder, $"s{i}"));
            reader.VerifyMemory();
            using var second = new SteppedMachine(spec with { Engine = Other(spec.Engine) }, null, reader);
            Assert.Equal(first.State(), second.State());
            string before = first.Serial.Text;
            first.RunTo(later);
            second.RunTo(later);
            Assert.Equal(first.State(), second.State());
            second.RunTo(ulong.MaxValue);
            Assert.Equal(end, second.State());
            Assert.Equal(whole.Serial.Text, before + second.Serial.Text);
        }
    }

    [Fact]
    public void A_chain_of_differences_has_all_of_memory()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var whole = new SteppedMachine(Spec, TickingGuest.Create());
        whole.RunTo(ulong.MaxValue);
        using var machine = new SteppedMachine(Spec, TickingGuest.Create());
        SnapshotManifest? parent = null;
        ulong at = 0;
        for (int i = 0; i < 5; i++)
        {
            at += (ulong)random.NextInt64(1, (long)whole.Retired / 6);
            machine.RunTo(at);
            SnapshotManifest manifest = machine.Save(_folder, $"s{i}", parent);
            Assert.True(parent is null || manifest.Pages < parent.Pages || i > 1, $"{manifest.Pages} pages differ");
            parent = manifest;
            using SnapshotReader reader = SnapshotReader.Open(Path.Combine(_folder, $"s{i}"));
            reader.VerifyMemory();
            using var second = new SteppedMachine(Spec, null, reader);
            Assert.Equal(machine.State(), second.State());
            // One that was restored goes on with the chain.
            second.RunTo(at + 1000);
            _ = second.Save(_folder, $"t{i}", manifest);
            using SnapshotReader again = SnapshotReader.Open(Path.Combine(_folder, $"t{i}"));
            using var third = new SteppedMachine(Spec, null, again);
            Assert.Equal(second.State(), third.State());
        }

        var store = new SnapshotStore(_folder);
        SnapshotException needed = Assert.Throws<SnapshotException>(() => store.Remove("s1", withChildren: false));
        Assert.Contains("s2", needed.Message, StringComparison.Ordinal);
        Assert.Equal(["s0", "s1", "s2", "s3", "s4", "t0", "t1", "t2", "t3", "t4"], store.Remove("s0", withChildren: true).Order());
        Assert.Empty(store.List().Snapshots);
    }

    [Fact]
    public void A_damaged_byte_anywhere_is_refused_with_its_section_named()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var machine = new SteppedMachine(Spec, TickingGuest.Create());
        machine.RunTo(50_000);
        SnapshotManifest manifest = machine.Save(_folder, "s");
        string folder = Path.Combine(_folder, "s"), sections = Path.Combine(folder, SnapshotFolder.SectionsFile);
        foreach (SectionEntry entry in manifest.Sections.Where(entry => entry.Length != 0))
        {
            long at = entry.Offset + random.Next(entry.Length);
            Flip(sections, at);
            Assert.Equal(entry.Name, Assert.Throws<SnapshotException>(() => SnapshotReader.Open(folder)).Section);
            Flip(sections, at);
        }

        foreach (string file in new[] { SnapshotFolder.ManifestFile, SnapshotFolder.ChecksumFile })
        {
            long at = random.Next(40);
            Flip(Path.Combine(folder, file), at);
            Assert.Equal("manifest", Assert.Throws<SnapshotException>(() => SnapshotReader.Open(folder)).Section);
            Flip(Path.Combine(folder, file), at);
        }

        // Restoring reads memory only when it is touched; checking it is a step of its own.
        Flip(Path.Combine(folder, SnapshotFolder.MemoryFile), 0x100000 + random.Next(0x100));
        using (SnapshotReader reader = SnapshotReader.Open(folder))
            Assert.Equal("memory", Assert.Throws<SnapshotException>(() => reader.VerifyMemory()).Section);
        using (FileStream file = File.OpenWrite(Path.Combine(folder, SnapshotFolder.MemoryFile)))
            file.SetLength(0x200000);
        using (SnapshotReader reader = SnapshotReader.Open(folder))
            Assert.Equal("memory", Assert.Throws<SnapshotException>(() => new SteppedMachine(Spec, null, reader)).Section);
        File.Delete(Path.Combine(folder, SnapshotFolder.MemoryFile));
        Assert.Equal("memory", Assert.Throws<SnapshotException>(() => SnapshotReader.Open(folder)).Section);
        File.WriteAllBytes(sections, []);
        Assert.NotNull(Assert.Throws<SnapshotException>(() => SnapshotReader.Open(folder)).Section);
    }

    [Fact]
    public void A_section_with_the_right_checksum_and_wrong_content_is_refused_by_its_part()
    {
        using var machine = new SteppedMachine(Spec, TickingGuest.Create());
        machine.RunTo(50_000);
        List<SavedSection> sections = MachineSections.Save(machine.Pc);
        foreach (SavedSection section in sections)
        {
            foreach (SavedSection wrong in new[]
            {
                section with { Bytes = section.Bytes[..^Math.Min(1, section.Bytes.Length)] },
                section with { Bytes = [.. section.Bytes, 0] },
                section with { Version = 99 },
                section with { Name = "flux-capacitor" },
            })
            {
                if (wrong.Bytes.Length == section.Bytes.Length && wrong.Version == section.Version && wrong.Name == section.Name)
                    continue;
                using var other = new SteppedMachine(Spec, TickingGuest.Create());
                SnapshotException error = Assert.Throws<SnapshotException>(
                    () => MachineSections.Restore(other.Pc, [.. sections.Select(s => s == section ? wrong : s)], SectionUpgrades.Known));
                Assert.Equal(section.Name, error.Section);
                Assert.Contains(section.Name, error.Message, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void A_section_of_an_earlier_version_is_brought_up_step_by_step()
    {
        using var machine = new SteppedMachine(Spec, TickingGuest.Create());
        machine.RunTo(50_000);
        List<SavedSection> sections = MachineSections.Save(machine.Pc);
        string[] state = machine.State();
        // As if what is version 1 today had lacked its first byte in version 0, and its second, too, in version -1.
        byte[] serial = sections.First(s => s.Name == "serial0").Bytes;
        var old = new SavedSection("serial0", -1, serial[2..]);
        var upgrades = new SectionUpgrades([("serial", -1, b => [serial[1], .. b]), ("serial", 0, b => [serial[0], .. b])]);
        using var other = new SteppedMachine(Spec, TickingGuest.Create());
        MachineSections.Restore(other.Pc, [.. sections.Select(s => s.Name == "serial0" ? old : s)], upgrades);
        // The clock counts what the test's loop has run, and memory was not restored.
        Assert.Equal(state[1..^1], other.State()[1..^1]);
    }

    [Fact]
    public void A_snapshot_of_another_format_or_machine_is_refused()
    {
        using var machine = new SteppedMachine(Spec, TickingGuest.Create());
        machine.RunTo(50_000);
        _ = machine.Save(_folder, "s");
        using SnapshotReader reader = SnapshotReader.Open(Path.Combine(_folder, "s"));
        Assert.Equal("memory", Assert.Throws<SnapshotException>(() => new SteppedMachine(Spec with { Memory = 32 << 20 }, null, reader)).Section);
        Assert.Equal("virtio-balloon0", Assert.Throws<SnapshotException>(() => new SteppedMachine(Spec with { Balloon = true }, null, reader)).Section);
        Assert.NotNull(Assert.Throws<SnapshotException>(() => new SteppedMachine(Spec with { TestDevices = false }, null, reader)).Section);
        SnapshotException none = Assert.Throws<SnapshotException>(() => SnapshotReader.Open(_folder));
        Assert.Contains(_folder, none.Message, StringComparison.Ordinal);
        var store = new SnapshotStore(_folder);
        Assert.Contains("there are s", Assert.Throws<SnapshotException>(() => store.Find("x")).Message, StringComparison.Ordinal);
        Assert.Throws<SnapshotException>(() => store.Find("../s"));
        string text = File.ReadAllText(Path.Combine(_folder, "s", SnapshotFolder.ManifestFile));
        foreach ((string from, string to) in new[] { ("\"doppel snapshot\"", "\"other\""), ("\"version\": 1,\n  \"id\"", "\"version\": 9,\n  \"id\""), ("{", "[") })
        {
            WriteManifest(text.Replace(from, to, StringComparison.Ordinal));
            Assert.Equal("manifest", Assert.Throws<SnapshotException>(() => SnapshotReader.Open(Path.Combine(_folder, "s"))).Section);
        }
    }

    private void WriteManifest(string text)
    {
        string folder = Path.Combine(_folder, "s");
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        File.WriteAllBytes(Path.Combine(folder, SnapshotFolder.ManifestFile), bytes);
        File.WriteAllText(Path.Combine(folder, SnapshotFolder.ChecksumFile), Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes)) + "  manifest.json\n");
    }

    private static void Flip(string path, long at)
    {
        using FileStream file = File.Open(path, FileMode.Open);
        file.Position = at;
        int value = file.ReadByte();
        file.Position = at;
        file.WriteByte((byte)(value ^ 0x10));
    }
}
