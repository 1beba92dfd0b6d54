using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Tests.Differential;
using Iced.Intel;

namespace Doppel.Engines.Tests.Differential;

/// <summary>
/// Makes straight-line programs of random 64-bit instructions. Before an instruction with a memory operand, its base and
/// index are loaded so that the operand lies where memory is, or at the edge of an absent or a read-only page. After one
/// whose flags are partly undefined, a compare defines them, unless both engines are known to agree.
/// </summary>
internal sealed class RandomProgram(Random random, bool undefinedFlagsAgree)
{
    private readonly List<byte> _code = [];
    private readonly InstructionInfoFactory _info = new();
    private readonly HashSet<int> _placed = [];
    private ulong _address;

    /// <summary>Codes of all instructions made so far.</summary>
    internal HashSet<Code> Seen { get; } = [];

    internal byte[] Make(ulong address, int instructions)
    {
        _address = address;
        _code.Clear();
        _placed.Clear();
        for (int made = 0; made < instructions;)
        {
            int start = _code.Count;
            int jump = random.Next(12) == 0 ? start : -1;
            if (jump >= 0)
                _code.AddRange([(byte)(0x70 + random.Next(16)), 0]);
            if (!TryAdd())
            {
                _code.RemoveRange(start, _code.Count - start);
                continue;
            }

            // The branch leads over what was just made.
            if (jump >= 0)
                _code[jump + 1] = (byte)(_code.Count - jump - 2);
            made++;
        }

        _code.Add(0xF4);
        return [.. _code];
    }

    /// <summary>A value that is often an edge case.</summary>
    internal ulong Value()
    {
        ulong value = (ulong)random.NextInt64() ^ ((ulong)random.NextInt64() << 1);
        return random.Next(7) switch
        {
            0 => (ulong)random.Next(3) - 1,
            1 => 1UL << random.Next(64),
            2 => (1UL << random.Next(64)) - 1,
            3 => value & 0xFF,
            4 => BitConverter.DoubleToUInt64Bits((random.NextDouble() - 0.5) * Math.Pow(2, random.Next(-60, 60))),
            _ => value,
        };
    }

    private bool TryAdd()
    {
        byte[] bytes = Encode();
        var decoder = Iced.Intel.Decoder.Create(64, new ByteArrayCodeReader(bytes));
        Instruction instruction = decoder.Decode();
        if (instruction.IsInvalid || !IsWanted(instruction))
            return false;
        ConstantOffsets offsets = decoder.GetConstantOffsets(instruction);
        bytes = bytes[..instruction.Length];
        if (!Prepare(instruction, bytes, offsets))
            return false;
        _code.AddRange(bytes);
        Seen.Add(instruction.Code);
        foreach (UsedRegister used in _info.GetInfo(instruction).GetUsedRegisters())
        {
            bool isRead = used.Access is OpAccess.Read or OpAccess.CondRead or OpAccess.NoMemAccess;
            if (!isRead && used.Register.IsGPR() && !instruction.IsStackInstruction)
                _placed.Remove(used.Register.GetFullRegister() - Register.RAX);
        }

        if (UndefinedFlags.Of(instruction.Mnemonic, 40, 8) != 0 || IsBmi(instruction))
            DefineFlags();
        return true;
    }

    private static bool IsBmi(in Instruction instruction)
    {
        foreach (CpuidFeature feature in instruction.CpuidFeatures)
        {
            if (feature is CpuidFeature.BMI1 or CpuidFeature.BMI2)
                return true;
        }

        return false;
    }

    private void DefineFlags()
    {
        if (undefinedFlagsAgree && random.Next(3) != 0)
            return;
        _code.AddRange([0x3C, (byte)random.Next(256)]);
    }

    private byte[] Encode()
    {
        var code = new List<byte>(24);
        bool isVex = random.Next(6) == 0;
        if (random.Next(10) == 0)
            code.Add(random.Next(2) == 0 ? (byte)0x64 : (byte)0x65);
        if (isVex)
        {
            int map = 1 + random.Next(3);
            if (map == 1 && random.Next(2) == 0)
                code.AddRange([0xC5, (byte)random.Next(256), (byte)random.Next(256)]);
            else
                code.AddRange([0xC4, (byte)((random.Next(8) << 5) | map), (byte)random.Next(256), (byte)random.Next(256)]);
        }
        else
        {
            if (random.Next(20) == 0)
                code.Add(0xF0);
            if (random.Next(4) == 0)
                code.Add(random.Next(2) == 0 ? (byte)0x66 : random.Next(2) == 0 ? (byte)0xF3 : (byte)0xF2);
            if (random.Next(4) != 0)
                code.Add((byte)(0x40 + random.Next(16)));
            int map = random.Next(8) switch { < 4 => 0, < 6 => 1, 6 => 2, _ => 3 };
            if (map != 0)
                code.Add(0x0F);
            if (map >= 2)
                code.Add((byte)(map == 2 ? 0x38 : 0x3A));
            code.Add((byte)random.Next(256));
        }

        byte modRm = (byte)random.Next(256);
        code.Add(modRm);
        while (code.Count < 24)
            code.Add((byte)(random.Next(4) == 0 ? 0 : random.Next(256)));
        return [.. code];
    }

    private bool IsWanted(in Instruction instruction)
    {
        if (instruction.FlowControl != FlowControl.Next || instruction.IsPrivileged || instruction.IsVsib || !CpuModels.Version3.Allows(instruction))
            return false;
        if (instruction.Mnemonic is Mnemonic.Popfq or Mnemonic.Popf or Mnemonic.Pushfq or Mnemonic.Pushf or Mnemonic.Enter or Mnemonic.Xlatb or
            Mnemonic.Cpuid or Mnemonic.Rdtsc or Mnemonic.Rdtscp or Mnemonic.Rdrand or Mnemonic.Rdseed or Mnemonic.Rdpmc or
            Mnemonic.Maskmovdqu or Mnemonic.Maskmovq or Mnemonic.Vmaskmovdqu or Mnemonic.In or Mnemonic.Out or
            Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr or Mnemonic.Sti or Mnemonic.Cli or Mnemonic.Std or Mnemonic.Wait or Mnemonic.Monitor or Mnemonic.Mwait or
            Mnemonic.Clflush or Mnemonic.Clflushopt or Mnemonic.Sgdt or Mnemonic.Sidt or Mnemonic.Xgetbv or
            Mnemonic.Fxrstor or Mnemonic.Fxrstor64 or Mnemonic.Xrstor or Mnemonic.Xrstor64 or Mnemonic.Fldenv or Mnemonic.Frstor or Mnemonic.Fldcw)
            return false;
        // Counts above the operand's width are undefined, and processors differ.
        if (instruction.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd && (instruction.Op1Register.GetSize() == 2))
            return false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            OpKind kind = instruction.GetOpKind(i);
            if (kind is >= OpKind.MemorySegSI and <= OpKind.MemoryESRDI || (kind == OpKind.Register && !IsPlain(instruction.GetOpRegister(i))))
                return false;
        }

        foreach (CpuidFeature feature in instruction.CpuidFeatures)
        {
            if (feature is CpuidFeature.FPU or CpuidFeature.XSAVE or CpuidFeature.FXSR or CpuidFeature.XSAVEOPT or CpuidFeature.XSAVEC)
                return false;
        }

        return true;
    }

    private static bool IsPlain(Register register) => register.IsGPR() || register.IsXMM() || register.IsYMM() || register.IsMM();

    private bool Prepare(in Instruction instruction, byte[] bytes, ConstantOffsets offsets)
    {
        InstructionInfo info = _info.GetInfo(instruction);
        if (instruction.Mnemonic == Mnemonic.Leave)
            Load(5, StackAddress());
        else if (instruction.IsStackInstruction && !(_placed.Contains(4) && random.Next(4) != 0))
            Load(4, StackAddress());
        if (instruction.Mnemonic is Mnemonic.Div or Mnemonic.Idiv && random.Next(4) != 0)
        {
            if (random.Next(2) == 0)
                Load(2, 0);
            if (instruction.Op0Kind == OpKind.Register && instruction.Op0Register.GetFullRegister() != Register.RDX)
                Load(instruction.Op0Register.GetFullRegister() - Register.RAX, (ulong)random.Next(1, 100000));
        }

        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Memory && instruction.Mnemonic != Mnemonic.Lea && !PlaceOperand(instruction, bytes, offsets, info))
                return false;
        }

        return true;
    }

    private bool PlaceOperand(in Instruction instruction, byte[] bytes, ConstantOffsets offsets, InstructionInfo info)
    {
        if (instruction.MemoryBase is Register.EIP || instruction.MemoryBase.IsGPR32() || instruction.MemoryIndex.IsGPR32() || info.GetUsedMemory().GetEnumerator().MoveNext() is false)
            return instruction.Mnemonic == Mnemonic.Nop || instruction.Mnemonic.ToString().StartsWith("Prefetch", StringComparison.Ordinal);
        ulong target = Target();
        if (instruction.MemorySegment == Register.FS)
            target -= BlockGuest.FsBase;
        else if (instruction.MemorySegment == Register.GS)
            target -= BlockGuest.GsBase;
        Register @base = instruction.MemoryBase, index = instruction.MemoryIndex;
        if (@base == Register.RIP)
            return PatchDisplacement(bytes, offsets, target - (_address + (ulong)_code.Count + (ulong)bytes.Length));
        if (@base == Register.None && index == Register.None)
            return PatchDisplacement(bytes, offsets, target);
        if (@base == index)
            return false;
        // Accesses by a register that stays where it was, as to the fields of one structure.
        if (index == Register.None && _placed.Contains(@base - Register.RAX) && offsets.DisplacementSize is 1 or 4 && random.Next(3) != 0)
            return PatchSmall(bytes, offsets, random.Next(-64, 64));
        ulong scaled = 0;
        if (index != Register.None)
        {
            ulong value = @base == Register.None ? (ulong)random.Next(1000) : Value();
            Load(index - Register.RAX, value);
            scaled = value * (ulong)instruction.MemoryIndexScale;
        }

        if (@base == Register.None)
            return PatchDisplacement(bytes, offsets, target - scaled);
        Load(@base - Register.RAX, target - scaled - instruction.MemoryDisplacement64);
        return true;
    }

    private static bool PatchDisplacement(byte[] bytes, ConstantOffsets offsets, ulong value)
    {
        if (offsets.DisplacementSize == 8)
            return BitConverter.TryWriteBytes(bytes.AsSpan((int)offsets.DisplacementOffset), value);
        return offsets.DisplacementSize == 4 && (long)value == (int)value && BitConverter.TryWriteBytes(bytes.AsSpan((int)offsets.DisplacementOffset), (int)value);
    }

    private static bool PatchSmall(byte[] bytes, ConstantOffsets offsets, int value) => offsets.DisplacementSize == 1
        ? (bytes[offsets.DisplacementOffset] = (byte)value) == (byte)value
        : BitConverter.TryWriteBytes(bytes.AsSpan((int)offsets.DisplacementOffset), value);

    private ulong Target()
    {
        ulong alignment = random.Next(5) switch { 0 => 1, 1 => 8, 2 => 16, _ => 32 };
        ulong target = random.Next(20) switch
        {
            // The edges of the small pages: present, absent, present, read-only.
            0 => BlockGuest.SmallPages + (ulong)(0x1000 * random.Next(1, 5)) - (ulong)random.Next(64),
            1 => BlockGuest.SmallPages + (ulong)random.Next(0x4000),
            2 or 3 => BlockGuest.Data + 0x1000 - (ulong)random.Next(64),
            4 => 0x8000_0000_0000 - (ulong)random.Next(64),
            _ => BlockGuest.Data + (ulong)random.Next(0x1F00),
        };
        return target & ~(alignment - 1);
    }

    private ulong StackAddress() => BlockGuest.Stack + 0x800 + (ulong)(random.Next(3) == 0 ? 0x800 + random.Next(-12, 12) : 8 * random.Next(0x200));

    private void Load(int register, ulong value)
    {
        _placed.Add(register);
        _code.AddRange([(byte)(0x48 | (register >> 3)), (byte)(0xB8 | (register & 7))]);
        _code.AddRange(BitConverter.GetBytes(value));
    }
}
