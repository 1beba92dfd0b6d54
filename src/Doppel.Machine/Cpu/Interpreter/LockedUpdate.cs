using Doppel.Machine.Memory;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>
/// A locked read-modify-write of a memory operand: a compare-and-exchange loop on the host's memory, so that it is
/// atomic against other vCPUs. An operand that crosses a page or is not RAM is updated while all other vCPUs stand
/// between two instructions, and under the machine's I/O lock for the devices.
/// </summary>
internal unsafe ref struct LockedUpdate<TSize>
    where TSize : struct, IOperandSize
{
    private readonly Interpreter _v;
    private readonly byte* _host;
    private readonly ulong _address;
    private readonly ulong _physical;
    private readonly bool _isStack;

    /// <summary>Checks the right to write and reads the old value. Throws what a write throws.</summary>
    internal LockedUpdate(CpuState* s, DecodedOp* op, Interpreter v)
        : this(op, v, Operand.Linear(s, op, v, TSize.Bytes, write: true))
    {
    }

    /// <summary>The same at a linear address that was already computed.</summary>
    internal LockedUpdate(DecodedOp* op, Interpreter v, ulong address)
    {
        _v = v;
        _address = address;
        _isStack = op->Segment8 == Segment.Ss;
        _host = v.Cpu.Linear.HostPointerForUpdate(_address, TSize.Bytes, out _physical, _isStack);
        if (_host == null)
        {
            // In this order: a vCPU that must stop may be about to take the I/O lock.
            v.Cpu.Physical.Rendezvous.BeginExclusive(v.Cpu);
            v.Cpu.Physical.Mmio.Lock.Enter();
            try
            {
                Old = v.Cpu.Linear.ReadSlow(_address, TSize.Bytes, _isStack);
            }
            catch
            {
                Release();
                throw;
            }
        }
        else
        {
            Old = TSize.Load(_host);
        }
    }

    /// <summary>The value that the operand has, as far as is known.</summary>
    internal ulong Old { get; private set; }

    /// <summary>Stores if nobody changed the operand since; else takes the new <see cref="Old"/> and returns false.</summary>
    internal bool TryCommit(ulong value)
    {
        if (_host == null)
        {
            try
            {
                _v.Cpu.Linear.WriteSlow(_address, TSize.Bytes, value, _isStack);
            }
            finally
            {
                Release();
            }

            return true;
        }

        ulong seen = TSize.CompareExchange(_host, value, Old);
        if (seen == Old)
            return true;
        Old = seen;
        return false;
    }

    private readonly void Release()
    {
        _v.Cpu.Physical.Mmio.Lock.Exit();
        _v.Cpu.Physical.Rendezvous.EndExclusive(_v.Cpu);
    }

    /// <summary>Reports the write when something watches the page.</summary>
    internal readonly void Finish()
    {
        if (_host == null)
            return;
        GuestMemory memory = _v.Cpu.Physical.Memory;
        if ((memory.FlagsOf(_physical) & (PageFlags.Code | PageFlags.PageTable | PageFlags.Watched | PageFlags.Dirty)) != PageFlags.Dirty)
            memory.NoteWrite(_physical, TSize.Bytes);
    }
}
