using Doppel.Machine.Memory;

namespace Doppel.Machine.Cpu.System;

/// <summary>
/// The memory type range registers (Intel SDM vol. 3, 12.11). They are kept and checked, but have no effect: guest memory is
/// the host's write-back memory throughout.
/// </summary>
public static unsafe class Mtrr
{
    /// <summary>Variable ranges.</summary>
    public const int VariableCount = 8;

    /// <summary>IA32_MTRRCAP: eight variable ranges, fixed ranges, write combining; no SMRR.</summary>
    public const ulong Capability = VariableCount | (1 << 8) | (1 << 10);

    private const ulong WriteBack = 6;
    private const ulong Enable = 1 << 11;
    private const ulong FixedEnable = 1 << 10;
    private const ulong Valid = 1 << 11;

    /// <summary>
    /// What firmware leaves: write-back by default, the legacy video window A0000h to BFFFFh uncached, the BIOS area
    /// write-protected, and the I/O hole below 4 GiB uncached. Must be set on every vCPU alike; a guest that finds RAM
    /// uncached would trim it.
    /// </summary>
    public static void SetFirmwareDefaults(VirtualCpu cpu)
    {
        const ulong AllWriteBack = 0x0606060606060606;
        const ulong AllWriteProtected = 0x0505050505050505;
        CpuState* s = cpu.State;
        s->MtrrFixed[0] = AllWriteBack;
        s->MtrrFixed[1] = AllWriteBack;
        s->MtrrFixed[2] = 0;
        for (int i = 3; i < 11; i++)
            s->MtrrFixed[i] = AllWriteProtected;
        for (int i = 0; i < 2 * VariableCount; i++)
            s->MtrrVariable[i] = 0;
        ulong physicalMask = (1UL << cpu.Model.PhysicalAddressBits) - 1;
        s->MtrrVariable[0] = GuestMemory.LowRamLimit;
        s->MtrrVariable[1] = (physicalMask & ~(GuestMemory.HighRamStart - GuestMemory.LowRamLimit - 1)) | Valid;
        s->MtrrDefType = WriteBack | FixedEnable | Enable;
    }

    internal static bool TryRead(VirtualCpu cpu, uint index, out ulong value)
    {
        CpuState* s = cpu.State;
        value = 0;
        if (index == MsrIndex.MtrrCap)
            value = Capability;
        else if (index == MsrIndex.MtrrDefType)
            value = s->MtrrDefType;
        else if (index is >= MsrIndex.MtrrPhysBase0 and <= MsrIndex.MtrrPhysMask7)
            value = s->MtrrVariable[index - MsrIndex.MtrrPhysBase0];
        else if (FixedIndex(index) is >= 0 and int position)
            value = s->MtrrFixed[position];
        else
            return false;
        return true;
    }

    /// <summary>False: #GP, with nothing changed.</summary>
    internal static bool TryWrite(VirtualCpu cpu, uint index, ulong value)
    {
        CpuState* s = cpu.State;
        if (index == MsrIndex.MtrrDefType)
        {
            if (!IsDefType(value))
                return false;
            s->MtrrDefType = value;
            return true;
        }

        if (index is >= MsrIndex.MtrrPhysBase0 and <= MsrIndex.MtrrPhysMask7)
        {
            int register = (int)(index - MsrIndex.MtrrPhysBase0);
            if (!IsVariable(cpu, register, value))
                return false;
            s->MtrrVariable[register] = value;
            return true;
        }

        int position = FixedIndex(index);
        if (position < 0 || !IsFixed(value))
            return false;
        s->MtrrFixed[position] = value;
        return true;
    }

    /// <summary>Whether IA32_MTRR_DEF_TYPE can hold a value.</summary>
    internal static bool IsDefType(ulong value) => (value & ~(0xFF | FixedEnable | Enable)) == 0 && IsType((byte)value);

    /// <summary>Whether a register of the variable ranges can hold a value; even ones are bases, odd ones masks.</summary>
    internal static bool IsVariable(VirtualCpu cpu, int register, ulong value)
    {
        ulong beyond = ulong.MaxValue << cpu.Model.PhysicalAddressBits;
        return (register & 1) != 0 ? (value & (beyond | 0x7FF)) == 0 : (value & (beyond | 0xF00)) == 0 && IsType((byte)value);
    }

    /// <summary>Whether a register of the fixed ranges can hold a value: eight types.</summary>
    internal static bool IsFixed(ulong value)
    {
        for (int i = 0; i < 8; i++)
        {
            if (!IsType((byte)(value >> (8 * i))))
                return false;
        }

        return true;
    }

    private static bool IsType(byte type) => type is 0 or 1 or 4 or 5 or 6;

    private static int FixedIndex(uint index) => index switch
    {
        MsrIndex.MtrrFix64K => 0,
        MsrIndex.MtrrFix16K80000 => 1,
        MsrIndex.MtrrFix16KA0000 => 2,
        >= MsrIndex.MtrrFix4KC0000 and <= MsrIndex.MtrrFix4KF8000 => 3 + (int)(index - MsrIndex.MtrrFix4KC0000),
        _ => -1,
    };
}
