namespace Doppel.Machine.Cpu.System;

/// <summary>
/// DR0 to DR7 and the matching of breakpoints (Intel SDM vol. 3, 18.2). RF, the order of traps and the clearing of DR7.GD
/// at delivery are the engine's affair. Belongs to the vCPU's thread.
/// </summary>
public static unsafe class DebugRegisters
{
    /// <summary>DR6: BD, an access to a debug register under DR7.GD.</summary>
    public const ulong Bd = 1 << 13;

    /// <summary>DR6: BS, single step.</summary>
    public const ulong Bs = 1 << 14;

    /// <summary>DR6: BT, task switch.</summary>
    public const ulong Bt = 1 << 15;

    /// <summary>DR7: GD, any access to a debug register raises #DB.</summary>
    public const ulong Gd = 1 << 13;

    private const ulong Dr6Writable = 0xF | Bd | Bs | Bt;
    private const ulong Dr6Ones = 0xFFFF0FF0;
    private const ulong Dr7Writable = 0xFFFF23FF;
    private const ulong Dr7Ones = 0x400;
    private const int OnExecute = 0;
    private const int OnWrite = 1;
    private const int OnIo = 2;

    /// <summary>MOV from DR0 to DR7. #UD for DR4 and DR5 under CR4.DE, #GP outside ring 0, #DB under DR7.GD.</summary>
    public static ulong Read(VirtualCpu cpu, int register) => cpu.State->Dr[Check(cpu, register)];

    /// <summary>MOV to DR0 to DR7. Faults as <see cref="Read"/>, and #GP for a value beyond 32 bits in DR6 or DR7.</summary>
    public static void Write(VirtualCpu cpu, int register, ulong value)
    {
        register = Check(cpu, register);
        if (register >= 6 && (value >> 32) != 0)
            throw cpu.GeneralProtection();
        bool wasActive = HasActiveBreakpoints(cpu);
        cpu.State->Dr[register] = WithFixedBits(register, value);
        // While a breakpoint is active, the TLB sends every data access to the slow path, which looks for matches.
        if (HasActiveBreakpoints(cpu) != wasActive)
            cpu.Tlb.FlushAll();
    }

    /// <summary>True when DR7 enables any breakpoint.</summary>
    public static bool HasActiveBreakpoints(VirtualCpu cpu) => (cpu.State->Dr[7] & 0xFF) != 0;

    /// <summary>The bits of DR6 (0 to 3) for the instruction breakpoints at a linear address; 0 for none.</summary>
    public static ulong MatchInstruction(VirtualCpu cpu, ulong linear)
    {
        CpuState* s = cpu.State;
        if ((s->Dr[7] & 0xFF) == 0)
            return 0;
        ulong matched = 0;
        for (int i = 0; i < 4; i++)
        {
            if (IsEnabled(s, i) && Kind(s, i) == OnExecute && Narrow(s, s->Dr[i]) == Narrow(s, linear))
                matched |= 1UL << i;
        }

        return matched;
    }

    /// <summary>The bits of DR6 (0 to 3) for the data breakpoints that an access of 1 or more bytes touches; 0 for none.</summary>
    public static ulong MatchData(VirtualCpu cpu, ulong linear, int size, bool write)
    {
        CpuState* s = cpu.State;
        if ((s->Dr[7] & 0xFF) == 0)
            return 0;
        ulong matched = 0;
        for (int i = 0; i < 4; i++)
        {
            int kind = Kind(s, i);
            if (IsEnabled(s, i) && (kind == 3 || (kind == OnWrite && write)) && Overlaps(s, i, Narrow(s, linear), size))
                matched |= 1UL << i;
        }

        return matched;
    }

    /// <summary>The bits of DR6 (0 to 3) for the I/O breakpoints, which need CR4.DE, that a port access touches; 0 for none.</summary>
    public static ulong MatchIo(VirtualCpu cpu, int port, int size)
    {
        CpuState* s = cpu.State;
        if ((s->Dr[7] & 0xFF) == 0 || (s->Cr4 & Cr4.De) == 0)
            return 0;
        ulong matched = 0;
        for (int i = 0; i < 4; i++)
        {
            if (IsEnabled(s, i) && Kind(s, i) == OnIo && Overlaps(s, i, (ulong)port, size))
                matched |= 1UL << i;
        }

        return matched;
    }

    /// <summary>A value as a debug register keeps it: bits that can't change are what they always are.</summary>
    internal static ulong WithFixedBits(int register, ulong value) => register switch
    {
        6 => (value & Dr6Writable) | Dr6Ones,
        7 => (value & Dr7Writable) | Dr7Ones,
        _ => value,
    };

    private static int Check(VirtualCpu cpu, int register)
    {
        CpuState* s = cpu.State;
        if (register is 4 or 5)
        {
            if ((s->Cr4 & Cr4.De) != 0)
                throw cpu.InvalidOpcode();
            register += 2;
        }

        if (register is < 0 or > 7)
            throw cpu.InvalidOpcode();
        ControlRegisters.RequireRing0(cpu);
        if ((s->Dr[7] & Gd) != 0)
            throw cpu.DebugException(Bd, isTrap: false);
        return register;
    }

    private static bool IsEnabled(CpuState* s, int index) => ((s->Dr[7] >> (2 * index)) & 3) != 0;

    private static int Kind(CpuState* s, int index) => (int)(s->Dr[7] >> (16 + (4 * index))) & 3;

    private static ulong Narrow(CpuState* s, ulong address) => s->IsLongMode ? address : (uint)address;

    // LEN is 0, 1, 2 or 3 for 1, 2, 8 or 4 bytes; the low bits of the address are ignored accordingly.
    private static bool Overlaps(CpuState* s, int index, ulong address, int size)
    {
        int length = ((int)(s->Dr[7] >> (18 + (4 * index))) & 3) switch
        {
            0 => 1,
            1 => 2,
            2 => 8,
            _ => 4,
        };
        ulong start = Narrow(s, s->Dr[index]) & ~(ulong)(length - 1);
        return address - start < (ulong)length || start - address < (ulong)size;
    }
}
