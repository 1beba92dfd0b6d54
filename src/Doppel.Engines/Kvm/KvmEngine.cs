using System.Globalization;
using Doppel.Host.Kvm;
using Doppel.Host.Threads;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Debugging;
using Doppel.Machine.Cpu.Events;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Cpu.Statistics;
using Doppel.Machine.Cpu.System;

namespace Doppel.Engines.Kvm;

/// <summary>
/// Hardware-assisted execution by the kernel's KVM. What isn't memory, and MSRs of which this process has the truth, end here;
/// interrupts are taken from the machine's own controllers and handed to the kernel when the guest is ready for them. What
/// KVM can't do (an instruction that its emulator lacks, a closed A20 gate, a debugger's steps) the interpreter does.
/// Belongs to its vCPU's thread.
/// </summary>
/// <remarks>
/// The registers stay with the kernel from one <see cref="Run"/> to the next: <see cref="Settle"/> brings them back. A kick is
/// never lost: whoever signals sets <see cref="CpuState.PendingEvents"/> first and looks whether the vCPU is inside; the vCPU
/// says that it is inside before it looks at the events for the last time. A signal that arrives between that look and the
/// system call finds <see cref="KvmRun.ImmediateExit"/> set before it.
/// </remarks>
public sealed unsafe class KvmEngine : IExecutionEngine
{
    private const InterruptShadow OneInstruction = InterruptShadow.Sti | InterruptShadow.MovSs;

    // What the interpreter executes at once while KVM can't take over.
    private const ulong InterpretedStretch = 10_000;

    private readonly VirtualCpu _cpu;
    private readonly CpuState* _s;
    private readonly KvmMachine _machine;
    private readonly KvmVcpu _vcpu;
    private readonly KvmRun* _run;
    private readonly KvmCpuTransfer _transfer;
    private readonly KvmStatistics _statistics = new();
    private readonly Lock _kickLock = new();
    private readonly bool _hasTscOffset;
    private Interpreter? _interpreter;
    private int _thread;
    private int _managedThread;
    private int _isInside;
    private bool _isDisposed;
    private bool _isLoaded;
    private bool _isIncomplete;
    private bool _isReady;
    private bool _interruptFlag;
    private bool _hasRun;
    private ulong _tscOffset;
    private BreakpointSet _breakpointSet = BreakpointSet.Empty;
    private KvmBreakpoints? _breakpoints;

    /// <summary>Creates the engine of a vCPU.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="machine">The VM of its machine, which outlives the engine.</param>
    /// <exception cref="KvmException">KVM can't run it here.</exception>
    public KvmEngine(VirtualCpu cpu, KvmMachine machine)
    {
        ArgumentNullException.ThrowIfNull(cpu);
        ArgumentNullException.ThrowIfNull(machine);
        _cpu = cpu;
        _s = cpu.State;
        _machine = machine;
        _vcpu = machine.CreateVcpu(cpu);
        _run = _vcpu.State;
        _run->ValidRegisters = KvmRun.HasRegisters;
        _transfer = new KvmCpuTransfer(cpu, _vcpu, machine.KeepsSpecCtrl);
        _hasTscOffset = _vcpu.HasTscOffset;
        cpu.TscSource = null;
        cpu.Interrupter = Interrupt;
    }

    /// <inheritdoc/>
    public string Name => "kvm";

    /// <inheritdoc/>
    public ExitReason Run(ulong maximumInstructions)
    {
        if (_managedThread != Environment.CurrentManagedThreadId)
        {
            _thread = ThreadSignal.Prepare();
            _managedThread = Environment.CurrentManagedThreadId;
        }

        _machine.ThrowIfFailed();
        if (maximumInstructions != ulong.MaxValue || _cpu.Trace is not null || !PlaceBreakpoints())
        {
            Settle();
            return Interpreter.Run(maximumInstructions);
        }

        if (_breakpoints is not null)
        {
            // The first instruction may be one whose breakpoint is passed, or a halt whose end must be looked for.
            Settle();
            if (Interpret(1) is { } first)
                return first;
        }

        while (true)
        {
            if (_cpu.Physical.AddressMask != ulong.MaxValue || _cpu.Physical.HasWindowOverMemory)
            {
                // The kernel has no A20 gate, and shows no registers in place of memory.
                Settle();
                if (Interpret(InterpretedStretch) is { } interpreted)
                    return interpreted;
                continue;
            }

            _run->ImmediateExit = 0;
            _ = Interlocked.Exchange(ref _isInside, 1);
            if (Prepare() is { } reason)
            {
                Volatile.Write(ref _isInside, 0);
                _statistics.End();
                return reason;
            }

            _statistics.Enter();
            bool isWhole = _vcpu.Run();
            Volatile.Write(ref _isInside, 0);
            _statistics.Begin();
            AfterRun();
            if (!isWhole)
            {
                _isIncomplete = false;
                _statistics.Count(KvmExitKind.Kick);
            }
            else if (HandleExit() is { } exit)
            {
                _statistics.End();
                return exit;
            }
        }
    }

    /// <inheritdoc/>
    public void Settle()
    {
        if (!_isLoaded)
            return;
        Complete();
        KvmEvents events = _transfer.Store();
        long drift = _hasTscOffset ? _machine.GetDrift(_vcpu) : 0;
        // The guest's time must not go back under the next engine.
        if (drift > _machine.ToleratedTicks)
            _s->TscOffset += (ulong)drift;
        _isLoaded = false;
        _cpu.Tlb.FlushAll();
        _cpu.Tlb.SelectAddressSpace((_s->Cr4 & Cr4.Pcide) != 0 ? (int)(_s->Cr3 & 0xFFF) : 0, keep: false);
        _cpu.ModeChanged();
        Deliver(events);
    }

    /// <inheritdoc/>
    public EngineStatistics GetStatistics() => _cpu.GetStatistics() with { Entries = _statistics.Entries, Exits = _statistics.Exits };

    /// <inheritdoc/>
    public void Dispose()
    {
        _cpu.Interrupter = null;
        lock (_kickLock)
            _isDisposed = true;
        _interpreter?.Dispose();
        _vcpu.Dispose();
    }

    // What it has kept of the guest's code may have been overwritten without its notice.
    private Interpreter Interpreter
    {
        get
        {
            _interpreter ??= new Interpreter(_cpu);
            if (_hasRun)
                _interpreter.Forget();
            _hasRun = false;
            return _interpreter;
        }
    }

    /// <summary>Makes the thread leave the kernel. Any thread.</summary>
    private void Interrupt()
    {
        Interlocked.MemoryBarrier();
        // What this thread signals itself it sees before it enters.
        if (Volatile.Read(ref _isInside) == 0 || _managedThread == Environment.CurrentManagedThreadId)
            return;
        lock (_kickLock)
        {
            if (_isDisposed)
                return;
            Volatile.Write(ref _run->ImmediateExit, 1);
            ThreadSignal.Interrupt(_thread);
        }
    }

    /// <summary>Looks at what is pending and makes the kernel's part ready for the next entry.</summary>
    private ExitReason? Prepare()
    {
        CpuState* s = _s;
        if (s->HeldInterrupt != 0)
        {
            s->HeldInterrupt = 0;
            _cpu.Signal(PendingEvents.Interrupt);
        }

        var events = (PendingEvents)Volatile.Read(ref s->PendingEvents);
        while ((events & ~(PendingEvents.Interrupt | PendingEvents.Nmi | PendingEvents.NextNmi)) != 0)
        {
            if (Service(events) is { } kick)
                return kick;
            // Registers that were settled for it may have brought an event with them, and completing an instruction takes back
            // what a kick has set.
            events = (PendingEvents)Volatile.Read(ref s->PendingEvents);
        }

        if (s->Activity == ActivityState.Shutdown)
            return ExitReason.Shutdown;
        if (s->Activity == ActivityState.WaitForSipi)
            return ExitReason.Halt;
        if (!_isLoaded)
            Load();
        if (s->Activity == ActivityState.Halted)
        {
            bool wakes = (events & (PendingEvents.Nmi | PendingEvents.NextNmi)) != 0 || ((events & PendingEvents.Interrupt) != 0 && _interruptFlag);
            if (!wakes)
                return ExitReason.Halt;
            s->Activity = ActivityState.Running;
        }

        if ((events & (PendingEvents.Nmi | PendingEvents.NextNmi)) != 0)
        {
            _cpu.ClearSignal((events & PendingEvents.NextNmi) != 0 ? PendingEvents.NextNmi : PendingEvents.Nmi);
            s->InterruptsDelivered++;
            _vcpu.Nmi();
        }

        if ((events & PendingEvents.Interrupt) != 0 && _isReady)
            Inject();
        _run->RequestInterruptWindow = (Volatile.Read(ref s->PendingEvents) & (int)PendingEvents.Interrupt) != 0 ? (byte)1 : (byte)0;
        _run->Cr8 = _cpu.Apic.Cr8;
        return null;
    }

    private void Inject()
    {
        // The controller sets the bit again while anything is left.
        _cpu.ClearSignal(PendingEvents.Interrupt);
        int vector = _cpu.Apic.Acknowledge();
        if (vector < 0)
            return;
        _vcpu.Interrupt((byte)vector);
        _isReady = false;
        _s->InterruptsDelivered++;
    }

    private ExitReason? Service(PendingEvents events)
    {
        if ((events & (PendingEvents.Kick | PendingEvents.Timer)) != 0)
        {
            _cpu.ClearSignal(PendingEvents.Kick | PendingEvents.Timer);
            return ExitReason.Kick;
        }

        if ((events & PendingEvents.Flush) != 0)
        {
            _cpu.Tlb.FlushIfRequested();
            _cpu.Physical.Rendezvous.SafePoint(_cpu);
        }

        if ((events & PendingEvents.Smi) != 0)
            _cpu.ClearSignal(PendingEvents.Smi);
        if ((events & PendingEvents.Init) != 0)
        {
            Settle();
            _cpu.ClearSignal(PendingEvents.Init);
            _cpu.Init();
            _cpu.Apic.Init();
        }

        if ((events & PendingEvents.Sipi) != 0)
        {
            _cpu.ClearSignal(PendingEvents.Sipi);
            if (_s->Activity == ActivityState.WaitForSipi)
            {
                Settle();
                _cpu.StartUp(_cpu.Apic.SipiVector);
            }
        }

        return null;
    }

    private void Load()
    {
        _transfer.Load();
        LoadTime();
        _isLoaded = true;
        _isIncomplete = false;
        _hasRun = true;
        _interruptFlag = (_s->FlagSystem & CpuFlags.If) != 0;
        _isReady = _interruptFlag && (_s->Shadow & OneInstruction) == 0;
    }

    private void LoadTime()
    {
        if (_hasTscOffset)
        {
            ulong offset = _machine.GetTimeBase(_vcpu) + _s->TscOffset;
            if (offset != _tscOffset)
                _vcpu.TscOffset = offset;
            _tscOffset = offset;
            return;
        }

        // The kernel makes TSCs equal that are set to nearly the same at nearly the same time.
        Span<KvmMsr> msr = [new KvmMsr { Index = MsrIndex.Tsc, Data = _cpu.Clock.Tsc + _s->TscOffset }];
        _ = _vcpu.SetMsrs(msr);
    }

    private void AfterRun()
    {
        _s->Rip = _run->Registers.Rip;
        _s->Gpr[4] = _run->Registers.Rsp;
        _interruptFlag = _run->InterruptFlag != 0;
        _isReady = _run->ReadyForInterruptInjection != 0;
        byte priority = (byte)(_run->Cr8 & 15);
        if (priority != _cpu.Apic.Cr8)
            _cpu.Apic.Cr8 = priority;
    }

    private ExitReason? HandleExit()
    {
        switch (_run->ExitReason)
        {
            case KvmExit.Io:
                _statistics.Count(KvmExitKind.Port);
                AccessPorts();
                return null;
            case KvmExit.Mmio:
                _statistics.Count(KvmExitKind.Memory);
                AccessMemory();
                return null;
            case KvmExit.ReadMsr:
                _statistics.Count(KvmExitKind.Msr);
                ReadMsr();
                return null;
            case KvmExit.WriteMsr:
                _statistics.Count(KvmExitKind.Msr);
                WriteMsr();
                return null;
            case KvmExit.Halt:
                _statistics.Count(KvmExitKind.Halt);
                _s->Activity = ActivityState.Halted;
                return null;
            case KvmExit.InterruptWindow:
                _statistics.Count(KvmExitKind.Window);
                return null;
            case KvmExit.TaskPriority:
                _statistics.Count(KvmExitKind.TaskPriority);
                return null;
            case KvmExit.Signal:
                _statistics.Count(KvmExitKind.Kick);
                return null;
            case KvmExit.Debug:
                _statistics.Count(KvmExitKind.Debug);
                return StopForDebugger();
            case KvmExit.Shutdown:
                _statistics.Count(KvmExitKind.Shutdown);
                // AMD's processors lose the registers here; what was known of RIP at the last exit stays.
                _isLoaded = false;
                _s->Activity = ActivityState.Shutdown;
                return ExitReason.Shutdown;
            case KvmExit.InternalError when _run->InternalError.Kind == KvmInternalError.Emulation:
                _statistics.Count(KvmExitKind.Interpreted);
                Settle();
                return Interpret(1);
            case KvmExit.InternalError:
                throw new KvmException($"KVM reports internal error {_run->InternalError.Kind}{DataOf(_run)}");
            case KvmExit.FailEntry:
                throw new KvmException($"the processor refuses to enter the guest: hardware reason 0x{_run->HardwareReason:x}");
            default:
                throw new KvmException($"KVM stopped with exit {(uint)_run->ExitReason} ({_run->ExitReason}), hardware reason 0x{_run->HardwareReason:x}");
        }
    }

    /// <summary>Gives the debugger's breakpoints to the processor.</summary>
    /// <returns>False when it can't look for all that the debugger wants.</returns>
    private bool PlaceBreakpoints()
    {
        DebugControl? debug = _cpu.Debug;
        BreakpointSet set = debug is { IsActive: true } ? debug.Breakpoints : BreakpointSet.Empty;
        if (!ReferenceEquals(set, _breakpointSet))
        {
            _breakpointSet = set;
            KvmBreakpoints? placed = set.IsEmpty || !_machine.CanDebug ? null : KvmBreakpoints.TryPlace(set);
            if (placed is not null || _breakpoints is not null)
                _vcpu.Set(placed?.Describe() ?? default);
            _breakpoints = placed;
        }

        if (debug is not { IsActive: true })
            return true;
        // Its own breakpoints, which these would displace, the guest keeps.
        return !debug.IsStepping && _breakpoints is not null && (Settled->Dr[7] & 0xFF) == 0;
    }

    private ExitReason? StopForDebugger()
    {
        KvmDebugExit exit = _run->Debug;
        Settle();
        if (_breakpoints?.Find(exit.Dr6, _breakpointSet) is not var (breakpoint, address))
            return null;
        _cpu.Debug!.StopAt(_cpu, breakpoint, address);
        return ExitReason.Debug;
    }

    private CpuState* Settled
    {
        get
        {
            Settle();
            return _s;
        }
    }

    private ExitReason? Interpret(ulong instructions)
    {
        ExitReason reason = Interpreter.Run(instructions);
        return reason == ExitReason.Budget ? null : reason;
    }

    private void AccessPorts()
    {
        _isIncomplete = true;
        KvmIoExit io = _run->Io;
        byte* data = (byte*)_run + io.DataOffset;
        for (uint i = 0; i < io.Count; i++, data += io.Size)
        {
            if (io.Direction == KvmIoExit.Out)
                _cpu.Ports.Write(io.Port, io.Size, ReadValue(data, io.Size));
            else
                WriteValue(data, io.Size, _cpu.Ports.Read(io.Port, io.Size));
        }
    }

    private void AccessMemory()
    {
        _isIncomplete = true;
        ulong address = _run->Mmio.Address;
        byte* data = _run->Mmio.Data;
        // An access across two pages may come in pieces of any length.
        for (int left = (int)_run->Mmio.Length; left > 0;)
        {
            int size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
            if (_run->Mmio.IsWrite != 0)
                _cpu.Physical.Write(address, size, ReadValue(data, size));
            else
                WriteValue(data, size, _cpu.Physical.Read(address, size));
            address += (uint)size;
            data += size;
            left -= size;
        }
    }

    private void ReadMsr()
    {
        _isIncomplete = true;
        bool exists = Msrs.TryRead(_cpu, _run->Msr.Index, out ulong value);
        if (exists && _run->Msr.Index == MsrIndex.Tsc)
        {
            Span<KvmMsr> msr = [new KvmMsr { Index = MsrIndex.Tsc }];
            _ = _vcpu.GetMsrs(msr);
            value = msr[0].Data;
        }

        _run->Msr.Data = value;
        _run->Msr.Error = exists ? (byte)0 : (byte)1;
    }

    private void WriteMsr()
    {
        _isIncomplete = true;
        uint index = _run->Msr.Index;
        ulong value = _run->Msr.Data;
        // The deadline is in the guest's ticks, by which the machine's timers don't go.
        if (index == MsrIndex.TscDeadline && value != 0 && _hasTscOffset)
            value -= (ulong)_machine.GetDrift(_vcpu);
        ulong apicBase = _cpu.Apic.ApicBase;
        bool isTaken = Msrs.TryWrite(_cpu, index, value);
        _run->Msr.Error = isTaken ? (byte)0 : (byte)1;
        if (!isTaken)
            return;
        if (index is MsrIndex.Tsc or MsrIndex.TscAdjust)
            LoadTime();
        else if (_cpu.Apic.ApicBase != apicBase)
            Settle();
    }

    /// <summary>Lets the kernel finish the instruction for which it has left the guest, and nothing more.</summary>
    private void Complete()
    {
        while (_isIncomplete)
        {
            _run->ImmediateExit = 1;
            _isIncomplete = false;
            if (!_vcpu.Run())
                break;
            // The next piece of the same instruction.
            switch (_run->ExitReason)
            {
                case KvmExit.Io:
                    AccessPorts();
                    break;
                case KvmExit.Mmio:
                    AccessMemory();
                    break;
                case KvmExit.InternalError when _run->InternalError.Kind == KvmInternalError.Emulation:
                    break;
                default:
                    throw new KvmException($"KVM stopped with exit {(uint)_run->ExitReason} ({_run->ExitReason}) where it was to finish an instruction");
            }
        }

        _run->ImmediateExit = 0;
    }

    /// <summary>Delivers what the kernel was about to: an interrupt that was acknowledged, an exception on its way.</summary>
    private void Deliver(in KvmEvents events)
    {
        if (events.NmiPending != 0)
            _cpu.Signal(PendingEvents.Nmi);
        if (events.ExceptionInjected != 0 || events.ExceptionPending != 0)
        {
            var vector = (ExceptionVector)events.ExceptionNumber;
            // What an instruction raises on purpose, it raises again: RIP is still there.
            if (vector is ExceptionVector.Breakpoint or ExceptionVector.Overflow)
                return;
            uint code = events.ExceptionHasErrorCode != 0 ? events.ExceptionErrorCode : 0;
            GuestFault fault = vector switch
            {
                ExceptionVector.PageFault => _cpu.PageFault(_s->Cr2, code),
                ExceptionVector.Debug => _cpu.DebugException(_s->Dr[6] & 0xE00F, isTrap: true),
                _ => _cpu.Fault(vector, code),
            };
            EventDelivery.Deliver(_cpu, fault);
        }
        else if (events.NmiInjected != 0)
        {
            EventDelivery.DeliverNmi(_cpu);
        }
        else if (events.InterruptInjected != 0 && events.InterruptSoft == 0)
        {
            // A software interrupt is executed again instead: RIP is still there.
            EventDelivery.DeliverInterrupt(_cpu, events.InterruptNumber);
        }
    }

    private static ulong ReadValue(byte* data, int size) => size switch
    {
        1 => *data,
        2 => *(ushort*)data,
        4 => *(uint*)data,
        _ => *(ulong*)data,
    };

    private static void WriteValue(byte* data, int size, ulong value)
    {
        switch (size)
        {
            case 1:
                *data = (byte)value;
                break;
            case 2:
                *(ushort*)data = (ushort)value;
                break;
            case 4:
                *(uint*)data = (uint)value;
                break;
            default:
                *(ulong*)data = value;
                break;
        }
    }

    private static string DataOf(KvmRun* run)
    {
        uint count = Math.Min(run->InternalError.Count, 16);
        return count == 0 ? "" : " with " + string.Join(", ", Enumerable.Range(0, (int)count).Select(i => string.Create(CultureInfo.InvariantCulture, $"0x{run->InternalError.Data[i]:x}")));
    }
}
