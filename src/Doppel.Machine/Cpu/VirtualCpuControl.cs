using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Statistics;
using Doppel.Machine.Cpu.System;
using Doppel.Machine.Memory;

namespace Doppel.Machine.Cpu;

/// <summary>Access to a vCPU's registers for code above the machine, which knows no pointers. The vCPU must not be running.</summary>
public static unsafe class VirtualCpuControl
{
    private const SegmentAttributes FlatData = SegmentAttributes.Present | SegmentAttributes.CodeOrData
        | SegmentAttributes.WritableOrReadable | SegmentAttributes.Accessed | SegmentAttributes.Big | SegmentAttributes.Granularity;

    /// <summary>
    /// Resets the vCPU and gives it the state that firmware and a boot loader leave: caches on, memory types set,
    /// and the registers of the entry.
    /// </summary>
    public static void Enter(this VirtualCpu cpu, CpuEntry entry)
    {
        cpu.Reset();
        Mtrr.SetFirmwareDefaults(cpu);
        bool isLong = entry.Mode == CpuEntryMode.Long64;
        CpuState* s = cpu.State;
        s->Gpr[0] = entry.Rax;
        s->Gpr[2] = 0;
        s->Gpr[3] = entry.Rbx;
        s->Gpr[4] = entry.Rsp;
        s->Gpr[6] = entry.Rsi;
        s->Rip = entry.Rip;
        var data = new SegmentRegister { Selector = entry.DataSelector, Limit = uint.MaxValue, Attributes = FlatData };
        s->Es = s->Ss = s->Ds = s->Fs = s->Gs = data;
        s->Cs = new SegmentRegister
        {
            Selector = entry.CodeSelector,
            Limit = uint.MaxValue,
            Attributes = isLong
                ? (FlatData & ~SegmentAttributes.Big) | SegmentAttributes.Code | SegmentAttributes.Long
                : FlatData | SegmentAttributes.Code,
        };
        s->Tr = new SegmentRegister { Selector = entry.TaskSelector, Limit = 0x67, Attributes = SegmentAttributes.Present | (SegmentAttributes)11 };
        s->Gdtr = new DescriptorTableRegister { Base = entry.GdtBase, Limit = entry.GdtLimit };
        s->Idtr = default;
        s->Cr0 = Cr0.Pe | Cr0.Et;
        if (isLong)
        {
            s->Cr0 |= Cr0.Pg | Cr0.Wp;
            s->Cr3 = entry.Cr3;
            s->Cr4 = Cr4.Pae;
            s->Efer = Efer.Lme | Efer.Lma;
        }

        s->Activity = ActivityState.Running;
        cpu.Tlb.FlushAll();
        cpu.ModeChanged();
    }

    /// <summary>Resets the vCPU and gives it the memory types that firmware sets on every processor, for one that waits for its start-up IPI.</summary>
    public static void EnterWaiting(this VirtualCpu cpu)
    {
        cpu.Reset();
        Mtrr.SetFirmwareDefaults(cpu);
    }

    /// <summary>Copies the registers that say where a vCPU is.</summary>
    public static CpuLocation GetLocation(this VirtualCpu cpu)
    {
        CpuState* s = cpu.State;
        return new CpuLocation
        {
            Cpu = cpu.Index,
            Rip = s->Rip,
            CodeSelector = s->Cs.Selector,
            CodeBase = s->Cs.Base,
            StackPointer = s->Gpr[4],
            Cr0 = s->Cr0,
            Cr2 = s->Cr2,
            Cr3 = s->Cr3,
            Cr4 = s->Cr4,
            Efer = s->Efer,
            Flags = s->Flags,
            PrivilegeLevel = s->Cpl,
            Mode = ModeOf(s),
            InstructionsRetired = s->InstructionsRetired,
        };
    }

    /// <summary>What the vCPU is doing.</summary>
    public static ActivityState GetActivity(this VirtualCpu cpu) => cpu.State->Activity;

    /// <summary>The events that are pending; any thread may ask.</summary>
    public static PendingEvents GetPendingEvents(this VirtualCpu cpu) => (PendingEvents)Volatile.Read(ref cpu.State->PendingEvents);

    /// <summary>Instructions retired since reset. During a run it is as fresh as the engine keeps it.</summary>
    public static ulong GetInstructionsRetired(this VirtualCpu cpu) => cpu.State->InstructionsRetired;

    /// <summary>What the vCPU has done, without what only its engine knows. Any thread.</summary>
    public static EngineStatistics GetStatistics(this VirtualCpu cpu)
    {
        CpuState* s = cpu.State;
        return new EngineStatistics
        {
            Instructions = Volatile.Read(ref s->InstructionsRetired),
            TlbSlowHits = cpu.Tlb.SlowHits,
            TlbMisses = cpu.Tlb.Walks,
            TlbFlushes = cpu.Tlb.Flushes,
            Interrupts = Volatile.Read(ref s->InterruptsDelivered),
            Exceptions = Volatile.Read(ref s->ExceptionsDelivered),
            Halts = cpu.Halts,
            HaltedSeconds = cpu.HaltedTime.TotalSeconds,
        };
    }

    /// <summary>A general register by its architectural number, 0 (RAX) to 15.</summary>
    public static ulong GetRegister(this VirtualCpu cpu, int number)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)number, 15u, nameof(number));
        return cpu.State->Gpr[number];
    }

    /// <summary>Linear address of the next instruction.</summary>
    public static ulong GetCodeAddress(this VirtualCpu cpu)
    {
        CpuState* s = cpu.State;
        ulong linear = s->Cs.Base + s->Rip;
        return s->Is64Bit ? linear : linear & uint.MaxValue;
    }

    /// <summary>Reads the bytes at the instruction pointer without any effect: no fault, no accessed bit.</summary>
    /// <returns>Number of bytes that could be read from memory.</returns>
    public static int ReadCode(this VirtualCpu cpu, Span<byte> destination)
    {
        CpuState* s = cpu.State;
        ulong linear = s->Cs.Base + s->Rip;
        if (!s->Is64Bit)
            linear &= uint.MaxValue;
        int done = 0;
        while (done < destination.Length)
        {
            ulong address = linear + (uint)done;
            int count = Math.Min(destination.Length - done, GuestMemory.PageSize - (int)(address & 0xFFF));
            if (!PageWalker.TryProbe(cpu, address, out ulong physical) || !cpu.Physical.Memory.TryRead(physical, destination.Slice(done, count)))
                break;
            done += count;
        }

        return done;
    }

    /// <summary>Default size of code at the instruction pointer: 16, 32 or 64 bits.</summary>
    public static int GetCodeSize(this VirtualCpu cpu)
    {
        CpuState* s = cpu.State;
        if (s->Is64Bit)
            return 64;
        return (s->Cs.Attributes & SegmentAttributes.Big) != 0 && !s->IsRealMode && !s->IsVirtual8086 ? 32 : 16;
    }

    private static string ModeOf(CpuState* s)
    {
        if (s->IsRealMode)
            return "real mode";
        if (s->IsLongMode)
            return s->Is64Bit ? "64-bit mode" : "compatibility mode";
        if (s->IsVirtual8086)
            return "virtual-8086 mode";
        return (s->Cs.Attributes & SegmentAttributes.Big) != 0 ? "32-bit protected mode" : "16-bit protected mode";
    }
}
