using Iced.Intel;

namespace Doppel.Machine.Cpu.HostInstructions;

/// <summary>
/// Compiles a guest instruction into a stub: host code that loads the guest registers which the instruction uses,
/// executes it with its memory operand redirected, and stores what it wrote. The stub depends only on the encoding: the
/// state, the operand's address, the status flags and the MXCSR (or the x87 area) are arguments. Belongs to one thread.
/// </summary>
/// <remarks>
/// Arguments: RDI the <see cref="CpuState"/>, RSI the memory operand, RDX the RFLAGS to start with, RCX the MXCSR to run
/// with (all masked, flags clear) or the 512-byte FXSAVE area. Result: bits 0-15 the RFLAGS after, bits 32-37 the SIMD
/// exceptions raised, bit 63 set when one of them is unmasked in the guest's MXCSR, and then no register was stored.
/// </remarks>
internal sealed unsafe class HostInstructionCompiler : IDisposable
{
    /// <summary>Set in a stub's result when an unmasked SIMD exception was raised.</summary>
    internal const ulong Unmasked = 1UL << 63;

    private const int Rsp = 4;
    private const ulong StatusMask = CpuFlags.Status;
    private readonly StubAssembler _asm = new();
    private readonly StubCode _code = new();
    private readonly InstructionInfoFactory _info = new();
    private readonly int _xmmOffset;
    private readonly int _ymmOffset;
    private readonly int _mxcsrOffset;

    internal HostInstructionCompiler(CpuState* state)
    {
        if (((nuint)state & 63) != 0)
            throw new ArgumentException("the CPU state must be 64-byte aligned", nameof(state));
        int area = (int)(state->XsaveArea - (byte*)state);
        _xmmOffset = area + 160;
        _ymmOffset = area + 576;
        _mxcsrOffset = area + 24;
    }

    /// <summary>Bytes of stubs compiled so far.</summary>
    internal long CodeSize => _code.Size;

    /// <summary>Drops every stub.</summary>
    internal void Clear() => _code.Clear();

    public void Dispose() => _code.Dispose();

    /// <summary>Compiles the stub of a prepared instruction and sets its entry and what it needs.</summary>
    internal void Compile(PreparedHostInstruction prepared)
    {
        Instruction instruction = prepared.Instruction;
        bool isX87 = prepared.Kind is HostInstructionKind.X87 or HostInstructionKind.X87Load or HostInstructionKind.X87Store;
        bool hasMemory = Detach(ref instruction);
        Usage usage = Analyze(instruction);
        var plan = new Plan(usage.GprUsed);
        if ((usage.GprUsed & (1 << Rsp)) != 0)
            plan.RspAlias = Rename(ref instruction, ref plan);
        if (hasMemory)
            instruction.MemoryBase = Register.RAX + plan.Take(6, [8, 9, 10, 11, 0, 3, 5, 12, 13, 14, 15], out plan.Operand);
        _ = plan.Take(7, [8, 9, 10, 11, 0, 3, 5, 12, 13, 14, 15], out plan.State);
        _ = plan.Take(1, [8, 9, 10, 11, 0, 3, 5, 12, 13, 14, 15], out plan.Control);
        prepared.ReadsFlags = usage.LoadsFlags;
        prepared.WritesFlags = usage.WritesFlags;
        prepared.VectorsWritten = usage.VectorsWritten;
        _asm.Clear();
        Emit(prepared, instruction, usage, plan, isX87);
        prepared.Code = (delegate* unmanaged[SuppressGCTransition]<CpuState*, byte*, ulong, byte*, ulong>)_code.Publish(_asm.Code);
    }

    private void Emit(PreparedHostInstruction prepared, in Instruction instruction, in Usage usage, Plan plan, bool isX87)
    {
        int saved = plan.CalleeSaved;
        int temporary = plan.Temporary(avoidArguments: true);
        int second = plan.Temporary(avoidArguments: true);
        saved |= plan.CalleeSaved;
        for (int i = 0; i < 16; i++)
        {
            if ((saved & (1 << i)) != 0)
                _asm.Push(i);
        }

        if (usage.LoadsFlags)
            _asm.Push(2);
        if (plan.State != 7)
            _asm.Move(plan.State, 7);
        if (plan.Operand >= 0 && plan.Operand != 6)
            _asm.Move(plan.Operand, 6);
        if ((isX87 || prepared.UsesMxcsr) && plan.Control != 1)
            _asm.Move(plan.Control, 1);
        if (isX87)
            _asm.Group15(1, plan.Control, 0, wide: true);
        else
            LoadVectors(usage, plan.State, prepared.IsVex);
        if (!isX87 && prepared.UsesMxcsr)
        {
            _asm.Store32(plan.Control, Rsp, -32);
            _asm.Group15(2, Rsp, -32, wide: false);
        }

        for (int i = 0; i < 16; i++)
        {
            if ((usage.GprUsed & (1 << i)) != 0)
                _asm.Load64(plan.Host(i), plan.State, 8 * i);
        }

        if (usage.LoadsFlags)
            _asm.WriteByte(0x9D);
        _asm.Encode(instruction);
        if (usage.WritesFlags)
        {
            _asm.WriteByte(0x9C);
            _asm.Pop(temporary);
        }

        Finish(prepared, usage, plan, isX87, temporary, second);
        for (int i = 15; i >= 0; i--)
        {
            if ((saved & (1 << i)) != 0)
                _asm.Pop(i);
        }

        if (prepared.IsVex && (usage.VectorsUsed | usage.VectorsWritten) != 0)
            _asm.Bytes(0xC5, 0xF8, 0x77);
        _asm.WriteByte(0xC3);
    }

    // Stores the results, unless an unmasked SIMD exception forbids it, and composes the return value in RAX.
    private void Finish(PreparedHostInstruction prepared, in Usage usage, Plan plan, bool isX87, int flags, int raised)
    {
        int skip = 0;
        if (isX87)
        {
            _asm.Group15(0, plan.Control, 0, wide: true);
            _asm.CompareWord(plan.Control, 0x37F);
            // With the host's own control word nothing can be pending, and EMMS empties the stack in a fraction of
            // FNINIT's time. EMMS waits for pending exceptions, FNINIT does not: je emms; fninit; jmp end; emms.
            _asm.Bytes(0x74, 4, 0xDB, 0xE3, 0xEB, 2, 0x0F, 0x77);
            LoadDefaultMxcsr();
        }
        else if (prepared.UsesMxcsr)
        {
            _asm.Group15(3, Rsp, -32, wide: false);
            _asm.Load32(raised, Rsp, -32);
            _asm.Arithmetic32(4, raised, 0x3F);
            LoadDefaultMxcsr();
            _asm.Load32(plan.Control, plan.State, _mxcsrOffset);
            _asm.Shift(5, plan.Control, 7, wide: false);
            _asm.Arithmetic32(6, plan.Control, -1);
            _asm.Registers32(0x21, plan.Control, raised);
            _asm.Bytes(0x75, 0);
            skip = _asm.Length;
            _asm.Or32(raised, plan.State, _mxcsrOffset);
        }

        if (!isX87)
            StoreVectors(usage, plan.State, prepared.IsVex);
        for (int i = 0; i < 16; i++)
        {
            if ((usage.GprWritten & (1 << i)) != 0)
                _asm.Store64(plan.Host(i), plan.State, 8 * i);
        }

        if (usage.WritesFlags)
            _asm.Move(0, flags);
        else
            _asm.Registers32(0x31, 0, 0);
        if (skip == 0)
            return;

        // The common end jumps over the exceptional one: mov rax, raised; shl rax, 32; bts rax, 63.
        _asm.Bytes(0xEB, 0);
        int end = _asm.Length;
        _asm.Patch(skip - 1, checked((byte)(sbyte)(_asm.Length - skip)));
        _asm.Move(0, raised);
        _asm.Shift(4, 0, 32, wide: true);
        _asm.Bytes(0x48, 0x0F, 0xBA, 0xE8, 63);
        _asm.Patch(end - 1, (byte)(_asm.Length - end));
    }

    private void LoadDefaultMxcsr()
    {
        _asm.Bytes(0xC7, 0x44, 0x24, 0xE0);
        _asm.Word32(0x1F80);
        _asm.Group15(2, Rsp, -32, wide: false);
    }

    private void LoadVectors(in Usage usage, int state, bool isVex)
    {
        for (int i = 0; i < 16; i++)
        {
            if ((usage.VectorsUsed & (1u << i)) == 0)
                continue;
            if (!isVex)
            {
                _asm.LoadXmm(i, state, _xmmOffset + (16 * i));
                continue;
            }

            _asm.VexLoadXmm(i, state, _xmmOffset + (16 * i));
            if (usage.IsWide)
                _asm.VexLoadHigh(i, state, _ymmOffset + (16 * i));
        }
    }

    private void StoreVectors(in Usage usage, int state, bool isVex)
    {
        for (int i = 0; i < 16; i++)
        {
            if ((usage.VectorsWritten & (1u << i)) == 0)
                continue;
            if (!isVex)
            {
                _asm.StoreXmm(i, state, _xmmOffset + (16 * i));
                continue;
            }

            _asm.VexStoreXmm(i, state, _xmmOffset + (16 * i));
            _asm.VexStoreHigh(i, state, _ymmOffset + (16 * i));
        }
    }

    // Takes the addressing form away, so that base and index do not count as used registers.
    private static bool Detach(ref Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Memory)
                continue;
            instruction.MemoryBase = Register.None;
            instruction.MemoryIndex = Register.None;
            instruction.MemoryIndexScale = 1;
            instruction.MemoryDisplacement64 = 0;
            instruction.MemoryDisplSize = 0;
            instruction.SegmentPrefix = Register.None;
            return true;
        }

        return false;
    }

    private Usage Analyze(in Instruction instruction)
    {
        var usage = default(Usage);
        InstructionInfo info = _info.GetInfo(instruction);
        foreach (UsedRegister used in info.GetUsedRegisters())
        {
            Register register = used.Register;
            bool isWritten = used.Access is OpAccess.Write or OpAccess.CondWrite or OpAccess.ReadWrite or OpAccess.ReadCondWrite;
            if (register.IsGPR())
            {
                int number = register.GetFullRegister() - Register.RAX;
                usage.GprUsed |= 1 << number;
                if (isWritten)
                    usage.GprWritten |= 1 << number;
            }
            else if (register.IsVectorRegister())
            {
                int number = register.GetNumber();
                usage.VectorsUsed |= 1u << number;
                if (isWritten)
                    usage.VectorsWritten |= 1u << number;
            }
        }

        for (int i = 0; i < instruction.OpCount; i++)
            usage.IsWide |= instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsYMM();
        const RflagsBits Status = RflagsBits.OF | RflagsBits.SF | RflagsBits.ZF | RflagsBits.AF | RflagsBits.CF | RflagsBits.PF;
        RflagsBits modified = instruction.RflagsModified & Status;
        usage.WritesFlags = modified != 0;
        // A flag that is undefined may stay what it was: so TZCNT and LZCNT treat OF on AMD's processors.
        RflagsBits written = modified & ~instruction.RflagsUndefined;
        usage.LoadsFlags = (instruction.RflagsRead & Status) != 0 || (modified != 0 && written != Status);
        return usage;
    }

    // The host's RSP keeps its own stack, so an operand that names the guest's is given another register.
    private static int Rename(ref Instruction instruction, ref Plan plan)
    {
        // AH to BH cannot be named together with R8 to R15.
        bool hasHighByte = false;
        for (int i = 0; i < instruction.OpCount; i++)
            hasHighByte |= instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i) is >= Register.AH and <= Register.BH;
        _ = hasHighByte ? plan.Take(5, [3], out int alias) : plan.Take(8, [9, 10, 11, 3, 5, 12, 13, 14, 15], out alias);
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Register)
                continue;
            Register renamed = instruction.GetOpRegister(i) switch
            {
                Register.SPL => Register.AL + (alias < 4 ? alias : alias + 4),
                Register.SP => Register.AX + alias,
                Register.ESP => Register.EAX + alias,
                Register.RSP => Register.RAX + alias,
                Register other => other,
            };
            instruction.SetOpRegister(i, renamed);
        }

        return alias;
    }

    private struct Usage
    {
        internal int GprUsed;
        internal int GprWritten;
        internal uint VectorsUsed;
        internal uint VectorsWritten;
        internal bool IsWide;
        internal bool LoadsFlags;
        internal bool WritesFlags;
    }

    // Which host register plays which part. Guest registers other than RSP stay in the host register of their name.
    private struct Plan
    {
        private const int CalleeSavedMask = (1 << 3) | (1 << 5) | (0xF << 12);
        private int _taken;
        internal int State = -1;
        internal int Operand = -1;
        internal int Control = -1;
        internal int RspAlias = -1;

        internal Plan(int guestRegisters) => _taken = guestRegisters | (1 << Rsp);

        internal readonly int CalleeSaved => _taken & CalleeSavedMask;

        internal readonly int Host(int guest) => guest == Rsp ? RspAlias : guest;

        internal int Take(int preferred, ReadOnlySpan<int> others, out int register)
        {
            register = preferred;
            for (int i = 0; (_taken & (1 << register)) != 0; i++)
                register = others[i];
            _taken |= 1 << register;
            return register;
        }

        // RCX, RSI and RDI are no temporaries while they still carry arguments.
        internal int Temporary(bool avoidArguments) =>
            Take(avoidArguments ? 2 : 1, [11, 10, 9, 8, 0, 3, 5, 12, 13, 14, 15], out _);
    }
}
