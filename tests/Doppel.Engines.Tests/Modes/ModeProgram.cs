using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Tests.Differential;
using Iced.Intel;

namespace Doppel.Engines.Tests.Modes;

/// <summary>
/// Makes programs of random 16- or 32-bit instructions that go forward. Registers of addresses are loaded so that the
/// operand lies where memory is, or at an edge of a page or of its segment; their unused halves are random.
/// </summary>
internal sealed class ModeProgram(Random random, bool undefinedFlagsAgree)
{
    private readonly List<byte> _code = [];
    private readonly InstructionInfoFactory _info = new();
    private ModeSetup _setup = ModeSetup.All[0];

    /// <summary>Codes of all instructions made so far.</summary>
    internal HashSet<Code> Seen { get; } = [];

    internal byte[] Make(ModeSetup setup, int instructions)
    {
        _setup = setup;
        _code.Clear();
        for (int made = 0; made < instructions;)
        {
            int start = _code.Count;
            int distanceBytes = random.Next(10) == 0 ? AddForwardJump() : 0;
            int behind = _code.Count;
            if (!TryAdd())
            {
                _code.RemoveRange(start, _code.Count - start);
                continue;
            }

            SetDistance(behind, _code.Count - behind, distanceBytes);
            made++;
        }

        _code.Add(0xF4);
        return [.. _code];
    }

    /// <summary>A value that is often an edge case.</summary>
    internal uint Value()
    {
        uint value = (uint)random.NextInt64();
        return random.Next(6) switch
        {
            0 => (uint)random.Next(3) - 1,
            1 => 1u << random.Next(32),
            2 => (1u << random.Next(32)) - 1,
            3 => value & 0xFF,
            _ => value,
        };
    }

    private bool Is32 => _setup.Bits == 32;

    // A conditional, counted or plain jump or a call. Returns the bytes at its end that are its distance.
    private int AddForwardJump()
    {
        int kind = random.Next(8);
        if (kind is 4 or 5)
            Load(4, StackOffset());
        (byte[] opcode, int size) = kind switch
        {
            0 => ([(byte)(0xE0 + random.Next(4))], 1),
            1 => ([0x67, (byte)(0xE0 + random.Next(4))], 1),
            2 => ([0x0F, (byte)(0x80 + random.Next(16))], _setup.Bits / 8),
            3 => ([0xE9], _setup.Bits / 8),
            4 => ([0xE8], _setup.Bits / 8),
            5 when !Is32 => ([0x66, 0xE8], 4),
            _ => ((byte[])[(byte)(0x70 + random.Next(16))], 1),
        };
        _code.AddRange(opcode);
        _code.AddRange(new byte[size]);
        return size;
    }

    private void SetDistance(int behind, int distance, int size)
    {
        for (int i = 0; i < size; i++)
            _code[behind - size + i] = (byte)(distance >> (8 * i));
    }

    private bool TryAdd()
    {
        if (random.Next(14) == 0)
            return AddSpecial();
        byte[] bytes = Encode();
        var decoder = Iced.Intel.Decoder.Create(_setup.Bits, new ByteArrayCodeReader(bytes));
        Instruction instruction = decoder.Decode();
        if (instruction.IsInvalid || !IsWanted(instruction))
            return false;
        ConstantOffsets offsets = decoder.GetConstantOffsets(instruction);
        bytes = bytes[..instruction.Length];
        if (!Prepare(instruction, bytes, offsets))
            return false;
        _code.AddRange(bytes);
        Seen.Add(instruction.Code);
        if (UndefinedFlags.Of(instruction.Mnemonic, 40, 8) != 0 || IsBmi(instruction))
            DefineFlags();
        return true;
    }

    // Sequences that random bytes would hardly make.
    private bool AddSpecial()
    {
        byte[] other = random.Next(2) == 0 ? [] : [0x66];
        switch (random.Next(7))
        {
            case 6:
                // PUSHA or POPA, or both.
                Load(4, StackOffset());
                byte[][] all = [[.. other, 0x60], [.. other, 0x61], [.. other, 0x60, .. other, 0x61], [.. other, 0x60, 0x61]];
                _code.AddRange(all[random.Next(all.Length)]);
                return true;
            case 0:
                // PUSHF; POPF.
                Load(4, StackOffset());
                _code.AddRange([.. other, 0x9C, .. other, 0x9D]);
                return true;
            case 1:
                // PUSH of flags but TF, IF and NT; POPF.
                Load(4, StackOffset());
                int flags = random.Next(0x10000) & 0xCD5;
                _code.AddRange(Is32 ? [0x68, .. BitConverter.GetBytes(flags), 0x9D] : [0x68, .. BitConverter.GetBytes((ushort)flags), 0x9D]);
                return true;
            case 2:
                // A call to the next instruction, and a return from it over one byte.
                Load(4, StackOffset());
                _code.AddRange(Is32 ? [0xE8, 0, 0, 0, 0, 0x58, 0x05, 10, 0, 0, 0, 0x50, 0xC3, 0x90, 0x90] : [0xE8, 0, 0, 0x58, 0x05, 8, 0, 0x50, 0xC3, 0x90, 0x90]);
                return true;
            case 3 when _setup.Kind is ModeKind.Real or ModeKind.Virtual8086:
                // MOV AX, selector; MOV to a segment register, or by the stack.
                ushort selector = (ushort)((ModeSetup.DataStart + (uint)random.Next(0x1000)) >> 4);
                int segment = random.Next(3) switch { 0 => 4, 1 => 5, _ => 0 };
                _code.AddRange([0xB8, .. BitConverter.GetBytes(selector)]);
                if (random.Next(2) == 0)
                {
                    _code.AddRange([0x8E, (byte)(0xC0 | (segment << 3))]);
                    return true;
                }

                Load(4, StackOffset());
                _code.AddRange([0x50, .. segment switch { 4 => [0x0F, 0xA1], 5 => [0x0F, 0xA9], _ => (byte[])[0x07] }]);
                return true;
            case 3:
                // MOV AX, selector of the GDT or null; MOV to DS, ES, FS or GS, or by the stack.
                int index = random.Next(6) == 0 ? random.Next(12) : random.Next(4) * random.Next(2);
                int descriptor = random.Next(8) == 0 ? random.Next(4) : ModeGuest.FirstSelector + (8 * index) + (random.Next(3) == 0 ? random.Next(4) : _setup.Cpl);
                int target = random.Next(4) switch { 0 => 0, 1 => 3, 2 => 4, _ => 5 };
                _code.AddRange(Is32 ? [0xB8, .. BitConverter.GetBytes(descriptor)] : [0xB8, .. BitConverter.GetBytes((ushort)descriptor)]);
                if (random.Next(2) == 0)
                {
                    _code.AddRange([0x8E, (byte)(0xC0 | (target << 3))]);
                    return true;
                }

                Load(4, StackOffset());
                _code.AddRange([0x50, .. target switch { 0 => [0x07], 3 => [0x1F], 4 => [0x0F, 0xA1], _ => (byte[])[0x0F, 0xA9] }]);
                return true;
            case 4:
                _code.Add((byte)(random.Next(2) == 0 ? 0xFC : 0xFD));
                return true;
            default:
                // LAHF, SAHF, CMC.
                _code.AddRange(random.Next(3) switch { 0 => [0x9F], 1 => (byte[])[0x9E], _ => [0xF5] });
                return true;
        }
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
        if (random.Next(6) == 0)
            code.Add((byte)(random.Next(6) switch { 0 => 0x26, 1 => 0x2E, 2 => 0x36, 3 => 0x3E, 4 => 0x64, _ => 0x65 }));
        if (random.Next(6) == 0)
            code.Add(0x67);
        if (random.Next(8) == 0)
        {
            int map = 1 + random.Next(3);
            if (map == 1 && random.Next(2) == 0)
                code.AddRange([0xC5, (byte)(0xC0 | random.Next(64)), (byte)random.Next(256)]);
            else
                code.AddRange([0xC4, (byte)(0xC0 | (random.Next(2) << 5) | map), (byte)random.Next(256), (byte)random.Next(256)]);
        }
        else
        {
            if (random.Next(20) == 0)
                code.Add(0xF0);
            if (random.Next(3) == 0)
                code.Add(random.Next(3) != 0 ? (byte)0x66 : random.Next(2) == 0 ? (byte)0xF3 : (byte)0xF2);
            int map = random.Next(8) switch { < 5 => 0, < 7 => 1, _ => 2 + random.Next(2) };
            if (map != 0)
                code.Add(0x0F);
            if (map >= 2)
                code.Add((byte)(map == 2 ? 0x38 : 0x3A));
            code.Add((byte)random.Next(256));
        }

        code.Add((byte)random.Next(256));
        while (code.Count < 24)
            code.Add((byte)(random.Next(4) == 0 ? 0 : random.Next(256)));
        return [.. code];
    }

    private bool IsWanted(in Instruction instruction)
    {
        if (instruction.FlowControl != FlowControl.Next || instruction.IsPrivileged || instruction.IsVsib || !CpuModels.Version3.Allows(instruction))
            return false;
        if (instruction.Mnemonic is Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Enter or Mnemonic.Bound or Mnemonic.Arpl or
            Mnemonic.Lds or Mnemonic.Les or Mnemonic.Lfs or Mnemonic.Lgs or Mnemonic.Lss or Mnemonic.Lar or Mnemonic.Lsl or Mnemonic.Verr or Mnemonic.Verw or
            Mnemonic.Cpuid or Mnemonic.Rdtsc or Mnemonic.Rdtscp or Mnemonic.Rdrand or Mnemonic.Rdseed or Mnemonic.Rdpmc or Mnemonic.Salc or
            Mnemonic.Maskmovdqu or Mnemonic.Maskmovq or Mnemonic.Vmaskmovdqu or Mnemonic.In or Mnemonic.Out or
            Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd or Mnemonic.Outsb or Mnemonic.Outsw or Mnemonic.Outsd or
            Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr or Mnemonic.Sti or Mnemonic.Cli or Mnemonic.Wait or Mnemonic.Monitor or Mnemonic.Mwait or
            Mnemonic.Clflush or Mnemonic.Clflushopt or Mnemonic.Sgdt or Mnemonic.Sidt or Mnemonic.Sldt or Mnemonic.Str or Mnemonic.Smsw or Mnemonic.Xgetbv or
            Mnemonic.Fxrstor or Mnemonic.Fxrstor64 or Mnemonic.Xrstor or Mnemonic.Xrstor64 or Mnemonic.Fldenv or Mnemonic.Frstor or Mnemonic.Fldcw)
            return false;
        // Counts above the operand's width are undefined, and processors differ.
        if (instruction.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd && (instruction.Op1Register.GetSize() == 2))
            return false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && !IsPlain(instruction.GetOpRegister(i)) && !(i != 0 || instruction.Mnemonic == Mnemonic.Push))
                return false;
        }

        foreach (CpuidFeature feature in instruction.CpuidFeatures)
        {
            if (feature is CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU387 or CpuidFeature.XSAVE or CpuidFeature.FXSR or CpuidFeature.XSAVEOPT or CpuidFeature.XSAVEC)
                return false;
        }

        return true;
    }

    private static bool IsPlain(Register register) => register.IsGPR() || register.IsXMM() || register.IsYMM() || register.IsMM();

    private bool Prepare(in Instruction instruction, byte[] bytes, ConstantOffsets offsets)
    {
        if (instruction.IsStringInstruction)
        {
            Load(6, Offset(instruction.MemorySegment));
            Load(7, Offset(Register.ES));
            if (instruction.HasRepPrefix || instruction.HasRepnePrefix)
                Load(1, (uint)random.Next(40));
            return true;
        }

        if (instruction.Mnemonic == Mnemonic.Leave)
            Load(5, StackOffset());
        else if (instruction.IsStackInstruction && random.Next(3) != 0)
            Load(4, StackOffset());
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Memory && instruction.Mnemonic != Mnemonic.Lea && !PlaceOperand(instruction, bytes, offsets))
                return false;
        }

        return instruction.Mnemonic != Mnemonic.Xlatb;
    }

    private bool PlaceOperand(in Instruction instruction, byte[] bytes, ConstantOffsets offsets)
    {
        Register @base = instruction.MemoryBase, index = instruction.MemoryIndex;
        uint target = Offset(instruction.MemorySegment);
        if (@base == Register.None && index == Register.None)
            return PatchDisplacement(bytes, offsets, target);
        if (@base.GetFullRegister() == index.GetFullRegister())
            return false;
        uint scaled = 0;
        if (index != Register.None)
        {
            uint value = Value();
            Load(index.GetFullRegister() - Register.RAX, value);
            scaled = value * (uint)instruction.MemoryIndexScale;
        }

        if (@base == Register.None)
            return PatchDisplacement(bytes, offsets, target - scaled);
        uint need = target - scaled - (uint)instruction.MemoryDisplacement64;
        if (@base.GetSize() == 2)
            need = (need & 0xFFFF) | ((uint)random.Next(0x10000) << 16);
        Load(@base.GetFullRegister() - Register.RAX, need);
        return true;
    }

    private static bool PatchDisplacement(byte[] bytes, ConstantOffsets offsets, uint value)
    {
        if (offsets.DisplacementSize == 4)
            return BitConverter.TryWriteBytes(bytes.AsSpan((int)offsets.DisplacementOffset), value);
        return offsets.DisplacementSize == 2 && BitConverter.TryWriteBytes(bytes.AsSpan((int)offsets.DisplacementOffset), (ushort)value);
    }

    // Where memory is in the segment, or an edge of it.
    private uint Offset(Register segment)
    {
        uint alignment = random.Next(4) switch { 0 => 1u, 1 => 8, _ => 32 };
        if (segment == Register.SS)
            return (StackOffset() - 64) & ~(alignment - 1);
        if (segment is Register.FS or Register.GS)
            return (uint)random.Next(0x1800) & ~(alignment - 1);
        uint start = ModeSetup.DataStart - _setup.Data.Base;
        uint offset = random.Next(24) switch
        {
            0 => _setup.Data.Limit - (uint)random.Next(16),
            1 => _setup.Data.Limit + (uint)random.Next(16),
            2 => (uint)random.Next(4) - 4,
            3 or 4 => start + 0x1000 - (uint)random.Next(40),
            5 => start + (uint)random.Next(0x5000),
            _ => start + (uint)random.Next(0x1F00),
        };
        return offset & ~(alignment - 1);
    }

    private uint StackOffset()
    {
        uint offset = ModeSetup.StackMiddle - _setup.Stack.Base + (uint)(random.Next(3) == 0 ? random.Next(-12, 12) : 4 * random.Next(0x100));
        return _setup.StackBits == 16 ? (offset & 0xFFFF) | ((uint)random.Next(0x10000) << 16) : offset;
    }

    private void Load(int register, uint value)
    {
        if (!Is32)
            _code.Add(0x66);
        _code.Add((byte)(0xB8 | register));
        _code.AddRange(BitConverter.GetBytes(value));
    }
}
