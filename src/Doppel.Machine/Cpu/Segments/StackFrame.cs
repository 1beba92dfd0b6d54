namespace Doppel.Machine.Cpu.Segments;

/// <summary>
/// Pushes and pops on a stack without touching RSP until <see cref="Commit"/>, so that a fault half-way leaves the
/// registers alone. The stack is 16, 32 or 64 bits wide by SS.B and the mode (Intel SDM vol. 1, 6.2). Memory is accessed
/// at the privilege that is current at the time of the access. Throws #SS, #PF and #AC.
/// </summary>
public unsafe ref struct StackFrame
{
    private readonly VirtualCpu _cpu;
    private readonly ulong _base;
    private readonly ulong _mask;
    private readonly uint _limit;
    private readonly uint _faultCode;
    private readonly SegmentAttributes _attributes;

    private StackFrame(VirtualCpu cpu, ulong pointer)
    {
        _cpu = cpu;
        _mask = ulong.MaxValue;
        Pointer = pointer;
    }

    private StackFrame(VirtualCpu cpu, in SegmentRegister stack, ulong pointer, uint faultCode)
    {
        _cpu = cpu;
        _base = stack.Base;
        _limit = stack.Limit;
        _attributes = stack.Attributes;
        _mask = stack.Has(SegmentAttributes.Big) ? 0xFFFFFFFF : 0xFFFF;
        _faultCode = faultCode;
        Pointer = pointer & _mask;
    }

    /// <summary>The stack pointer, cut to the width of the stack.</summary>
    public ulong Pointer { readonly get; private set; }

    /// <summary>The stack in use: SS:SP, SS:ESP or RSP.</summary>
    public static StackFrame Current(VirtualCpu cpu)
    {
        CpuState* s = cpu.State;
        return s->Is64Bit ? new StackFrame(cpu, s->Gpr[4]) : new StackFrame(cpu, s->Ss, s->Gpr[4], 0);
    }

    /// <summary>A stack in a segment that is about to be loaded into SS.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="stack">The segment.</param>
    /// <param name="pointer">The stack pointer.</param>
    /// <param name="faultCode">Error code of #SS when a push leaves the limit: the new selector when the stack is switched.</param>
    public static StackFrame InSegment(VirtualCpu cpu, in SegmentRegister stack, ulong pointer, uint faultCode) =>
        new(cpu, stack, pointer, faultCode);

    /// <summary>A 64-bit stack.</summary>
    public static StackFrame Flat(VirtualCpu cpu, ulong pointer) => new(cpu, pointer);

    /// <summary>Pushes 2, 4 or 8 bytes.</summary>
    public void Push(int size, ulong value)
    {
        ulong pointer = (Pointer - (uint)size) & _mask;
        ulong address = Address(pointer, size);
        switch (size)
        {
            case 2:
                _cpu.Linear.Write(address, (ushort)value, isStack: true);
                break;
            case 4:
                _cpu.Linear.Write(address, (uint)value, isStack: true);
                break;
            default:
                _cpu.Linear.Write(address, value, isStack: true);
                break;
        }

        Pointer = pointer;
    }

    /// <summary>Pops 2, 4 or 8 bytes, zero-extended.</summary>
    public ulong Pop(int size)
    {
        ulong address = Address(Pointer, size);
        ulong value = size switch
        {
            2 => _cpu.Linear.Read<ushort>(address, isStack: true),
            4 => _cpu.Linear.Read<uint>(address, isStack: true),
            _ => _cpu.Linear.Read<ulong>(address, isStack: true),
        };
        Pointer = (Pointer + (uint)size) & _mask;
        return value;
    }

    /// <summary>Adds to the stack pointer, as RET n does.</summary>
    public void Skip(int bytes) => Pointer = (Pointer + (ulong)bytes) & _mask;

    /// <summary>Writes the stack pointer to RSP; a 16-bit stack leaves the upper part of ESP alone.</summary>
    public readonly void Commit() => SetPointer(_cpu.State, Pointer, _mask);

    /// <summary>Writes a stack pointer of a given width into RSP.</summary>
    internal static void SetPointer(CpuState* s, ulong pointer, ulong mask)
    {
        if (mask == 0xFFFF)
            s->Gpr[4] = (s->Gpr[4] & ~0xFFFFUL) | (pointer & 0xFFFF);
        else
            s->Gpr[4] = pointer & mask;
    }

    private readonly ulong Address(ulong pointer, int size)
    {
        if (_mask == ulong.MaxValue)
            return pointer;
        if ((_attributes & SegmentAttributes.Unusable) != 0 || !SegmentChecks.IsInside(_limit, _attributes, pointer, (uint)size))
            throw _cpu.Fault(ExceptionVector.StackFault, _faultCode);
        return (_base + pointer) & 0xFFFFFFFF;
    }
}
