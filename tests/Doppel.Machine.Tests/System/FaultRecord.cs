using Doppel.Machine.Cpu;

namespace Doppel.Machine.Tests.System;

/// <summary>A copy of a <see cref="GuestFault"/>, of which a vCPU has one instance only.</summary>
internal sealed record FaultRecord(ExceptionVector Vector, uint ErrorCode, ulong Address, ulong DebugStatus, bool IsTrap)
{
    /// <summary>Runs something that must raise a guest exception.</summary>
    internal static FaultRecord Of(Action action)
    {
        GuestFault fault = Assert.Throws<GuestFault>(action);
        return new FaultRecord(fault.Vector, fault.ErrorCode, fault.Address, fault.DebugStatus, fault.IsTrap);
    }

    /// <summary>Runs something that must raise #GP(0).</summary>
    internal static void AssertGeneralProtection(Action action) =>
        Assert.Equal(new FaultRecord(ExceptionVector.GeneralProtection, 0, 0, 0, false), Of(action));

    /// <summary>Runs something that must raise #UD.</summary>
    internal static void AssertInvalidOpcode(Action action) => Assert.Equal(ExceptionVector.InvalidOpcode, Of(action).Vector);
}
