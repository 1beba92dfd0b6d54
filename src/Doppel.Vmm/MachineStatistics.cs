using Doppel.Engines.Kvm;
using Doppel.Machine.Cpu.Statistics;
using Doppel.Vmm.Readiness;

namespace Doppel.Vmm;

/// <summary>What a machine has done since its start, over all its boots.</summary>
public sealed record MachineStatistics
{
    /// <summary>The machine's name (<see cref="MachineSpec.Name"/>).</summary>
    public required string Name { get; init; }

    /// <summary>The process that runs it.</summary>
    public required int ProcessId { get; init; }

    /// <summary>The execution engine.</summary>
    public required string Engine { get; init; }

    /// <summary>Why <see cref="EngineNames.Auto"/> didn't give KVM: one line; null when it did, wasn't asked for, or the engine was changed since.</summary>
    public string? EngineReason { get; init; }

    /// <summary>Under KVM, true when the kernel has the local APICs, false when they stay in this process; null under other engines.</summary>
    public bool? HasKernelApics { get; init; }

    /// <summary>Under KVM, who translates the guest's physical addresses, for example "nested page tables (NPT)"; null under other engines, or when the host doesn't say.</summary>
    public string? NestedPaging { get; init; }

    /// <summary>Under KVM, how much of the guest's memory the kernel's tables show to it now; null under other engines, or when the host doesn't count.</summary>
    public KvmMappedPages? MappedPages { get; init; }

    /// <summary>How long the guest stood still when its engine was changed the last time; null before that.</summary>
    public double? SwitchSeconds { get; init; }

    /// <summary>Bytes of RAM.</summary>
    public required ulong Memory { get; init; }

    /// <summary>Where it is in its life.</summary>
    public required VmState State { get; init; }

    /// <summary>How far its guest has come; null in what an older Doppel says.</summary>
    public GuestReadiness? Readiness { get; init; }

    /// <summary>Host time from its start until now or its end, pauses and halts included.</summary>
    public required double Seconds { get; init; }

    /// <summary>How often the guest has reset it.</summary>
    public required int RebootCount { get; init; }

    /// <summary>The sum over all vCPUs.</summary>
    public required EngineStatistics Total { get; init; }

    /// <summary>Each vCPU.</summary>
    public required IReadOnlyList<EngineStatistics> Cpus { get; init; }

    /// <summary>Guest instructions of all vCPUs in a second of <see cref="Seconds"/>.</summary>
    public double InstructionsPerSecond => Seconds > 0 ? Total.Instructions / Seconds : 0;
}
