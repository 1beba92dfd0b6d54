using Iced.Intel;

namespace Doppel.Machine.Cpu.HostInstructions;

/// <summary>
/// Emits the few host instructions that surround a guest's: moves between registers and memory, and the guest
/// instruction itself by way of Iced's encoder. Encodings: Intel SDM vol. 2. Writes into a fixed buffer; not thread-safe.
/// </summary>
public sealed class StubAssembler : CodeWriter
{
    private readonly byte[] _buffer = new byte[2048];
    private readonly Encoder _encoder;
    private int _length;

    /// <summary>Creates an empty assembler.</summary>
    public StubAssembler() => _encoder = Encoder.Create(64, this);

    /// <summary>What was emitted since the last <see cref="Clear"/>.</summary>
    public ReadOnlySpan<byte> Code => _buffer.AsSpan(0, _length);

    /// <summary>Bytes emitted so far.</summary>
    public int Length => _length;

    /// <summary>Starts a new stub.</summary>
    public void Clear() => _length = 0;

    /// <inheritdoc/>
    public override void WriteByte(byte value) => _buffer[_length++] = value;

    /// <summary>Emits bytes as they are.</summary>
    public void Bytes(params ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_buffer.AsSpan(_length));
        _length += bytes.Length;
    }

    /// <summary>Emits a 32-bit value.</summary>
    public void Word32(int value)
    {
        BitConverter.TryWriteBytes(_buffer.AsSpan(_length), value);
        _length += 4;
    }

    /// <summary>Emits a 64-bit value.</summary>
    public void Word64(ulong value)
    {
        BitConverter.TryWriteBytes(_buffer.AsSpan(_length), value);
        _length += 8;
    }

    /// <summary>Changes a byte emitted before, for example a jump's distance.</summary>
    public void Patch(int position, byte value) => _buffer[position] = value;

    /// <summary>Emits a guest instruction that was made to fit 64-bit mode.</summary>
    /// <param name="instruction">The instruction.</param>
    /// <param name="rip">The address it is for; matters only to RIP-relative operands.</param>
    /// <exception cref="ArgumentException">It has no encoding in 64-bit mode.</exception>
    public void Encode(in Instruction instruction, ulong rip = 0)
    {
        int start = _length;
        if (_encoder.TryEncode(instruction, rip, out _, out string? error))
            return;
        _length = start;
        throw new ArgumentException($"\"{instruction}\" ({instruction.Code}) has no 64-bit encoding: {error}", nameof(instruction));
    }

    /// <summary>push r64.</summary>
    public void Push(int register)
    {
        if (register >= 8)
            WriteByte(0x41);
        WriteByte((byte)(0x50 + (register & 7)));
    }

    /// <summary>pop r64.</summary>
    public void Pop(int register)
    {
        if (register >= 8)
            WriteByte(0x41);
        WriteByte((byte)(0x58 + (register & 7)));
    }

    /// <summary>mov r64, r64.</summary>
    public void Move(int destination, int source)
    {
        WriteByte((byte)(0x48 | (source >= 8 ? 4 : 0) | (destination >= 8 ? 1 : 0)));
        WriteByte(0x89);
        WriteByte((byte)(0xC0 | ((source & 7) << 3) | (destination & 7)));
    }

    /// <summary>mov r64, [base+displacement].</summary>
    public void Load64(int register, int @base, int displacement) => Memory(0x48, [0x8B], register, @base, displacement);

    /// <summary>mov [base+displacement], r64.</summary>
    public void Store64(int register, int @base, int displacement) => Memory(0x48, [0x89], register, @base, displacement);

    /// <summary>mov r32, [base+displacement].</summary>
    public void Load32(int register, int @base, int displacement) => Memory(0x40, [0x8B], register, @base, displacement);

    /// <summary>mov [base+displacement], r32.</summary>
    public void Store32(int register, int @base, int displacement) => Memory(0x40, [0x89], register, @base, displacement);

    /// <summary>or [base+displacement], r32.</summary>
    public void Or32(int register, int @base, int displacement) => Memory(0x40, [0x09], register, @base, displacement);

    /// <summary>movups xmm, [base+displacement].</summary>
    public void LoadXmm(int register, int @base, int displacement) => Memory(0x40, [0x0F, 0x10], register, @base, displacement);

    /// <summary>movups [base+displacement], xmm.</summary>
    public void StoreXmm(int register, int @base, int displacement) => Memory(0x40, [0x0F, 0x11], register, @base, displacement);

    /// <summary>vmovups xmm, [base+displacement], which zeroes the upper half.</summary>
    public void VexLoadXmm(int register, int @base, int displacement) =>
        Vex(map: 1, second: 0x78, 0x10, register, @base, displacement);

    /// <summary>vmovups [base+displacement], xmm.</summary>
    public void VexStoreXmm(int register, int @base, int displacement) =>
        Vex(map: 1, second: 0x78, 0x11, register, @base, displacement);

    /// <summary>vinsertf128 ymm, ymm, [base+displacement], 1.</summary>
    public void VexLoadHigh(int register, int @base, int displacement)
    {
        Vex(map: 3, second: (byte)(((~register & 15) << 3) | 5), 0x18, register, @base, displacement);
        WriteByte(1);
    }

    /// <summary>vextractf128 [base+displacement], ymm, 1.</summary>
    public void VexStoreHigh(int register, int @base, int displacement)
    {
        Vex(map: 3, second: 0x7D, 0x19, register, @base, displacement);
        WriteByte(1);
    }

    /// <summary>An instruction of group 15 (0F AE /n) on memory: fxsave64, fxrstor64, ldmxcsr, stmxcsr.</summary>
    public void Group15(int extension, int @base, int displacement, bool wide) =>
        Memory((byte)(wide ? 0x48 : 0x40), [0x0F, 0xAE], extension, @base, displacement);

    /// <summary>cmp word [base], imm16.</summary>
    public void CompareWord(int @base, ushort immediate)
    {
        WriteByte(0x66);
        Memory(0x40, [0x81], 7, @base, 0);
        Bytes((byte)immediate, (byte)(immediate >> 8));
    }

    /// <summary>An arithmetic instruction on r32 with a 32-bit immediate (81 /n).</summary>
    public void Arithmetic32(int extension, int register, int immediate)
    {
        if (register >= 8)
            WriteByte(0x41);
        Bytes(0x81, (byte)(0xC0 | (extension << 3) | (register & 7)));
        Word32(immediate);
    }

    /// <summary>An instruction with two 32-bit registers, "op rm, reg".</summary>
    public void Registers32(byte opcode, int rm, int reg)
    {
        byte rex = (byte)(0x40 | (reg >= 8 ? 4 : 0) | (rm >= 8 ? 1 : 0));
        if (rex != 0x40)
            WriteByte(rex);
        Bytes(opcode, (byte)(0xC0 | ((reg & 7) << 3) | (rm & 7)));
    }

    /// <summary>A shift of r32 (or r64) by an immediate (C1 /n).</summary>
    public void Shift(int extension, int register, byte count, bool wide)
    {
        byte rex = (byte)((wide ? 0x48 : 0x40) | (register >= 8 ? 1 : 0));
        if (rex != 0x40)
            WriteByte(rex);
        Bytes(0xC1, (byte)(0xC0 | (extension << 3) | (register & 7)), count);
    }

    private void Memory(byte rex, ReadOnlySpan<byte> opcode, int register, int @base, int displacement)
    {
        rex |= (byte)((register >= 8 ? 4 : 0) | (@base >= 8 ? 1 : 0));
        if (rex != 0x40)
            WriteByte(rex);
        Bytes(opcode);
        ModRm(register, @base, displacement);
    }

    private void Vex(int map, byte second, byte opcode, int register, int @base, int displacement)
    {
        Bytes(0xC4, (byte)((register >= 8 ? 0 : 0x80) | 0x40 | (@base >= 8 ? 0 : 0x20) | map), second, opcode);
        ModRm(register, @base, displacement);
    }

    private void ModRm(int register, int @base, int displacement)
    {
        bool isShort = displacement is >= -128 and <= 127;
        WriteByte((byte)((isShort ? 0x40 : 0x80) | ((register & 7) << 3) | (@base & 7)));
        if ((@base & 7) == 4)
            WriteByte(0x24);
        if (isShort)
            WriteByte((byte)displacement);
        else
            Word32(displacement);
    }
}
