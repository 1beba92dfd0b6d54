using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;
using Doppel.Vmm.Execution;

namespace Doppel.Vmm.Snapshots;

/// <summary>
/// What has been written to a machine's memory, ever and since its last snapshot. Used by one saver at a time, while no vCPU
/// runs.
/// </summary>
internal sealed class DirtyPageLog
{
    private readonly PcMachine _machine;

    /// <summary>Begins with a new machine, or with one whose memory was taken from a snapshot.</summary>
    internal DirtyPageLog(PcMachine machine, Guid? baseId = null, PageSet? written = null)
    {
        _machine = machine;
        BaseId = baseId;
        Written = written ?? PageSet.For(machine.Memory);
        SinceBase = PageSet.For(machine.Memory);
    }

    /// <summary>The snapshot that has the memory from which <see cref="SinceBase"/> differs; null when there is none.</summary>
    internal Guid? BaseId { get; private set; }

    /// <summary>All pages that are not as a new machine has them.</summary>
    internal PageSet Written { get; }

    /// <summary>The pages that differ from the snapshot <see cref="BaseId"/>.</summary>
    internal PageSet SinceBase { get; private set; }

    /// <summary>
    /// The pages that were written since the last call. The vCPUs must stand still; devices may work, for they tell of a write
    /// when it is done.
    /// </summary>
    internal PageSet Take()
    {
        PageSet taken = PageSet.For(_machine.Memory);
        _machine.Memory.TakeDirtyPages(taken);
        // A vCPU may write to a page without notice as long as its TLB has a tag for that.
        foreach (VirtualCpu cpu in _machine.Cpus)
            cpu.Tlb.FlushAll();
        Written.Add(taken);
        SinceBase.Add(taken);
        return taken;
    }

    /// <summary>Counts from a new snapshot on. <see cref="Undo"/> takes it back.</summary>
    internal (Guid? BaseId, PageSet SinceBase) Rebase(Guid id)
    {
        (Guid?, PageSet) before = (BaseId, SinceBase);
        BaseId = id;
        SinceBase = PageSet.For(_machine.Memory);
        return before;
    }

    /// <summary>The snapshot came to nothing.</summary>
    internal void Undo((Guid? BaseId, PageSet SinceBase) before)
    {
        BaseId = before.BaseId;
        SinceBase.Add(before.SinceBase);
    }
}
