using Doppel.Machine.Cpu.Inspection;

namespace Doppel.Vmm.Lockstep;

/// <summary>Compares the two machines where they stand.</summary>
internal sealed class LockstepComparer(LockstepMachine reference, LockstepMachine tested)
{
    private readonly HashSet<ulong> _pages = [];

    /// <summary>Each vCPU of the reference at the last comparison.</summary>
    internal IReadOnlyList<CpuSnapshot> Reference { get; } = [.. reference.Cpus.Select(CpuSnapshot.Take)];

    /// <summary>Each vCPU of the tested machine at the last comparison.</summary>
    internal IReadOnlyList<CpuSnapshot> Tested { get; } = [.. tested.Cpus.Select(CpuSnapshot.Take)];

    /// <summary>The first vCPU whose registers differ; null when none does.</summary>
    internal int? DifferentCpu
    {
        get
        {
            for (int i = 0; i < Reference.Count; i++)
            {
                if (!Reference[i].Matches(Tested[i]) || Reference[i].InstructionsRetired != Tested[i].InstructionsRetired)
                    return i;
            }

            return null;
        }
    }

    /// <summary>Whether registers, instruction counts and ends agree.</summary>
    internal bool RegistersMatch()
    {
        for (int i = 0; i < Reference.Count; i++)
        {
            Reference[i].Update(reference.Cpus[i]);
            Tested[i].Update(tested.Cpus[i]);
        }

        return reference.Retired == tested.Retired && reference.End == tested.End && DifferentCpu is null &&
            reference.Output.Length == tested.Output.Length;
    }

    /// <summary>What differs in memory and devices since the last call; empty when nothing does.</summary>
    internal IReadOnlyList<string> CompareRest()
    {
        var different = new List<string>();
        _pages.Clear();
        reference.TakeDirtyPages(_pages);
        tested.TakeDirtyPages(_pages);
        foreach (ulong page in _pages)
        {
            ReadOnlySpan<byte> a = reference.Page(page), b = tested.Page(page);
            int at = a.CommonPrefixLength(b);
            if (at != a.Length)
                different.Add($"memory {page + (ulong)at:x}: {Hex(a, at)}, not {Hex(b, at)}");
        }

        foreach (((string name, byte[] a), (_, byte[] b)) in reference.SaveParts().Zip(tested.SaveParts()))
        {
            if (!a.AsSpan().SequenceEqual(b))
                different.Add($"device {name}: {Convert.ToHexString(a)}, not {Convert.ToHexString(b)}");
        }

        return different;
    }

    /// <summary>What differs in registers.</summary>
    internal IReadOnlyList<string> DescribeRegisters()
    {
        var different = new List<string>();
        if (reference.Retired != tested.Retired)
            different.Add($"instructions retired: {reference.Retired}, not {tested.Retired}");
        if (reference.End != tested.End)
            different.Add($"end: {reference.End ?? "none"}, not {tested.End ?? "none"}");
        if (reference.Output.Length != tested.Output.Length)
            different.Add("console output");
        for (int i = 0; i < Reference.Count; i++)
        {
            string cpu = Reference.Count == 1 ? "" : $"vCPU {i} ";
            foreach ((RegisterValue a, RegisterValue b) in Reference[i].List().Zip(Tested[i].List()))
            {
                if (a != b)
                    different.Add(cpu + a.Name);
            }
        }

        return different;
    }

    private static string Hex(ReadOnlySpan<byte> page, int at) => Convert.ToHexString(page.Slice(at, Math.Min(16, page.Length - at)));
}
