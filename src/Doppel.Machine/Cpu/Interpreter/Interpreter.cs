using Doppel.Machine.Cpu.Debugging;
using Doppel.Machine.Cpu.Events;
using Doppel.Machine.Cpu.HostInstructions;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Statistics;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>
/// The engine that defines the architecture: it decodes each instruction once, keeps it by physical page, and calls one
/// handler an instruction. It is the oracle for the other engines. Belongs to its vCPU's thread.
/// </summary>
/// <remarks>
/// <see cref="CpuState.Rip"/> is exact between blocks; inside one it follows from the current operation. Whatever asks
/// for exactness after each instruction (RFLAGS.TF and RF, breakpoints, tracing, an interrupt shadow, the end of the budget)
/// makes the engine go one instruction at a time.
/// </remarks>
public sealed unsafe class Interpreter : IExecutionEngine
{
    /// <summary>Host memory for decoded instructions when nothing else is asked for.</summary>
    public const ulong DefaultCodeBytes = 64UL << 20;

    private const int BlocksPerRound = 4096;
    private const InterruptShadow OneInstruction = InterruptShadow.Sti | InterruptShadow.MovSs;

    private readonly CpuState* _s;
    private readonly CodeCache _code;
    private readonly OpBuilder _builder;
    private readonly BlockDecoder _decoder;
    private readonly SingleStepCache _single;
    private readonly WideCompareExchange _wide = new();
    private DecodedOp* _current;
    private ulong _pagePhysical;
    private CodeMode _mode;
    private readonly bool _isDeterministic;
    private ulong _limit;
    private DebugControl? _debug;
    private bool _stepsForDebugger;

    /// <summary>Creates the engine for a vCPU.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="codeBytes">Most host memory for decoded instructions, 1 MiB or more; when it is used up, all are dropped.</param>
    public Interpreter(VirtualCpu cpu, ulong codeBytes = DefaultCodeBytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(codeBytes, 1UL << 20);
        Cpu = cpu;
        _s = cpu.State;
        _isDeterministic = cpu.Clock.IsDeterministic;
        Host = new HostInstructionExecutor(cpu);
        _code = new CodeCache(cpu, codeBytes);
        _builder = new OpBuilder(cpu, Host);
        _decoder = new BlockDecoder(_builder, cpu.Model.DecoderOptions);
        _single = new SingleStepCache(cpu, _decoder);
        cpu.InFlightSource = () => _current == null ? 0u : _current->Position;
        cpu.IsInBlock = () => _current != null && !_stepsForDebugger;
    }

    /// <inheritdoc/>
    public string Name => "interpreter";

    /// <summary>Instructions decoded so far (an instruction in several blocks counts in each).</summary>
    public ulong InstructionsDecoded => _code.Decoded;

    /// <summary>Pages of decoded code that were dropped because their bytes were overwritten.</summary>
    public ulong CodeInvalidations => _code.Invalidations;

    internal VirtualCpu Cpu { get; }

    internal HostInstructionExecutor Host { get; }

    /// <summary>Branches are chained only while fewer instructions than this have retired.</summary>
    internal ulong ChainLimit { get; private set; }

    /// <summary>True when a repeated string instruction must return after each iteration.</summary>
    internal bool SingleIteration { get; private set; }

    /// <summary>Set by POPF and IRET: they are followed by a single-step trap even when they clear TF.</summary>
    internal bool LoadedFlags { get; set; }

    /// <inheritdoc/>
    public ExitReason Run(ulong maximumInstructions)
    {
        _code.TakeOwnership();
        ulong retired = _s->InstructionsRetired;
        _limit = maximumInstructions > ulong.MaxValue - retired ? ulong.MaxValue : retired + maximumInstructions;
        ChainLimit = _limit > BlockDecoder.MaximumBlock ? _limit - BlockDecoder.MaximumBlock : 0;
        // What a debugger wants changes only between two calls; without one nothing below costs anything.
        _debug = Cpu.Debug is { IsActive: true } debug ? debug : null;
        _stepsForDebugger = false;
        if (_debug is { IsStepping: true })
            ChainLimit = 0;
        bool isWatched = false;
        while (true)
        {
            try
            {
                ExitReason? reason = isWatched ? StepForDebugger(_debug!, singleIteration: true) : RunBlocks();
                isWatched = false;
                if (reason is { } exit)
                    return exit;
            }
            catch (GuestFault fault)
            {
                isWatched = fault.IsWatchedAccess;
                Recover(fault);
                if (_debug is not null && !isWatched && StopsForDebugger(_debug))
                    return ExitReason.Debug;
            }
        }
    }

    /// <summary>
    /// Executes one instruction (or delivers its fault) for an engine that translates the rest. Nothing may be pending,
    /// and nothing may ask for stepping.
    /// </summary>
    public void ExecuteNext()
    {
        _code.TakeOwnership();
        _current = null;
        try
        {
            ExecuteFirst(_s);
        }
        catch (GuestFault fault)
        {
            Recover(fault);
        }
    }

    /// <summary>Drops all decoded code, because the guest may have written over it where no notice is given. Not while it runs.</summary>
    public void Forget()
    {
        _current = null;
        _code.Clear();
        _single.Clear();
    }

    /// <inheritdoc/>
    public EngineStatistics GetStatistics() => Cpu.GetStatistics() with
    {
        BlocksTranslated = _code.Blocks,
        InstructionsTranslated = _code.Decoded,
        BlocksEvicted = _code.Evicted,
        PagesOverwritten = _code.Invalidations,
    };

    /// <summary>
    /// Executes instructions up to the next branch (or delivers the fault of one) for an engine that translates what is
    /// executed often. Nothing may be pending, and nothing may ask for stepping.
    /// </summary>
    public void ExecuteBlock()
    {
        _code.TakeOwnership();
        _current = null;
        _limit = ulong.MaxValue;
        ChainLimit = 0;
        try
        {
            DecodedOp* op = FindBlock(_s);
            if (op == null)
            {
                Step();
                return;
            }

            do
            {
                _current = op;
                op = op->Handler(_s, op, this);
            }
            while (op != null);
            _current = null;
        }
        catch (GuestFault fault)
        {
            Recover(fault);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _code.Dispose();
        Host.Dispose();
        _wide.Dispose();
        _single.Dispose();
    }

    /// <summary>Offset in CS of an operation of the current page.</summary>
    internal ulong RipOf(DecodedOp* op)
    {
        ulong rip = _s->CodePage + op->PageOffset;
        return _mode == CodeMode.Code64 ? rip : (uint)rip;
    }

    /// <summary>Offset in CS of the instruction after an operation.</summary>
    internal ulong NextRip(DecodedOp* op)
    {
        ulong rip = _s->CodePage + op->PageOffset + op->Length;
        return _mode == CodeMode.Code64 ? rip : (uint)rip;
    }

    /// <summary>Before code shared by all engines: RIP is the next instruction.</summary>
    internal void EnterSystem(DecodedOp* op)
    {
        _s->Rip = NextRip(op);
    }

    /// <summary>After an instruction that may have changed RIP or the mode: leaves the block.</summary>
    internal DecodedOp* LeaveSystem(DecodedOp* op)
    {
        _s->InstructionsRetired += op->Position + 1u;
        return null;
    }

    /// <summary>Goes on, or leaves the block when something must be looked at before the next instruction.</summary>
    internal DecodedOp* ContinueOrLeave(DecodedOp* op)
    {
        if (!_s->HasWork && (_s->FlagSystem & CpuFlags.Tf) == 0)
            return op + 1;
        _s->Rip = NextRip(op);
        return LeaveSystem(op);
    }

    /// <summary>
    /// Leaves the block between two elements of a repeated string instruction, which comes next again. RF stays set until
    /// its last element, so that its own breakpoint is not hit once more (Intel SDM vol. 3, 18.3.1.1).
    /// </summary>
    internal DecodedOp* LeaveBefore(DecodedOp* op)
    {
        _s->Rip = RipOf(op);
        _s->FlagSystem |= CpuFlags.Rf;
        _s->InstructionsRetired += op->Position;
        return null;
    }

    /// <summary>After a segment register was loaded: SS holds off interrupts for one instruction (LSS does not).</summary>
    internal DecodedOp* AfterSegmentLoad(DecodedOp* op, Segment segment, bool shadow = true)
    {
        if (segment != Segment.Ss)
            return op + 1;
        if (shadow)
            _s->Shadow |= InterruptShadow.MovSs;
        return LeaveSystem(op);
    }

    /// <summary>The operation at a target in the page of a branch, or null when the branch cannot be chained.</summary>
    internal DecodedOp* ResolveInPage(DecodedOp* op, ulong target)
    {
        ulong offset = target - _s->CodePage;
        if (_mode is not (CodeMode.Code64 or CodeMode.Flat32) || offset >= 4096 || _single.Owns(op) || _code.IsFull)
            return null;
        CodePage* page = _code.Find(_pagePhysical);
        DecodedOp* found = page == null ? null : _code.Find(page, _mode, (int)offset);
        return found != null ? found : _code.Add(_pagePhysical, _mode, (int)offset, _decoder);
    }

    internal UInt128 CompareExchange16(byte* p, UInt128 value, UInt128 expected) => _wide.Exchange(p, value, expected);

    internal ulong NextRandom() => Cpu.NextRandom();

    private ExitReason? RunBlocks()
    {
        CpuState* s = _s;
        for (int i = 0; i < BlocksPerRound; i++)
        {
            _current = null;
            if (s->HasWork && Service() is { } reason)
                return reason;
            if (MustStep(s))
            {
                if (s->InstructionsRetired >= _limit)
                    return ExitReason.Budget;
                if (StepAlone() is { } stop)
                    return stop;
                continue;
            }

            DecodedOp* op = FindBlock(s);
            if (op == null)
            {
                if (StepAlone() is { } stop)
                    return stop;
                continue;
            }

            if (_isDeterministic)
            {
                ExecutePrecisely(s, op);
                continue;
            }

            do
            {
                _current = op;
                op = op->Handler(s, op, this);
            }
            while (op != null);
        }

        return null;
    }

    // With deterministic time an event is seen right after the instruction that raised it, on every engine.
    private void ExecutePrecisely(CpuState* s, DecodedOp* op)
    {
        do
        {
            _current = op;
            op = op->Handler(s, op, this);
        }
        while (op != null && s->PendingEvents == 0);
        if (op != null)
            _ = LeaveBefore(op);
    }

    private void ExecuteFirst(CpuState* s)
    {
        DecodedOp* op = FindBlock(s);
        if (op == null)
        {
            Step();
            return;
        }

        ulong interruptFlag = s->FlagSystem & CpuFlags.If;
        _current = op;
        DecodedOp* next = op->Handler(s, op, this);
        _current = null;
        if (next == op + 1)
        {
            s->Rip = NextRip(op);
            s->InstructionsRetired++;
            // STI leaves out its shadow when the next instruction follows at once; here it does not.
            if (interruptFlag == 0 && (s->FlagSystem & CpuFlags.If) != 0)
                s->Shadow |= InterruptShadow.Sti;
        }
        else if (next != null)
        {
            s->Rip = RipOf(next);
        }
    }

    private bool MustStep(CpuState* s) =>
        (s->FlagSystem & (CpuFlags.Tf | CpuFlags.Rf)) != 0 ||
        (s->Shadow & OneInstruction) != 0 ||
        (s->Dr[7] & 0xFF) != 0 ||
        s->InstructionsRetired >= ChainLimit ||
        Cpu.Trace is { WantsInstructions: true };

    /// <summary>The block at RIP, decoded now if need be; null when the instruction must be executed alone.</summary>
    private DecodedOp* FindBlock(CpuState* s)
    {
        ulong linear = CodeAddress(s, out CodeMode mode);
        if (_debug is not null && _debug.Breakpoints.HasCodeOnPage(linear))
            return null;
        TlbEntry* entry = TlbEntry.Of(s->Tlb, linear);
        ulong physical;
        if (entry->ExecuteTag + linear < 4096)
        {
            physical = linear + entry->Addend - (ulong)s->Ram;
        }
        else
        {
            physical = Cpu.Tlb.Translate(linear, AccessKind.Execute);
            // Another vCPU may have written this page of code and then mapped it here since events were looked at.
            _code.ApplyForeignWrites();
            if (!Cpu.Physical.IsPlainMemory(physical))
                return null;
        }

        int offset = (int)(linear & 0xFFF);
        s->CodePage = s->Rip - (uint)offset;
        _mode = mode;
        _pagePhysical = physical & ~0xFFFUL;
        CodePage* page = _code.Find(_pagePhysical);
        if (page != null)
        {
            DecodedOp* op = _code.Find(page, mode, offset);
            if (op != null)
                return FitsLimit(s, mode) ? op : null;
        }

        if (_code.IsFull || Host.IsFull)
        {
            _code.Clear();
            _single.Clear();
            Host.Clear();
        }

        DecodedOp* added = _code.Add(_pagePhysical, mode, offset, _decoder);
        return FitsLimit(s, mode) ? added : null;
    }

    // A block is at most 64 instructions of 15 bytes: near the limit of CS instructions are checked one by one.
    private static bool FitsLimit(CpuState* s, CodeMode mode) =>
        mode is CodeMode.Code64 or CodeMode.Flat32 || s->Rip + (BlockDecoder.MaximumBlock * 15) <= s->Cs.Limit;

    /// <summary>The linear address of RIP and how code is decoded there; #GP when RIP is not a valid code address.</summary>
    private ulong CodeAddress(CpuState* s, out CodeMode mode)
    {
        if (s->Is64Bit)
        {
            mode = CodeMode.Code64;
            if (!LinearMemory.IsCanonical(s->Rip))
                throw Cpu.GeneralProtection();
            return s->Rip;
        }

        if (s->Rip > s->Cs.Limit)
            throw Cpu.GeneralProtection();
        if ((s->Cs.Attributes & SegmentAttributes.Big) == 0)
            mode = CodeMode.Code16;
        else
            mode = s->Cs.Base == 0 && s->Cs.Limit == uint.MaxValue ? CodeMode.Flat32 : CodeMode.Code32;
        return (uint)(s->Cs.Base + s->Rip);
    }

    private ExitReason? StepAlone()
    {
        if (_debug is not null)
            return StepForDebugger(_debug, _debug.IsStepping);
        Step();
        return null;
    }

    /// <summary>Executes one instruction unless the debugger stops at it; says whether it stops after it.</summary>
    private ExitReason? StepForDebugger(DebugControl debug, bool singleIteration)
    {
        if (debug.StopsAt(Cpu, CodeAddress(_s, out _)))
            return ExitReason.Debug;
        _stepsForDebugger = true;
        Step(singleIteration);
        _stepsForDebugger = false;
        return StopsForDebugger(debug) ? ExitReason.Debug : null;
    }

    private bool StopsForDebugger(DebugControl debug) =>
        _s->Activity != ActivityState.Shutdown && debug.StopsAfter(Cpu, _s->Cs.Base + _s->Rip);

    /// <summary>Executes exactly one instruction (or one iteration under RFLAGS.TF), with breakpoints, traps and tracing.</summary>
    private void Step(bool singleIteration = false)
    {
        CpuState* s = _s;
        bool trapFlag = (s->FlagSystem & CpuFlags.Tf) != 0;
        ulong linear = CodeAddress(s, out CodeMode mode);
        CheckInstructionBreakpoint(s, linear);
        Cpu.Trace?.Instruction(Cpu);
        s->CodePage = s->Rip - (linear & 0xFFF);
        _mode = mode;
        DecodedOp* op = _single.Fetch(linear, mode);
        if (mode is CodeMode.Code16 or CodeMode.Code32 && s->Rip + op->Length - 1 > s->Cs.Limit)
            throw Cpu.GeneralProtection();
        s->Shadow &= ~OneInstruction;
        s->FlagSystem &= ~CpuFlags.Rf;
        SingleIteration = trapFlag || singleIteration;
        LoadedFlags = false;
        _current = op;
        DecodedOp* next = op->Handler(s, op, this);
        SingleIteration = false;
        if (next != null)
        {
            s->Rip = NextRip(op);
            s->InstructionsRetired++;
        }

        // The instruction is complete: a trap below must see RIP as it is now.
        _current = null;
        RaiseTraps(s, trapFlag);
    }

    private void RaiseTraps(CpuState* s, bool trapFlag)
    {
        ulong status = Cpu.TakePendingDebug();
        // An interrupt gate and SYSCALL clear TF and with it the trap; POPF and IRET are still followed by theirs.
        bool keepsTrap = (s->FlagSystem & CpuFlags.Tf) != 0 || LoadedFlags;
        if (trapFlag && keepsTrap)
            status |= 1 << 14;
        if (status == 0)
            return;
        if ((s->Shadow & InterruptShadow.MovSs) != 0)
        {
            // Data breakpoints wait for the next instruction; the single-step trap of this boundary is lost.
            Cpu.AddPendingDebug(status & 0xF);
            return;
        }

        throw Cpu.DebugException(status, isTrap: true);
    }

    private void CheckInstructionBreakpoint(CpuState* s, ulong linear)
    {
        if ((s->Dr[7] & 0xFF) == 0 || (s->FlagSystem & CpuFlags.Rf) != 0 || (s->Shadow & InterruptShadow.MovSs) != 0)
            return;
        ulong status = System.DebugRegisters.MatchInstruction(Cpu, linear);
        if (status != 0)
            throw Cpu.DebugException(status, isTrap: false);
    }

    /// <summary>Delivers what an instruction or its fetch has thrown.</summary>
    private void Recover(GuestFault fault)
    {
        SingleIteration = false;
        _stepsForDebugger = false;
        if (_current != null && !fault.IsTrap)
        {
            _s->Rip = RipOf(_current);
            _s->InstructionsRetired += _current->Position;
            _ = Cpu.TakePendingDebug();
            _debug?.ForgetAccess();
        }

        _current = null;
        if (fault.IsWatchedAccess)
            return;
        EventDelivery.Deliver(Cpu, fault);
    }

    /// <summary>Looks at the pending events in the order of their priority (Intel SDM vol. 3, table 6-2).</summary>
    private ExitReason? Service()
    {
        CpuState* s = _s;
        Cpu.ReleaseInterrupt();
        var events = (PendingEvents)Volatile.Read(ref s->PendingEvents);
        if ((events & (PendingEvents.Kick | PendingEvents.Timer)) != 0)
        {
            Cpu.ClearSignal(PendingEvents.Kick | PendingEvents.Timer);
            return ExitReason.Kick;
        }

        if ((events & PendingEvents.Flush) != 0)
        {
            Cpu.Tlb.FlushIfRequested();
            _code.ApplyForeignWrites();
            Cpu.Physical.Rendezvous.SafePoint(Cpu);
            // What was signalled meanwhile comes first.
            return Service();
        }

        if ((events & PendingEvents.Smi) != 0)
            Cpu.ClearSignal(PendingEvents.Smi);
        if ((events & PendingEvents.Init) != 0)
        {
            Cpu.ClearSignal(PendingEvents.Init);
            Cpu.Init();
            Cpu.Apic.Init();
        }

        if ((events & PendingEvents.Sipi) != 0)
        {
            Cpu.ClearSignal(PendingEvents.Sipi);
            if (s->Activity == ActivityState.WaitForSipi)
                Cpu.StartUp(Cpu.Apic.SipiVector);
        }

        if (s->Activity == ActivityState.Shutdown)
            return ExitReason.Shutdown;
        if (s->Activity == ActivityState.WaitForSipi)
            return ExitReason.Halt;
        bool wasHalted = s->Activity == ActivityState.Halted;
        if (_debug is { HoldsInterrupts: true } && !wasHalted)
            return null;
        const PendingEvents Nmis = PendingEvents.Nmi | PendingEvents.NextNmi;
        // While one is handled, only one more is latched.
        if ((events & Nmis) == Nmis && (s->Shadow & InterruptShadow.NmiBlocked) != 0)
            Cpu.ClearSignal(PendingEvents.NextNmi);
        if ((events & Nmis) != 0 && (s->Shadow & (InterruptShadow.NmiBlocked | InterruptShadow.MovSs)) == 0)
        {
            Cpu.ClearSignal((events & PendingEvents.NextNmi) != 0 ? PendingEvents.NextNmi : PendingEvents.Nmi);
            EventDelivery.DeliverNmi(Cpu);
        }
        else if ((events & PendingEvents.Interrupt) != 0 && (s->FlagSystem & CpuFlags.If) == 0)
        {
            Cpu.HoldInterrupt();
        }
        else if ((events & PendingEvents.Interrupt) != 0 && (s->Shadow & OneInstruction) == 0)
        {
            // The controller sets the bit again while anything is left.
            Cpu.ClearSignal(PendingEvents.Interrupt);
            int vector = Cpu.Apic.Acknowledge();
            if (vector >= 0)
                EventDelivery.DeliverInterrupt(Cpu, vector);
        }

        return s->Activity switch
        {
            ActivityState.Halted => ExitReason.Halt,
            ActivityState.Shutdown => ExitReason.Shutdown,
            // A delivery may have pushed to watched memory; a step from HLT ends at the handler that woke it.
            _ when _debug is not null && (wasHalted ? StopsForDebugger(_debug) : _debug.Stop is not null) => ExitReason.Debug,
            _ => null,
        };
    }
}
