using Doppel.Host;
using Doppel.Host.Kvm;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;
using Doppel.Machine.Interrupts;

namespace Doppel.Engines.Kvm;

/// <summary>
/// The machine's local APICs in the kernel, beside the vCPUs (KVM's split interrupt controller): an EOI, an IPI, a timer and a
/// halt end there and not in this process. IOAPIC and 8259s stay here; their messages, and those of devices, are sent to the
/// kernel. Any thread.
/// </summary>
/// <remarks>
/// Either the kernel has all of them or this process has: a vCPU that the kernel runs would send to one that it no longer
/// looks at. So when one vCPU must be interpreted, all are until it needn't any more. They move while every vCPU is between two
/// instructions. What only stands still (a pause, a snapshot) leaves them where they are; their state is then read.
/// </remarks>
internal sealed unsafe class KvmLocalApics : IApicKeeper
{
    private const uint SuppressesBroadcast = 1 << 12;
    private readonly KvmVm _vm;
    private readonly ApicBus _bus;
    private readonly KvmCpu?[] _cpus;
    private readonly Lock _lock = new();
    private readonly HashSet<int> _holders = [];
    private byte[] _levelVectors = [];
    private volatile bool _isKept;

    private KvmLocalApics(KvmVm vm, ApicBus bus, int cpuCount)
    {
        _vm = vm;
        _bus = bus;
        _cpus = new KvmCpu[cpuCount];
    }

    /// <summary>True while the kernel has them.</summary>
    internal bool IsKept => _isKept;

    /// <summary>Prepares the VM for it, before it has vCPUs.</summary>
    /// <param name="device">The KVM.</param>
    /// <param name="vm">The VM.</param>
    /// <param name="cpu">The machine's first vCPU.</param>
    /// <returns>Null when this kernel can't have the local APICs of such a machine: they stay in this process.</returns>
    /// <exception cref="HostException">The kernel refuses what it has offered.</exception>
    internal static KvmLocalApics? TryCreate(KvmDevice device, KvmVm vm, VirtualCpu cpu)
    {
        KvmCapability[] needed =
        [
            KvmCapability.SplitInterruptController, KvmCapability.SignalMessage, KvmCapability.InterruptRouting, KvmCapability.MultiprocessingState,
            // A deadline goes by the TSC, which must be settable with it.
            KvmCapability.VcpuAttributes,
            .. cpu.Model.Has(CpuFeature.TscDeadline) ? [KvmCapability.TscDeadlineTimer] : Array.Empty<KvmCapability>(),
        ];
        if (cpu.Apic is not LocalApic apic || needed.Any(capability => device.Check(capability) == 0))
            return null;
        vm.Enable(KvmCapability.SplitInterruptController, IoApic.PinCount);
        return new KvmLocalApics(vm, apic.Bus, cpu.CpuCount);
    }

    /// <summary>Adds a vCPU; all are added before one runs.</summary>
    internal void Add(KvmCpu cpu) => _cpus[cpu.Cpu.Index] = cpu;

    /// <summary>Lets the kernel have them, unless another vCPU needs them in this process. The vCPU's thread, outside the guest.</summary>
    /// <returns>Whether the kernel has them now.</returns>
    internal bool TryKeep(VirtualCpu cpu)
    {
        lock (_lock)
        {
            _ = _holders.Remove(cpu.Index);
            if (_holders.Count != 0 || _isKept)
                return _isKept;
        }

        Exclusively(cpu, () =>
        {
            if (_isKept || _holders.Count != 0)
                return;
            _bus.HandOver(this);
            _isKept = true;
            // What waits here for an interrupt will get none.
            foreach (KvmCpu? other in _cpus)
            {
                if (other is not null && other.Cpu != cpu)
                    other.Cpu.Signal(PendingEvents.Kick);
            }
        });
        return _isKept;
    }

    /// <summary>Has them in this process until the vCPU calls <see cref="TryKeep"/>. The vCPU's thread, outside the guest.</summary>
    internal void Hold(VirtualCpu cpu)
    {
        lock (_lock)
        {
            _ = _holders.Add(cpu.Index);
            if (!_isKept)
                return;
        }

        Exclusively(cpu, TakeBack);
    }

    /// <summary>Takes them back, while no vCPU runs.</summary>
    internal void TakeBack()
    {
        if (!_isKept)
            return;
        _bus.TakeBack();
        _isKept = false;
    }

    /// <summary>What follows from the end of a level-triggered interrupt in the kernel. The vCPU's thread.</summary>
    internal void End(KvmCpu cpu, byte vector)
    {
        // The kernel tells of vectors by the IOAPIC's word alone, and also when the guest has asked that it does not.
        KeptApic apic = ReadRegisters(cpu, 0);
        if ((apic[ApicRegister.TriggerMode + (vector >> 5 << 4)] & (1u << (vector & 31))) != 0 && (apic[ApicRegister.SpuriousVector] & SuppressesBroadcast) == 0)
            _bus.BroadcastEoi(vector);
    }

    /// <summary>What a vCPU is doing, as the kernel knows it.</summary>
    internal static KvmActivity ToKvm(ActivityState activity) => activity switch
    {
        ActivityState.Halted => KvmActivity.Halted,
        // INIT is not needed any more.
        ActivityState.WaitForSipi => KvmActivity.InitReceived,
        _ => KvmActivity.Runnable,
    };

    /// <summary>The same in the other direction.</summary>
    internal static ActivityState FromKvm(KvmActivity activity) => activity switch
    {
        KvmActivity.Runnable => ActivityState.Running,
        KvmActivity.Halted => ActivityState.Halted,
        _ => ActivityState.WaitForSipi,
    };

    /// <inheritdoc/>
    public bool Send(in ApicMessage message)
    {
        // Neither is there for who has no SMM, nor can the kernel's local APICs ask the 8259s.
        if (message.Mode is ApicDeliveryMode.Smi or ApicDeliveryMode.Reserved or ApicDeliveryMode.ExtInt || (message.HasVector && message.Vector < 16))
            return false;
        (ulong address, uint data) = Encode(message);
        return _vm.SignalMessage(address, data);
    }

    /// <inheritdoc/>
    public void SetLevelMessages(IReadOnlyList<ApicMessage> messages)
    {
        // To everybody: a guest may send an input elsewhere before it ends the interrupt, which the kernel wouldn't tell then.
        byte[] vectors = [.. messages.Select(message => message.Vector).Distinct()];
        lock (_lock)
        {
            if (vectors.AsSpan().SequenceEqual(_levelVectors))
                return;
            _vm.SetRouting([.. vectors.Select(vector => Encode(new ApicMessage(ApicMessage.Broadcast, false, ApicDeliveryMode.Fixed, vector, true)))]);
            _levelVectors = vectors;
        }
    }

    /// <inheritdoc/>
    public KeptApic Read(int index)
    {
        KvmCpu cpu = _cpus[index]!;
        // First: it lets an INIT take effect, which changes everything else.
        KvmActivity activity = cpu.Vcpu.Activity;
        KeptApic apic = ReadRegisters(cpu, cpu.ReadDeadline());
        if (cpu.IsLoaded)
            return apic;
        bool waits = cpu.Cpu.State->Activity == ActivityState.WaitForSipi, waitsThere = FromKvm(activity) == ActivityState.WaitForSipi;
        if (waits == waitsThere)
            return apic;
        cpu.Vcpu.Get(out KvmSystemRegisters system);
        byte? startUp = waits ? (byte)(system.Cs.Selector >> 8) : null;
        return Copy(apic, new KeptApic { TscDeadline = apic.TscDeadline, HasInit = waitsThere, StartUp = startUp });
    }

    /// <inheritdoc/>
    public void Write(int index, KeptApic apic)
    {
        KvmCpu cpu = _cpus[index]!;
        cpu.WriteMsr(MsrIndex.ApicBase, apic.Base);
        byte* page = stackalloc byte[KvmVcpu.LocalApicSize];
        new Span<byte>(page, KvmVcpu.LocalApicSize).Clear();
        for (int offset = 0; offset < KvmVcpu.LocalApicSize; offset += 16)
            *(uint*)(page + offset) = apic[offset];
        cpu.Vcpu.SetLocalApic(page);
        cpu.LoadTime();
        if (cpu.Cpu.Model.Has(CpuFeature.TscDeadline))
            cpu.WriteMsr(MsrIndex.TscDeadline, apic.TscDeadline);
        if (!cpu.IsLoaded)
            cpu.Vcpu.Activity = ToKvm(cpu.Cpu.State->Activity);
    }

    private static KeptApic ReadRegisters(KvmCpu cpu, ulong deadline)
    {
        byte* page = stackalloc byte[KvmVcpu.LocalApicSize];
        cpu.Vcpu.GetLocalApic(page);
        var apic = new KeptApic { TscDeadline = deadline };
        for (int offset = 0; offset < KvmVcpu.LocalApicSize; offset += 16)
            apic[offset] = *(uint*)(page + offset);
        return apic;
    }

    private static KeptApic Copy(KeptApic from, KeptApic to)
    {
        for (int offset = 0; offset < KvmVcpu.LocalApicSize; offset += 16)
            to[offset] = from[offset];
        return to;
    }

    // As a message-signalled interrupt (Intel SDM vol. 3, 11.11).
    private static (ulong Address, uint Data) Encode(in ApicMessage message) =>
        (0xFEE0_0000UL | ((ulong)(byte)message.Destination << 12) | (message.IsLogical ? 4UL : 0),
        message.Vector | ((uint)message.Mode << 8) | 0x4000u | (message.IsLevel ? 0x8000u : 0));

    private static void Exclusively(VirtualCpu cpu, Action action)
    {
        if (cpu.CpuCount == 1)
        {
            action();
            return;
        }

        cpu.Physical.Rendezvous.BeginExclusive(cpu);
        try
        {
            action();
        }
        finally
        {
            cpu.Physical.Rendezvous.EndExclusive(cpu);
        }
    }
}
