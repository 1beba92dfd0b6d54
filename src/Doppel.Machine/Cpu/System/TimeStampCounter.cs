namespace Doppel.Machine.Cpu.System;

/// <summary>The time stamp counter (Intel SDM vol. 3, 18.17). Belongs to the vCPU's thread.</summary>
public static unsafe class TimeStampCounter
{
    /// <summary>The guest's TSC now, whatever the privilege.</summary>
    public static ulong Read(VirtualCpu cpu) => (cpu.TscSource is { } source ? source() : cpu.Clock.Tsc) + cpu.State->TscOffset;

    /// <summary>WRMSR to IA32_TIME_STAMP_COUNTER: IA32_TSC_ADJUST moves by as much.</summary>
    public static void Write(VirtualCpu cpu, ulong value) => Shift(cpu, value - Read(cpu));

    /// <summary>WRMSR to IA32_TSC_ADJUST: the TSC moves by as much.</summary>
    public static void WriteAdjust(VirtualCpu cpu, ulong value) => Shift(cpu, value - cpu.State->TscAdjust);

    /// <summary>RDTSC. #GP where CR4.TSD keeps it for ring 0.</summary>
    public static ulong Rdtsc(VirtualCpu cpu)
    {
        CheckAccess(cpu);
        return Read(cpu);
    }

    /// <summary>RDTSCP: the TSC and IA32_TSC_AUX, for ECX. #GP where CR4.TSD keeps it for ring 0.</summary>
    public static (ulong Tsc, uint Aux) Rdtscp(VirtualCpu cpu)
    {
        CheckAccess(cpu);
        return (Read(cpu), (uint)cpu.State->TscAux);
    }

    /// <summary>RDPID: IA32_TSC_AUX, at any privilege.</summary>
    public static ulong Rdpid(VirtualCpu cpu) => cpu.State->TscAux;

    private static void CheckAccess(VirtualCpu cpu)
    {
        if (cpu.State->Cpl != 0 && (cpu.State->Cr4 & Cr4.Tsd) != 0)
            throw cpu.GeneralProtection();
    }

    private static void Shift(VirtualCpu cpu, ulong ticks)
    {
        cpu.State->TscOffset += ticks;
        cpu.State->TscAdjust += ticks;
        // The deadline is in guest ticks: the timer behind it must be set anew.
        ulong deadline = cpu.Apic.TscDeadline;
        if (ticks != 0 && deadline != 0)
            cpu.Apic.TscDeadline = deadline;
    }
}
