namespace Doppel.Machine.Cpu.Debugging;

/// <summary>
/// What a debugger wants of one vCPU. The engine looks at it when it is entered, so it may be changed only while the vCPU
/// stands still. The guest's own debug registers and RFLAGS.TF have no part in it.
/// </summary>
public sealed class DebugControl
{
    private ulong? _passing;

    /// <summary>Where to stop. After a change of watchpoints the vCPU's TLB must be flushed.</summary>
    public BreakpointSet Breakpoints { get; set; } = BreakpointSet.Empty;

    /// <summary>Stop after one instruction, one iteration of a repeated one, or the entry into an exception's handler.</summary>
    public bool IsStepping { get; set; }

    /// <summary>While stepping, deliver interrupts too, so that a step may end in a handler.</summary>
    public bool StepsIntoInterrupts { get; set; }

    /// <summary>The vCPU stands still while others run.</summary>
    public bool IsHeld { get; set; }

    /// <summary>Why the vCPU has stopped; null when it hasn't.</summary>
    public DebugStop? Stop { get; private set; }

    /// <summary>True when the engine has anything to look for.</summary>
    public bool IsActive => IsStepping || !Breakpoints.IsEmpty;

    /// <summary>True when maskable interrupts and NMIs wait.</summary>
    public bool HoldsInterrupts => IsStepping && !StepsIntoInterrupts;

    /// <summary>Before the vCPU goes on: forgets the stop.</summary>
    /// <param name="passing">Linear address of an instruction whose breakpoint is passed once, because it was reported.</param>
    public void Prepare(ulong? passing)
    {
        Stop = null;
        _passing = passing;
    }

    /// <summary>Says why the vCPU has stopped, for an engine that lets the processor look for breakpoints.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="breakpoint">What was hit.</param>
    /// <param name="address">Linear address of the instruction or of the data.</param>
    public void StopAt(VirtualCpu cpu, Breakpoint breakpoint, ulong address) => Stop ??= new DebugStop(cpu.Index, breakpoint, address);

    /// <summary>Called before each instruction on a page with breakpoints: true when the vCPU must stop at it.</summary>
    internal bool StopsAt(VirtualCpu cpu, ulong address)
    {
        bool isPassed = _passing == address;
        _passing = null;
        if (isPassed || Breakpoints.FindCode(address) is not { } breakpoint)
            return false;
        Stop ??= new DebugStop(cpu.Index, breakpoint, address);
        return true;
    }

    /// <summary>
    /// Called for every data access that takes the slow path. One that is watched stops the vCPU after its instruction;
    /// inside a block of many, the instruction begins anew on its own.
    /// </summary>
    internal void NoteAccess(VirtualCpu cpu, ulong address, int size, bool isWrite)
    {
        if (Breakpoints.FindWatch(address, size, isWrite) is not { } watch)
            return;
        if (cpu.IsInBlock?.Invoke() == true)
            throw cpu.WatchedAccess();
        Stop ??= new DebugStop(cpu.Index, watch, Math.Max(address, watch.Address));
    }

    /// <summary>An instruction has faulted: what it accessed does not count.</summary>
    internal void ForgetAccess() => Stop = null;

    /// <summary>After an instruction or the delivery of an event: true when the vCPU must stop.</summary>
    internal bool StopsAfter(VirtualCpu cpu, ulong address)
    {
        if (IsStepping)
            Stop ??= new DebugStop(cpu.Index, null, address);
        return Stop is not null;
    }
}
