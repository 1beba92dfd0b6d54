using Doppel.Machine.Cpu;
using Iced.Intel;

namespace Doppel.Machine.Tests.Differential;

/// <summary>One instruction with the registers, flags and memory that it starts from.</summary>
internal sealed class TestCase
{
    /// <summary>The bytes of memory that are random before and compared after; their middle is a page boundary.</summary>
    internal const int WindowStart = 0x7800;
    internal const int WindowSize = 0x1000;

    internal required HostOracle Oracle { get; init; }

    internal required Random Random { get; init; }

    internal byte[] Code { get; set; } = [];

    internal Instruction Instruction { get; set; }

    internal byte[] Window { get; } = new byte[WindowSize];

    /// <summary>The XSAVE area, or empty when the instruction has nothing to do with it.</summary>
    internal byte[] Extended { get; set; } = [];

    internal OracleRegisters Registers;

    /// <summary>Linear address of the first byte that an explicit memory operand may have: the window less a margin.</summary>
    internal ulong RandomTarget => Oracle.Address + WindowStart + 0x400 + (ulong)(Random.Next(4) == 0 ? 0x3F0 + Random.Next(32) : Random.Next(WindowSize - 0x800));

    internal int OperandWidth => 8 * (Instruction.Op0Kind == OpKind.Memory ? Instruction.MemorySize.GetSize() : Instruction.Op0Register.GetSize());

    /// <summary>A value that is often an edge case.</summary>
    internal ulong RandomValue()
    {
        ulong value = (ulong)Random.NextInt64() ^ ((ulong)Random.NextInt64() << 1);
        return Random.Next(8) switch
        {
            0 => 0,
            1 => ulong.MaxValue,
            2 => 1UL << Random.Next(64),
            3 => (1UL << Random.Next(64)) - 1,
            4 => value & 0xFF,
            5 => (ulong)(long)(sbyte)value,
            _ => value,
        };
    }

    /// <summary>Fills registers, flags and memory at random.</summary>
    internal void Randomize()
    {
        for (int i = 0; i < 16; i++)
            Registers.Gpr[i] = RandomValue();
        Registers.Gpr[4] = RandomTarget & ~7UL;
        Registers.Flags = (CpuFlags.Status & (ulong)Random.Next()) | CpuFlags.Fixed | CpuFlags.If;
        Random.NextBytes(Window);
        for (int i = 0; i < 32; i++)
            Window.AsSpan(Random.Next(WindowSize - 16), 16).Fill((byte)(Random.Next(2) * 0xFF));
    }

    /// <summary>Chooses base and index so that the explicit memory operand lies in the window.</summary>
    /// <returns>False when this addressing form cannot reach it.</returns>
    internal bool PlaceMemoryOperand(ulong alignment = 1)
    {
        Register @base = Instruction.MemoryBase;
        Register index = Instruction.MemoryIndex;
        if (@base is Register.RIP or Register.EIP || (@base == Register.None && index == Register.None))
            return false;
        ulong scale = (ulong)Instruction.MemoryIndexScale;
        ulong target = RandomTarget & ~(alignment - 1);
        ulong offset = target - Instruction.MemoryDisplacement64;
        if (@base == index || @base == Register.None)
        {
            ulong factor = @base == Register.None ? scale : scale + 1;
            // 2, 4 and 8 lose the top bits, 3, 5 and 9 do not divide evenly: move the target a little.
            for (int i = 0; i < 64; i++, offset += alignment)
            {
                ulong value = (ulong)((long)offset / (long)factor);
                if (value * factor != offset)
                    continue;
                this[index] = value;
                return true;
            }

            return false;
        }

        if (index != Register.None)
            offset -= this[index] * scale;
        this[@base] = offset;
        return true;
    }

    /// <summary>A 64-bit register by its name.</summary>
    internal ulong this[Register register]
    {
        get => Registers.Gpr[register.GetFullRegister() - Register.RAX];
        set => Registers.Gpr[register.GetFullRegister() - Register.RAX] = value;
    }

    /// <summary>Linear address of the explicit memory operand.</summary>
    internal ulong EffectiveAddress()
    {
        ulong address = Instruction.MemoryDisplacement64;
        if (Instruction.MemoryBase != Register.None)
            address += this[Instruction.MemoryBase];
        if (Instruction.MemoryIndex != Register.None)
            address += this[Instruction.MemoryIndex] * (ulong)Instruction.MemoryIndexScale;
        return address;
    }

    /// <summary>The value of a register or memory operand before the instruction.</summary>
    internal ulong Operand(int number)
    {
        if (Instruction.GetOpKind(number) == OpKind.Memory)
        {
            int offset = (int)(EffectiveAddress() - Oracle.Address) - WindowStart;
            return Instruction.MemorySize.GetSize() switch
            {
                1 => Window[offset],
                2 => BitConverter.ToUInt16(Window, offset),
                4 => BitConverter.ToUInt32(Window, offset),
                _ => BitConverter.ToUInt64(Window, offset),
            };
        }

        Register register = Instruction.GetOpRegister(number);
        ulong value = this[register];
        return register.GetSize() switch
        {
            1 => register is >= Register.AH and <= Register.BH ? (value >> 8) & 0xFF : value & 0xFF,
            2 => value & 0xFFFF,
            4 => value & 0xFFFFFFFF,
            _ => value,
        };
    }
}
