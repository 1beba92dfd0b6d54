using System.Buffers.Binary;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Segments;
using Doppel.Machine.Cpu.System;

namespace Doppel.Machine.Cpu.Debugging;

/// <summary>Reads and writes a vCPU's registers for a debugger. The vCPU must stand still.</summary>
public static unsafe class CpuRegisters
{
    /// <summary>Copies a register's value, little-endian.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="register">The register; its index must be one of its kind.</param>
    /// <param name="destination">At least <see cref="CpuRegister.Size"/> bytes.</param>
    public static void Read(VirtualCpu cpu, CpuRegister register, Span<byte> destination)
    {
        CpuState* s = cpu.State;
        int size = register.Size;
        switch (register.Kind)
        {
            case CpuRegisterKind.X87:
                new ReadOnlySpan<byte>(s->XsaveArea + 32 + (16 * (register.Index & 7)), size).CopyTo(destination);
                return;
            case CpuRegisterKind.Xmm:
                new ReadOnlySpan<byte>(s->Xmm(register.Index & 15), size).CopyTo(destination);
                return;
            case CpuRegisterKind.YmmHigh:
                new ReadOnlySpan<byte>(s->YmmHigh(register.Index & 15), size).CopyTo(destination);
                return;
        }

        Span<byte> wide = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(wide, ReadValue(cpu, register));
        wide[..size].CopyTo(destination);
    }

    /// <summary>A register of up to 8 bytes.</summary>
    public static ulong ReadValue(VirtualCpu cpu, CpuRegister register)
    {
        CpuState* s = cpu.State;
        return register.Kind switch
        {
            CpuRegisterKind.General => s->Gpr[register.Index & 15],
            CpuRegisterKind.InstructionPointer => s->Rip,
            CpuRegisterKind.Flags => s->Flags,
            CpuRegisterKind.Selector => s->SegmentAt((Segment)register.Index)->Selector,
            CpuRegisterKind.SegmentBase => s->SegmentAt((Segment)register.Index)->Base,
            CpuRegisterKind.KernelGsBase => s->KernelGsBase,
            CpuRegisterKind.Control => register.Index switch
            {
                0 => s->Cr0,
                2 => s->Cr2,
                3 => s->Cr3,
                4 => s->Cr4,
                _ => cpu.Apic.Cr8,
            },
            CpuRegisterKind.Efer => s->Efer,
            CpuRegisterKind.Mxcsr => s->Mxcsr,
            CpuRegisterKind.X87Control => ReadX87Control(s, register.Index),
            _ => throw new ArgumentOutOfRangeException(nameof(register), register, "a register of up to 8 bytes would be right"),
        };
    }

    /// <summary>
    /// Writes a register. A control register, EFER or selector is checked as the instruction that loads it checks, at
    /// ring 0; CS can be loaded only outside protected mode.
    /// </summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="register">The register; its index must be one of its kind.</param>
    /// <param name="source">At least <see cref="CpuRegister.Size"/> bytes, little-endian.</param>
    /// <returns>False, with nothing changed, when the processor can't hold the value.</returns>
    public static bool TryWrite(VirtualCpu cpu, CpuRegister register, ReadOnlySpan<byte> source)
    {
        CpuState* s = cpu.State;
        int size = register.Size;
        switch (register.Kind)
        {
            case CpuRegisterKind.X87:
                source[..size].CopyTo(new Span<byte>(s->XsaveArea + 32 + (16 * (register.Index & 7)), size));
                return true;
            case CpuRegisterKind.Xmm:
                source[..size].CopyTo(new Span<byte>(s->Xmm(register.Index & 15), size));
                return true;
            case CpuRegisterKind.YmmHigh:
                source[..size].CopyTo(new Span<byte>(s->YmmHigh(register.Index & 15), size));
                return true;
        }

        Span<byte> wide = stackalloc byte[8];
        wide.Clear();
        source[..size].CopyTo(wide);
        ulong value = BinaryPrimitives.ReadUInt64LittleEndian(wide);
        return value == (size == 8 ? ReadValue(cpu, register) : (uint)ReadValue(cpu, register)) || TryWriteValue(cpu, register, value);
    }

    private static bool TryWriteValue(VirtualCpu cpu, CpuRegister register, ulong value)
    {
        CpuState* s = cpu.State;
        switch (register.Kind)
        {
            case CpuRegisterKind.General:
                s->Gpr[register.Index & 15] = value;
                return true;
            case CpuRegisterKind.InstructionPointer:
                s->Rip = value;
                return true;
            case CpuRegisterKind.Flags:
                return TryWriteFlags(cpu, value);
            case CpuRegisterKind.Selector:
                return value <= 0xFFFF && TryAsKernel(cpu, () => LoadSelector(cpu, (Segment)register.Index, (ushort)value));
            case CpuRegisterKind.SegmentBase:
                if (s->IsLongMode ? !LinearMemory.IsCanonical(value) : value > uint.MaxValue)
                    return false;
                s->SegmentAt((Segment)register.Index)->Base = value;
                return true;
            case CpuRegisterKind.KernelGsBase:
                if (!LinearMemory.IsCanonical(value))
                    return false;
                s->KernelGsBase = value;
                return true;
            case CpuRegisterKind.Control:
                return TryAsKernel(cpu, () => ControlRegisters.Write(cpu, register.Index, value));
            case CpuRegisterKind.Efer:
                return TryAsKernel(cpu, () => Msrs.Write(cpu, MsrIndex.Efer, value));
            case CpuRegisterKind.Mxcsr:
                if ((value & ~(ulong)ExtendedState.MxcsrMask) != 0)
                    return false;
                s->Mxcsr = (uint)value;
                return true;
            case CpuRegisterKind.X87Control:
                return TryWriteX87Control(s, register.Index, value);
            default:
                return false;
        }
    }

    private static bool TryWriteFlags(VirtualCpu cpu, ulong value)
    {
        CpuState* s = cpu.State;
        // The VM flag decides what the segment registers mean; it can't be changed without them.
        if (((value ^ s->Flags) & CpuFlags.Vm) != 0)
            return false;
        s->Flags = value;
        cpu.ModeChanged();
        return true;
    }

    private static void LoadSelector(VirtualCpu cpu, Segment segment, ushort selector)
    {
        CpuState* s = cpu.State;
        if (segment != Segment.Cs)
            SegmentLoader.Load(cpu, segment, selector);
        else if (s->IsRealMode)
            SegmentLoader.LoadReal(&s->Cs, selector);
        else
            throw cpu.GeneralProtection();
    }

    private static bool TryAsKernel(VirtualCpu cpu, Action write)
    {
        CpuState* s = cpu.State;
        int level = s->Cpl;
        s->Cpl = 0;
        try
        {
            write();
            return true;
        }
        catch (GuestFault)
        {
            return false;
        }
        finally
        {
            s->Cpl = level;
            cpu.ModeChanged();
        }
    }

    // The area keeps the registers as FXSAVE does: ST(0) first, one tag bit a physical register (Intel SDM vol. 1, 10.5.1).
    private static ulong ReadX87Control(CpuState* s, int index)
    {
        byte* area = s->XsaveArea;
        return index switch
        {
            0 => *(ushort*)area,
            1 => *(ushort*)(area + 2),
            2 => FullTags(area),
            3 => *(ushort*)(area + 12),
            4 => *(uint*)(area + 8),
            5 => *(ushort*)(area + 20),
            6 => *(uint*)(area + 16),
            _ => *(ushort*)(area + 6),
        };
    }

    private static bool TryWriteX87Control(CpuState* s, int index, ulong value)
    {
        byte* area = s->XsaveArea;
        bool isWide = index is 4 or 6;
        if (!isWide && value > 0xFFFF)
            return false;
        switch (index)
        {
            case 0:
                *(ushort*)area = (ushort)((value & 0x1F7F) | 0x40);
                break;
            case 1:
                *(ushort*)(area + 2) = (ushort)value;
                break;
            case 2:
                byte tags = 0;
                for (int i = 0; i < 8; i++)
                {
                    if (((value >> (2 * i)) & 3) != 3)
                        tags |= (byte)(1 << i);
                }

                area[4] = tags;
                break;
            case 3:
                *(ushort*)(area + 12) = (ushort)value;
                break;
            case 4:
                *(uint*)(area + 8) = (uint)value;
                break;
            case 5:
                *(ushort*)(area + 20) = (ushort)value;
                break;
            case 6:
                *(uint*)(area + 16) = (uint)value;
                break;
            default:
                *(ushort*)(area + 6) = (ushort)(value & 0x7FF);
                break;
        }

        return true;
    }

    // Tags: 0 valid, 1 zero, 2 special, 3 empty.
    private static ulong FullTags(byte* area)
    {
        int top = (*(ushort*)(area + 2) >> 11) & 7;
        ulong tags = 0;
        for (int physical = 0; physical < 8; physical++)
        {
            ulong tag = 3;
            if ((area[4] & (1 << physical)) != 0)
            {
                byte* st = area + 32 + (16 * ((physical - top) & 7));
                ulong mantissa = *(ulong*)st;
                int exponent = *(ushort*)(st + 8) & 0x7FFF;
                tag = exponent == 0 && mantissa == 0 ? 1u : exponent is 0 or 0x7FFF || mantissa >> 63 == 0 ? 2u : 0u;
            }

            tags |= tag << (2 * physical);
        }

        return tags;
    }
}
