using System.Diagnostics.CodeAnalysis;

namespace Doppel.Vmm.Limits;

/// <summary>The limits in a specification: what a machine may have of its host, which no guest sees.</summary>
public static class MachineLimits
{
    /// <summary>The machine with the limits of another specification of it.</summary>
    /// <param name="spec">The machine.</param>
    /// <param name="limits">The other one. Disks and cards are matched by their numbers.</param>
    public static MachineSpec WithLimitsOf(this MachineSpec spec, MachineSpec limits)
    {
        ArgumentNullException.ThrowIfNull(spec);
        ArgumentNullException.ThrowIfNull(limits);
        return spec with
        {
            CpuCap = limits.CpuCap,
            CpuWeight = limits.CpuWeight,
            Disks = [.. spec.Disks.Select((disk, i) => limits.Disks.ElementAtOrDefault(i) is DiskSpec other ? disk with { BytesPerSecond = other.BytesPerSecond, OperationsPerSecond = other.OperationsPerSecond } : disk)],
            Networks = [.. spec.Networks.Select((network, i) => limits.Networks.ElementAtOrDefault(i) is NetworkSpec other ? network with { BytesPerSecond = other.BytesPerSecond } : network)],
        };
    }

    /// <summary>The machine with other limits of some disks and network cards.</summary>
    /// <param name="spec">The machine.</param>
    /// <param name="disks">Limits of disks.</param>
    /// <param name="networks">Limits of network cards.</param>
    /// <exception cref="SpecException">There is no disk or card of a number.</exception>
    public static MachineSpec WithLimits(this MachineSpec spec, IReadOnlyList<DeviceLimits> disks, IReadOnlyList<DeviceLimits> networks)
    {
        ArgumentNullException.ThrowIfNull(spec);
        ArgumentNullException.ThrowIfNull(disks);
        ArgumentNullException.ThrowIfNull(networks);
        DiskSpec[] changed = [.. spec.Disks];
        NetworkSpec[] cards = [.. spec.Networks];
        foreach (DeviceLimits? limits in disks)
        {
            Check("disk", limits, changed.Length);
            DiskSpec disk = changed[limits.Number];
            changed[limits.Number] = disk with { BytesPerSecond = limits.BytesPerSecond ?? disk.BytesPerSecond, OperationsPerSecond = limits.OperationsPerSecond ?? disk.OperationsPerSecond };
        }

        foreach (DeviceLimits? limits in networks)
        {
            Check("net", limits, cards.Length);
            if (limits.OperationsPerSecond is not null)
                throw new SpecException("net", $"--net {limits.Number},iops={limits.OperationsPerSecond}: a network card has no operations; bps=SIZE would be right");
            cards[limits.Number] = cards[limits.Number] with { BytesPerSecond = limits.BytesPerSecond ?? cards[limits.Number].BytesPerSecond };
        }

        return spec with { Disks = changed, Networks = cards };
    }

    /// <summary>A disk without limits, to be compared with another.</summary>
    public static DiskSpec WithoutLimits(this DiskSpec disk)
    {
        ArgumentNullException.ThrowIfNull(disk);
        return disk with { BytesPerSecond = 0, OperationsPerSecond = 0 };
    }

    // What comes from outside may have null where a list's element is expected.
    private static void Check(string what, [NotNull] DeviceLimits? limits, int count)
    {
        int number = limits?.Number ?? throw new SpecException(what, $"--{what}: null; an object with limits would be right");
        if (number < 0 || number >= count)
            throw new SpecException(what, $"--{what} {number}: {(count == 0 ? "the machine has none" : count == 1 ? "the machine has one; 0 would be right" : $"the machine has {count}; 0 to {count - 1} would be right")}");
    }
}
