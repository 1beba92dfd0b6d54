using Doppel.Host.Kvm;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;

namespace Doppel.Engines.Kvm;

/// <summary>A vCPU and its part of the kernel's VM: who has its registers, and its time. Belongs to the vCPU's thread, or to who has made that stand still.</summary>
internal sealed class KvmCpu : IDisposable
{
    private readonly KvmMachine _machine;
    private readonly KvmStatisticsFile? _counts;
    private ulong _tscOffset;

    /// <summary>Takes over the kernel's part.</summary>
    internal KvmCpu(KvmMachine machine, VirtualCpu cpu, KvmVcpu vcpu, bool hasCounts)
    {
        _machine = machine;
        Cpu = cpu;
        Vcpu = vcpu;
        HasTscOffset = vcpu.HasTscOffset;
        _counts = hasCounts ? vcpu.OpenStatistics() : null;
    }

    /// <summary>The machine's vCPU.</summary>
    internal VirtualCpu Cpu { get; }

    /// <summary>The kernel's.</summary>
    internal KvmVcpu Vcpu { get; }

    /// <summary>True while the registers are the kernel's.</summary>
    internal bool IsLoaded { get; set; }

    /// <summary>True when the offset of the TSC can be set (Linux 5.16).</summary>
    internal bool HasTscOffset { get; }

    /// <summary>How far the guest's TSC is ahead of the machine's clock, in ticks.</summary>
    internal long Drift => HasTscOffset ? _machine.GetDrift(Vcpu) : 0;

    /// <summary>A count that the kernel keeps of the vCPU; 0 where it keeps none. Any thread.</summary>
    internal ulong CountOf(string name) => _counts?.Read(name) ?? 0;

    /// <summary>Gives the guest's TSC to the kernel, and with it the deadline of a timer that the kernel has.</summary>
    internal unsafe void LoadTime()
    {
        ulong own = Cpu.State->TscOffset;
        if (!HasTscOffset)
        {
            // The kernel makes TSCs equal that are set to nearly the same at nearly the same time.
            WriteMsr(MsrIndex.Tsc, Cpu.Clock.Tsc + own);
            return;
        }

        ulong offset = _machine.GetTimeBase(Vcpu) + own;
        if (offset == _tscOffset)
            return;
        Vcpu.TscOffset = offset;
        _tscOffset = offset;
        // The timer behind it goes by the host's TSC.
        if (_machine.LocalApics is { IsKept: true } && ReadDeadline() is not 0 and ulong deadline)
            WriteMsr(MsrIndex.TscDeadline, deadline);
    }

    /// <summary>IA32_TSC_DEADLINE of the kernel's timer; 0 is disarmed.</summary>
    internal ulong ReadDeadline() => Cpu.Model.Has(CpuFeature.TscDeadline) ? ReadMsr(MsrIndex.TscDeadline) : 0;

    /// <summary>Reads an MSR that the kernel has.</summary>
    internal ulong ReadMsr(uint index)
    {
        Span<KvmMsr> msr = [new KvmMsr { Index = index }];
        if (Vcpu.GetMsrs(msr) != 1)
            throw new KvmException($"this host's KVM can't read MSR 0x{index:x}");
        return msr[0].Data;
    }

    /// <summary>Sets one.</summary>
    internal void WriteMsr(uint index, ulong value)
    {
        Span<KvmMsr> msr = [new KvmMsr { Index = index, Data = value }];
        if (Vcpu.SetMsrs(msr) != 1)
            throw new KvmException($"this host's KVM refuses MSR 0x{index:x} with the value 0x{value:x}");
    }

    public void Dispose()
    {
        _counts?.Dispose();
        Vcpu.Dispose();
    }
}
