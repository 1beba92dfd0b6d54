using System.Diagnostics;
using System.Runtime.InteropServices;
using Doppel.Host.Processor;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu.Debugging;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Interrupts;
using Doppel.Machine.Memory;
using Doppel.Machine.Time;
using Doppel.Machine.Trace;

namespace Doppel.Machine.Cpu;

/// <summary>
/// One virtual CPU: its <see cref="CpuState"/> and the parts of the machine that its instructions reach.
/// Everything but <see cref="Signal"/> belongs to the thread that runs the vCPU.
/// </summary>
public sealed unsafe class VirtualCpu : IInterruptTarget, IDisposable
{
    private readonly GuestFault _fault = new();
    private ManualResetEventSlim _wake = new(false, 0);
    private CpuState* _state;
    private ulong _pendingDebug;

    /// <summary>Creates a vCPU and puts it into its reset state.</summary>
    /// <param name="index">0 for the bootstrap processor; also the APIC id.</param>
    /// <param name="model">What CPUID says and which features exist.</param>
    /// <param name="physical">Guest-physical memory and memory-mapped I/O; the vCPU makes its own view of it.</param>
    /// <param name="ports">The port I/O space.</param>
    /// <param name="clock">The machine's clock, source of the TSC.</param>
    /// <param name="tlbSpaces">Address spaces whose translations the software TLB keeps: 2, 4, 8 or 16.</param>
    public VirtualCpu(int index, CpuModel model, PhysicalAddressSpace physical, IoBus ports, IGuestClock clock, int tlbSpaces = TlbSlot.MaximumCount)
    {
        Index = index;
        Model = model;
        Physical = physical.CreateView();
        Ports = ports;
        Clock = clock;
        _state = CpuStateBlock.Allocate();
        _state->Ram = physical.Memory.Base;
        _state->PageFlags = physical.Memory.FlagsBase;
        Tlb = new SoftTlb(this, tlbSpaces);
        Linear = new LinearMemory(this);
        Reset();
    }

    /// <summary>0 for the bootstrap processor; also the initial APIC id.</summary>
    public int Index { get; }

    /// <summary>The registers. The address is fixed for the life of the vCPU.</summary>
    public CpuState* State => _state;

    /// <summary>What CPUID says and which features exist.</summary>
    public CpuModel Model { get; }

    /// <summary>This vCPU's view of guest-physical memory and memory-mapped I/O.</summary>
    public PhysicalAddressSpace Physical { get; }

    /// <summary>The port I/O space.</summary>
    public IoBus Ports { get; }

    /// <summary>The machine's clock.</summary>
    public IGuestClock Clock { get; }

    /// <summary>
    /// How the engine reads <see cref="IGuestClock.Tsc"/> when the guest's code reads it without asking the clock, so that
    /// the guest sees one line of time; null for the clock itself.
    /// </summary>
    public Func<ulong>? TscSource { get; set; }

    /// <summary>The software TLB.</summary>
    public SoftTlb Tlb { get; }

    /// <summary>Access by linear address.</summary>
    public LinearMemory Linear { get; }

    /// <summary>The local APIC; set once, before the vCPU runs.</summary>
    public ILocalApic Apic { get; set; } = AbsentLocalApic.Instance;

    /// <summary>Where traced events go; null when nothing is traced.</summary>
    public ITraceSink? Trace { get; set; }

    /// <summary>What a debugger wants of this vCPU; null when none is attached. Changed only while the vCPU stands still.</summary>
    public DebugControl? Debug { get; set; }

    /// <summary>
    /// Instructions that have executed but are not yet part of <see cref="CpuState.InstructionsRetired"/>, because the
    /// engine adds them when it leaves a block. A deterministic clock adds both.
    /// </summary>
    public uint InstructionsInFlight => InFlightSource?.Invoke() ?? 0;

    /// <summary>How the running engine tells <see cref="InstructionsInFlight"/>; null when it counts each one at once.</summary>
    public Func<uint>? InFlightSource { get; set; }

    /// <summary>How the running engine says that it executes a block whose instruction can begin anew after a fault.</summary>
    internal Func<bool>? IsInBlock { get; set; }

    /// <summary>Source of RDRAND and RDSEED. A test may replace it to make a run repeatable.</summary>
    public Func<ulong> NextRandom { get; set; } = HostRandom.Next;

    /// <summary>Adds data and I/O breakpoints that matched, for the debug trap after the current instruction.</summary>
    public void AddPendingDebug(ulong status) => _pendingDebug |= status;

    /// <summary>Returns what <see cref="AddPendingDebug"/> has gathered, and forgets it.</summary>
    public ulong TakePendingDebug()
    {
        ulong status = _pendingDebug;
        _pendingDebug = 0;
        return status;
    }

    /// <summary>What <see cref="TakePendingDebug"/> would return: bits of DR6 that wait for the end of an interrupt shadow.</summary>
    internal ulong PendingDebug
    {
        get => _pendingDebug;
        set => _pendingDebug = value;
    }

    /// <summary>Reports a port access to the I/O breakpoints.</summary>
    public void NotePortAccess(ushort port, int size)
    {
        if ((_state->Dr[7] & 0xFF) != 0)
            _pendingDebug |= System.DebugRegisters.MatchIo(this, port, size);
    }

    /// <summary>Reports a data access to the data breakpoints.</summary>
    internal void NoteDataAccess(ulong address, int size, bool isWrite)
    {
        if ((_state->Dr[7] & 0xFF) != 0)
            _pendingDebug |= System.DebugRegisters.MatchData(this, address, size, isWrite);
        NoteWatchedAccess(address, size, isWrite);
    }

    /// <summary>Reports a data access to the debugger's watchpoints.</summary>
    internal void NoteWatchedAccess(ulong address, int size, bool isWrite)
    {
        if (Debug is { Breakpoints.HasWatchpoints: true } debug)
            debug.NoteAccess(this, address, size, isWrite);
    }

    /// <summary>Prepares the exception that makes the engine execute the current instruction anew, on its own.</summary>
    internal GuestFault WatchedAccess()
    {
        GuestFault fault = Fault(ExceptionVector.DivideError);
        fault.IsWatchedAccess = true;
        return fault;
    }

    /// <summary>Number of vCPUs of the machine, which CPUID's topology shows; set before the vCPU runs.</summary>
    public int CpuCount { get; set; } = 1;

    /// <summary>
    /// Raised when a waiting x87 instruction finds an unmasked exception pending while CR0.NE is clear: the FERR# pin,
    /// which a PC wires to IRQ 13 (Intel SDM vol. 1, D.1). The instruction then goes on as if IGNNE# were asserted. On the
    /// vCPU's thread.
    /// </summary>
    public event Action? FerrRaised;

    internal void RaiseFerr() => FerrRaised?.Invoke();

    /// <summary>Prepares the exception for <c>throw</c>. Vectors without an error code ignore it.</summary>
    public GuestFault Fault(ExceptionVector vector, uint errorCode = 0)
    {
        _fault.Vector = vector;
        _fault.ErrorCode = errorCode;
        _fault.Address = 0;
        _fault.DebugStatus = 0;
        _fault.IsTrap = false;
        _fault.IsWatchedAccess = false;
        return _fault;
    }

    /// <summary>#GP with an error code, 0 unless a selector is at fault.</summary>
    public GuestFault GeneralProtection(uint errorCode = 0) => Fault(ExceptionVector.GeneralProtection, errorCode);

    /// <summary>#UD.</summary>
    public GuestFault InvalidOpcode() => Fault(ExceptionVector.InvalidOpcode);

    /// <summary>#PF at a linear address, with the error code of Intel SDM vol. 3, 4.7.</summary>
    public GuestFault PageFault(ulong address, uint errorCode)
    {
        GuestFault fault = Fault(ExceptionVector.PageFault, errorCode);
        fault.Address = address;
        return fault;
    }

    /// <summary>#DB; <paramref name="status"/> holds the bits to set in DR6.</summary>
    public GuestFault DebugException(ulong status, bool isTrap)
    {
        GuestFault fault = Fault(ExceptionVector.Debug);
        fault.DebugStatus = status;
        fault.IsTrap = isTrap;
        return fault;
    }

    /// <summary>
    /// Must be called after any change to CPL, CR0, CR3, CR4, EFER, RFLAGS.AC or RFLAGS.VM: selects the TLB table
    /// that answers for the new mode.
    /// </summary>
    public void ModeChanged() => Tlb.SelectTable();

    /// <summary>
    /// Sets pending events and wakes the vCPU if it is halted. Any thread. Two NMIs are kept, as a processor takes one and
    /// latches another while the first is handled (Intel SDM vol. 3, 6.7.1); more are one.
    /// </summary>
    public void Signal(PendingEvents events)
    {
        int old = Interlocked.Or(ref _state->PendingEvents, (int)events);
        if ((events & (PendingEvents)old & PendingEvents.Nmi) != 0)
            _ = Interlocked.Or(ref _state->PendingEvents, (int)PendingEvents.NextNmi);
        Volatile.Write(ref _state->EventMask, 0);
        _wake.Set();
        Interrupter?.Invoke();
    }

    /// <summary>
    /// How the running engine is told of a signal while it can't look at <see cref="CpuState.PendingEvents"/>; null for one that
    /// always can. Called by any thread, with any lock held, after the events are set.
    /// </summary>
    public Action? Interrupter { get; set; }

    /// <summary>Clears pending events. Any thread.</summary>
    public void ClearSignal(PendingEvents events)
    {
        int old = Interlocked.And(ref _state->PendingEvents, ~(int)events);
        if ((old & ~(int)events) == 0)
            ShowQuiet();
    }

    /// <summary>What <see cref="CpuState.EventMask"/> is while no event is pending; an engine's choice, not 0.</summary>
    public ulong QuietMask
    {
        get;
        set
        {
            field = value;
            // The mask of the engine before would take this one's code beyond its table.
            Volatile.Write(ref _state->EventMask, 0);
        }
    } = ulong.MaxValue;

    /// <summary>
    /// Sets <see cref="CpuState.EventMask"/> again when no event is pending. A signal and a clearing that meet may leave it 0
    /// without an event, never set with one.
    /// </summary>
    public void ShowQuiet()
    {
        if (Volatile.Read(ref _state->PendingEvents) != 0)
            return;
        Volatile.Write(ref _state->EventMask, QuietMask);
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _state->PendingEvents) != 0)
            Volatile.Write(ref _state->EventMask, 0);
    }

    /// <summary>Puts a pending interrupt aside while RFLAGS.IF is clear (<see cref="CpuState.HeldInterrupt"/>). The vCPU's thread.</summary>
    internal void HoldInterrupt()
    {
        _state->HeldInterrupt = 1;
        ClearSignal(PendingEvents.Interrupt);
    }

    /// <summary>Makes an interrupt that was put aside pending again once RFLAGS.IF is set. The vCPU's thread.</summary>
    internal void ReleaseInterrupt()
    {
        if ((_state->HeldInterrupt & (int)(_state->FlagSystem >> 9)) == 0)
            return;
        _state->HeldInterrupt = 0;
        Signal(PendingEvents.Interrupt);
    }

    /// <inheritdoc/>
    ulong IInterruptTarget.TscOffset => Volatile.Read(ref _state->TscOffset);

    /// <inheritdoc/>
    void IInterruptTarget.SetApicWindow(ulong? page, IIoRegion region) => Physical.SetLocalWindow(page, region);

    /// <summary>Blocks until <see cref="Signal"/> has been called since the last return, or the token is cancelled.</summary>
    public void WaitForSignal(CancellationToken cancel)
    {
        long begin = Stopwatch.GetTimestamp();
        _wake.Wait(cancel);
        _wake.Reset();
        Halts++;
        HaltedTime += Stopwatch.GetElapsedTime(begin);
    }

    /// <summary>Waits for a signal that have ended.</summary>
    internal ulong Halts { get; private set; }

    /// <summary>Host time that they took.</summary>
    internal TimeSpan HaltedTime { get; private set; }

    /// <summary>
    /// Lets a signal to this vCPU wake whoever waits for the other one, for a loop that runs several vCPUs on one thread.
    /// Before the machine runs.
    /// </summary>
    public void ShareWake(VirtualCpu other)
    {
        if (_wake == other._wake)
            return;
        _wake.Dispose();
        _wake = other._wake;
    }

    /// <summary>
    /// Before <see cref="IExecutionEngine.Run"/> on a thread of its own: waits while another vCPU has the machine to itself
    /// (<see cref="VcpuRendezvous"/>).
    /// </summary>
    public void EnterGuest() => Physical.Rendezvous.Enter(this);

    /// <summary>After <see cref="IExecutionEngine.Run"/>: this vCPU touches no guest memory until <see cref="EnterGuest"/>.</summary>
    public void LeaveGuest() => Physical.Rendezvous.Leave(this);

    /// <summary>Between <see cref="EnterGuest"/> and <see cref="LeaveGuest"/>; belongs to <see cref="VcpuRendezvous"/>.</summary>
    internal bool IsInGuest { get; set; }

    /// <summary>Times that this vCPU was between two instructions where it was asked for; belongs to <see cref="VcpuRendezvous"/>.</summary>
    internal long SafePoints { get; set; }

    /// <summary>PAUSE instructions that the interpreter has executed since it last let another thread run.</summary>
    internal int Pauses { get; set; }

    /// <summary>Power-up or RESET# state (Intel SDM vol. 3, table 10-1).</summary>
    public void Reset()
    {
        InitializeRegisters();
        CpuState* s = _state;
        s->Cr0 = Cr0.Et | Cr0.Nw | Cr0.Cd;
        s->Xcr0 = 1;
        s->Star = s->Lstar = s->Cstar = s->SyscallMask = s->KernelGsBase = 0;
        s->SysenterCs = s->SysenterEsp = s->SysenterEip = 0;
        s->TscAux = s->Xss = s->SpecCtrl = s->DebugCtl = s->McgStatus = 0;
        s->Pat = 0x0007040600070406;
        s->MiscEnable = 1;
        s->TscAdjust = 0;
        s->TscOffset = 0;
        s->MtrrDefType = 0;
        for (int i = 0; i < 16; i++)
            s->MtrrVariable[i] = 0;
        for (int i = 0; i < 11; i++)
            s->MtrrFixed[i] = 0;
        for (int i = 0; i < 4; i++)
            s->MachineCheckControl[i] = s->MachineCheckAddress[i] = s->MachineCheckMisc[i] = 0;
        NativeMemory.Clear(s->XsaveArea, 1024);
        *(ushort*)s->XsaveArea = 0x0040;
        s->Mxcsr = 0x1F80;
        *(ushort*)(s->XsaveArea + 4) = 0x0000;
        s->Activity = Index == 0 ? ActivityState.Running : ActivityState.WaitForSipi;
        s->InstructionsRetired = 0;
        Tlb.FlushAll();
        ModeChanged();
    }

    /// <summary>
    /// The state after INIT: as after reset, but the caches, the extended state, and most MSRs are left alone
    /// (Intel SDM vol. 3, table 10-1).
    /// </summary>
    public void Init()
    {
        ulong cacheBits = _state->Cr0 & (Cr0.Cd | Cr0.Nw);
        InitializeRegisters();
        _state->Cr0 = Cr0.Et | cacheBits;
        _state->Activity = Index == 0 ? ActivityState.Running : ActivityState.WaitForSipi;
        Tlb.FlushAll();
        ModeChanged();
    }

    /// <summary>What a start-up IPI does to a vCPU that waits for one. The vCPU's thread.</summary>
    public void StartUp(byte vector)
    {
        _state->Cs.Selector = (ushort)(vector << 8);
        _state->Cs.Base = (ulong)vector << 12;
        _state->Rip = 0;
        _state->Activity = ActivityState.Running;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_state == null)
            return;
        Tlb.Dispose();
        CpuStateBlock.Free(_state);
        _state = null;
        _wake.Dispose();
    }

    private void InitializeRegisters()
    {
        CpuState* s = _state;
        for (int i = 0; i < 16; i++)
            s->Gpr[i] = 0;
        s->Gpr[2] = Model.Signature;
        s->Rip = 0xFFF0;
        s->Flags = CpuFlags.Fixed;
        s->Cpl = 0;
        s->Shadow = InterruptShadow.None;
        s->Cr2 = s->Cr3 = s->Cr4 = s->Efer = 0;
        const SegmentAttributes Data = SegmentAttributes.Present | SegmentAttributes.CodeOrData | SegmentAttributes.WritableOrReadable | SegmentAttributes.Accessed;
        var data = new SegmentRegister { Limit = 0xFFFF, Attributes = Data };
        s->Es = s->Ss = s->Ds = s->Fs = s->Gs = data;
        s->Cs = new SegmentRegister { Selector = 0xF000, Base = 0xFFFF0000, Limit = 0xFFFF, Attributes = Data | SegmentAttributes.Code };
        s->Ldtr = new SegmentRegister { Limit = 0xFFFF, Attributes = SegmentAttributes.Present | (SegmentAttributes)2 };
        s->Tr = new SegmentRegister { Limit = 0xFFFF, Attributes = SegmentAttributes.Present | (SegmentAttributes)11 };
        s->Gdtr = new DescriptorTableRegister { Limit = 0xFFFF };
        s->Idtr = new DescriptorTableRegister { Limit = 0xFFFF };
        for (int i = 0; i < 4; i++)
            s->Dr[i] = 0;
        s->Dr[6] = 0xFFFF0FF0;
        s->Dr[7] = 0x400;
        s->MonitorAddress = ulong.MaxValue;
        // What other threads ask of this one outlives a reset; the interrupt bit follows the local APIC. A start-up IPI
        // that came right behind INIT must not be lost with it.
        const PendingEvents Cleared = PendingEvents.Nmi | PendingEvents.NextNmi | PendingEvents.Smi | PendingEvents.Init;
        _ = Interlocked.And(ref s->PendingEvents, ~(int)Cleared);
    }
}
