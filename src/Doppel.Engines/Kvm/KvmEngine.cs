using System.Globalization;
using Doppel.Host.Kvm;
using Doppel.Host.Threads;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Debugging;
using Doppel.Machine.Cpu.Events;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Cpu.Statistics;

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
public sealed unsafe partial class KvmEngine : IExecutionEngine
{
    private const InterruptShadow OneInstruction = InterruptShadow.Sti | InterruptShadow.MovSs;

    // What the interpreter executes at once while KVM can't take over.
    private const ulong InterpretedStretch = 10_000;

    private readonly VirtualCpu _cpu;
    private readonly CpuState* _s;
    private readonly KvmMachine _machine;
    private readonly KvmCpu _kvm;
    private readonly KvmVcpu _vcpu;
    private readonly KvmLocalApics? _apics;
    private readonly KvmRun* _run;
    private readonly KvmCpuTransfer _transfer;
    private readonly KvmStatistics _statistics = new();
    private readonly Lock _kickLock = new();
    private Interpreter? _interpreter;
    private int _thread;
    private int _managedThread;
    private int _isInside;
    private bool _isDisposed;
    private bool _isIncomplete;
    private bool _isReady;
    private bool _interruptFlag;
    private bool _hasRun;
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
        _apics = machine.LocalApics;
        _kvm = machine.CreateVcpu(cpu);
        _vcpu = _kvm.Vcpu;
        _run = _vcpu.State;
        _run->ValidRegisters = KvmRun.HasRegisters;
        _transfer = new KvmCpuTransfer(cpu, _vcpu, machine.KeepsSpecCtrl);
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
            _apics?.Hold(_cpu);
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

            if (_apics is not null && !_apics.TryKeep(_cpu))
            {
                // Another vCPU is interpreted, and sends to local APICs of this process.
                Settle();
                if (InterpretOnly(InterpretedStretch) is { } interpreted)
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

            if (_apics is { IsKept: false })
            {
                Volatile.Write(ref _isInside, 0);
                continue;
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
        if (!_kvm.IsLoaded)
            return;
        Complete();
        // First: it lets an INIT take effect, which changes everything else.
        if (_apics is not null)
            _s->Activity = KvmLocalApics.FromKvm(_vcpu.Activity);
        KvmEvents events = _transfer.Store();
        long drift = _kvm.Drift;
        // The guest's time must not go back under the next engine.
        if (drift > _machine.ToleratedTicks)
            _s->TscOffset += (ulong)drift;
        _kvm.IsLoaded = false;
        _cpu.Apic.Refresh();
        _cpu.Tlb.FlushAll();
        _cpu.Tlb.SelectAddressSpace((_s->Cr4 & Cr4.Pcide) != 0 ? (int)(_s->Cr3 & 0xFFF) : 0, keep: false);
        _cpu.ModeChanged();
        Deliver(events);
    }

    /// <inheritdoc/>
    public EngineStatistics GetStatistics()
    {
        const double Nanosecond = 1e-9;
        EngineStatistics own = _cpu.GetStatistics();
        // What the kernel does by itself it counts by itself.
        return own with
        {
            Entries = _statistics.Entries,
            Exits = _statistics.Exits,
            Interrupts = own.Interrupts + _kvm.CountOf("irq_injections") + _kvm.CountOf("nmi_injections"),
            Halts = own.Halts + _kvm.CountOf("halt_exits"),
            HaltedSeconds = own.HaltedSeconds + ((_kvm.CountOf("halt_wait_ns") + _kvm.CountOf("halt_poll_success_ns") + _kvm.CountOf("halt_poll_fail_ns")) * Nanosecond),
        };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cpu.Interrupter = null;
        lock (_kickLock)
            _isDisposed = true;
        _interpreter?.Dispose();
        // All vCPUs stand still by now, and none runs under this engine again.
        _apics?.TakeBack();
        _kvm.Dispose();
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
        if (_apics is null && s->Activity == ActivityState.WaitForSipi)
            return ExitReason.Halt;
        // Taken back while this vCPU stood still for another one: Run looks what follows.
        if (_apics is { IsKept: false })
            return null;
        if (!_kvm.IsLoaded)
        {
            Load();
            // Asking for readiness has taken back what a kick meanwhile has set.
            return Prepare();
        }

        if (_apics is null && s->Activity == ActivityState.Halted)
        {
            bool wakes = (events & (PendingEvents.Nmi | PendingEvents.NextNmi)) != 0 || ((events & PendingEvents.Interrupt) != 0 && _interruptFlag);
            if (!wakes)
                return ExitReason.Halt;
            s->Activity = ActivityState.Running;
        }

        if ((events & (PendingEvents.Nmi | PendingEvents.NextNmi)) != 0)
        {
            _cpu.ClearSignal((events & PendingEvents.NextNmi) != 0 ? PendingEvents.NextNmi : PendingEvents.Nmi);
            CountInterrupt();
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
        // A vector that is only queued is not seen in the state of a kernel that has the local APIC.
        if (_apics is null)
            _vcpu.Interrupt((byte)vector);
        else
            _transfer.Inject((byte)vector);
        _isReady = false;
        CountInterrupt();
    }

    // Where the kernel has the local APICs it counts all interrupts.
    private void CountInterrupt()
    {
        if (_apics is null)
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
        _kvm.LoadTime();
        _kvm.IsLoaded = true;
        _isIncomplete = false;
        _hasRun = true;
        _interruptFlag = (_s->FlagSystem & CpuFlags.If) != 0;
        _isReady = _interruptFlag && (_s->Shadow & OneInstruction) == 0;
        if (_apics is null)
            return;
        _vcpu.Activity = KvmLocalApics.ToKvm(_s->Activity);
        // Whether LINT0 lets the 8259s through the kernel says when it is left, and a halted vCPU would not be.
        _run->ImmediateExit = 1;
        _ = _vcpu.Run();
        _isReady = _run->ReadyForInterruptInjection != 0;
        _run->ImmediateExit = 0;
        Interlocked.MemoryBarrier();
    }

    private void AfterRun()
    {
        _s->Rip = _run->Registers.Rip;
        _s->Gpr[4] = _run->Registers.Rsp;
        _interruptFlag = _run->InterruptFlag != 0;
        _isReady = _run->ReadyForInterruptInjection != 0;
        byte priority = (byte)(_run->Cr8 & 15);
        if (_apics is null && priority != _cpu.Apic.Cr8)
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
            case KvmExit.EndOfInterrupt:
                _statistics.Count(KvmExitKind.EndOfInterrupt);
                _apics!.End(_kvm, _run->EndedVector);
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
                _kvm.IsLoaded = false;
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
        _apics?.Hold(_cpu);
        return InterpretOnly(instructions);
    }

    private ExitReason? InterpretOnly(ulong instructions)
    {
        ExitReason reason = Interpreter.Run(instructions);
        return reason == ExitReason.Budget ? null : reason;
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

    private static string DataOf(KvmRun* run)
    {
        uint count = Math.Min(run->InternalError.Count, 16);
        return count == 0 ? "" : " with " + string.Join(", ", Enumerable.Range(0, (int)count).Select(i => string.Create(CultureInfo.InvariantCulture, $"0x{run->InternalError.Data[i]:x}")));
    }
}
