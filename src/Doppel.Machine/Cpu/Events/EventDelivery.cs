namespace Doppel.Machine.Cpu.Events;

/// <summary>
/// Delivers exceptions and interrupts through the IDT (or the real-mode vector table) in every mode, with the nesting
/// rules for faults on the way: double fault, triple fault (Intel SDM vol. 3, chapter 6).
/// </summary>
public static unsafe class EventDelivery
{
    private const ulong DebugMatches = 0xF;
    private const ulong DebugGeneralDetect = 1 << 13;
    private const ulong BranchAndLastRecord = 3;

    // Bit n: vector n pushes an error code.
    private const uint WithErrorCode = (1u << 8) | (1u << 10) | (1u << 11) | (1u << 12) | (1u << 13) | (1u << 14) | (1u << 17) | (1u << 21);

    private const uint Contributory = (1u << 0) | (1u << 10) | (1u << 11) | (1u << 12) | (1u << 13);

    // Faults of delivery itself that carry a selector error code, and so the EXT bit.
    private const uint WithExternalBit = (1u << 10) | (1u << 11) | (1u << 12) | (1u << 13);

    /// <summary>
    /// Delivers an exception. RIP is what the handler is to return to: the instruction itself for a fault, the next one
    /// for a trap. A fault on the way is delivered in turn; a third one shuts the vCPU down
    /// (<see cref="ActivityState.Shutdown"/>). Throws nothing.
    /// </summary>
    public static void Deliver(VirtualCpu cpu, GuestFault fault) => DeliverNested(cpu, new PendingFault(fault));

    /// <summary>Delivers an external interrupt that the interrupt controller has handed over. Throws nothing.</summary>
    public static void DeliverInterrupt(VirtualCpu cpu, int vector)
    {
        cpu.Trace?.Interrupt(cpu, vector, isSoftware: false);
        DeliverExternal(cpu, vector);
    }

    /// <summary>Delivers an NMI, and blocks further ones until the next IRET. Throws nothing.</summary>
    public static void DeliverNmi(VirtualCpu cpu)
    {
        cpu.Trace?.Interrupt(cpu, (int)ExceptionVector.NonMaskable, isSoftware: false);
        cpu.State->Shadow |= InterruptShadow.NmiBlocked;
        DeliverExternal(cpu, (int)ExceptionVector.NonMaskable);
    }

    /// <summary>
    /// INT n, INT3, INTO or INT1; RIP is the next instruction. Throws the fault that keeps the handler from being reached,
    /// with nothing changed.
    /// </summary>
    public static void DeliverSoftware(VirtualCpu cpu, int vector, SoftwareInterruptKind kind)
    {
        CpuState* s = cpu.State;
        if (s->IsVirtual8086 && kind == SoftwareInterruptKind.Int && VirtualInterrupts.TryRedirect(cpu, vector))
            return;
        cpu.Trace?.Interrupt(cpu, vector, isSoftware: true);
        if (kind != SoftwareInterruptKind.Int1)
        {
            Enter(cpu, vector, errorCode: null, s->Flags, checkPrivilege: true);
            return;
        }

        // INT1 is a #DB: data breakpoints that MOV SS has held back are reported with it.
        ulong pending = cpu.TakePendingDebug();
        if (pending != 0)
            s->Dr[6] = (s->Dr[6] & ~DebugMatches) | pending;
        try
        {
            Enter(cpu, vector, errorCode: null, s->Flags, checkPrivilege: false);
        }
        catch (GuestFault fault) when (((WithExternalBit >> (int)fault.Vector) & 1) != 0)
        {
            fault.ErrorCode |= 1;
            throw;
        }
    }

    private static void DeliverExternal(VirtualCpu cpu, int vector)
    {
        CpuState* s = cpu.State;
        s->InterruptsDelivered++;
        Awake(s);
        try
        {
            Enter(cpu, vector, errorCode: null, s->Flags, checkPrivilege: false);
        }
        catch (GuestFault fault)
        {
            var nested = new PendingFault(fault);
            if (((WithExternalBit >> nested.Vector) & 1) != 0)
                nested.ErrorCode |= 1;
            DeliverNested(cpu, nested);
        }
    }

    private static void DeliverNested(VirtualCpu cpu, PendingFault fault)
    {
        CpuState* s = cpu.State;
        Awake(s);
        while (true)
        {
            try
            {
                DeliverOne(cpu, in fault);
                return;
            }
            catch (GuestFault nested)
            {
                var second = new PendingFault(nested);
                // CR2 follows every page fault, also one that ends in a double or triple fault (Intel SDM vol. 3, 6.15).
                if (second.Vector == (int)ExceptionVector.PageFault)
                    s->Cr2 = second.Address;
                if (!Combine(in fault, ref second))
                {
                    s->Activity = ActivityState.Shutdown;
                    return;
                }

                fault = second;
            }
        }
    }

    private static void DeliverOne(VirtualCpu cpu, in PendingFault fault)
    {
        CpuState* s = cpu.State;
        var vector = (ExceptionVector)fault.Vector;
        s->ExceptionsDelivered++;
        cpu.Trace?.Exception(cpu, vector, fault.ErrorCode, fault.Address);
        ulong flags = s->Flags;
        if (vector == ExceptionVector.PageFault)
        {
            s->Cr2 = fault.Address;
        }
        else if (vector == ExceptionVector.Debug)
        {
            s->Dr[6] = (s->Dr[6] & ~DebugMatches) | fault.DebugStatus;
            s->Dr[7] &= ~DebugGeneralDetect;
            s->DebugCtl &= ~BranchAndLastRecord;
        }

        if (SetsResumeFlag(fault))
            flags |= CpuFlags.Rf;
        bool hasCode = ((WithErrorCode >> fault.Vector) & 1) != 0;
        Enter(cpu, fault.Vector, hasCode ? fault.ErrorCode : null, flags, checkPrivilege: false);
    }

    // A fault returns to its instruction, which must not hit its own breakpoint again. Traps return to the next one, aborts
    // nowhere, and after an instruction breakpoint the debugger sets RF itself (Intel SDM vol. 3, 18.3.1.1).
    private static bool SetsResumeFlag(in PendingFault fault) => (ExceptionVector)fault.Vector switch
    {
        ExceptionVector.Debug => !fault.IsTrap && (fault.DebugStatus & DebugGeneralDetect) != 0,
        ExceptionVector.Breakpoint or ExceptionVector.Overflow or ExceptionVector.DoubleFault or ExceptionVector.MachineCheck => false,
        _ => true,
    };

    /// <summary>
    /// Applies table 6-5 of Intel SDM vol. 3: a contributory fault during a contributory one, or either kind during a page
    /// fault, becomes #DF; during #DF it is the end. Otherwise the second is delivered alone.
    /// </summary>
    /// <returns>False for a triple fault.</returns>
    private static bool Combine(in PendingFault first, ref PendingFault second)
    {
        bool isSecondContributory = ((Contributory >> second.Vector) & 1) != 0;
        bool isSecondPageFault = second.Vector == (int)ExceptionVector.PageFault;
        if (first.Vector == (int)ExceptionVector.DoubleFault && (isSecondContributory || isSecondPageFault))
            return false;
        bool doubles = first.Vector == (int)ExceptionVector.PageFault
            ? isSecondContributory || isSecondPageFault
            : ((Contributory >> first.Vector) & 1) != 0 && isSecondContributory;
        if (doubles)
            second = new PendingFault((int)ExceptionVector.DoubleFault);
        else if (((WithExternalBit >> second.Vector) & 1) != 0)
            second.ErrorCode |= 1;
        return true;
    }

    private static void Enter(VirtualCpu cpu, int vector, uint? errorCode, ulong flags, bool checkPrivilege)
    {
        CpuState* s = cpu.State;
        if (s->IsLongMode)
            LongModeEntry.Enter(cpu, vector, errorCode, flags, checkPrivilege);
        else if (s->IsRealMode)
            RealModeEntry.Enter(cpu, vector, flags);
        else
            ProtectedModeEntry.Enter(cpu, vector, errorCode, flags, checkPrivilege);
    }

    // An event ends HLT and every one-instruction hold-off.
    private static void Awake(CpuState* s)
    {
        s->Shadow &= ~(InterruptShadow.Sti | InterruptShadow.MovSs);
        if (s->Activity == ActivityState.Halted)
            s->Activity = ActivityState.Running;
    }
}
