namespace Doppel.Machine.Cpu.Events;

/// <summary>A copy of a <see cref="GuestFault"/>, whose only instance is reused by the next fault.</summary>
internal struct PendingFault
{
    internal int Vector;
    internal uint ErrorCode;
    internal ulong Address;
    internal ulong DebugStatus;
    internal bool IsTrap;

    internal PendingFault(int vector) => Vector = vector;

    internal PendingFault(GuestFault fault)
    {
        Vector = (int)fault.Vector;
        ErrorCode = fault.ErrorCode;
        Address = fault.Address;
        DebugStatus = fault.DebugStatus;
        IsTrap = fault.IsTrap;
    }
}
