using Doppel.Machine.Time;

namespace Doppel.Machine.Tests.System;

/// <summary>A clock whose TSC moves when a test says so.</summary>
internal sealed class ManualClock : IGuestClock
{
    public long Now => 0;

    public ulong Tsc { get; set; }

    public ulong TscFrequency { get; set; } = 2_500_000_000;

    public DateTimeOffset WallClock => DateTimeOffset.UnixEpoch;

    public bool IsDeterministic => true;

    public IGuestTimer CreateTimer(string name, Action callback) => throw new NotSupportedException("these tests arm no timer");
}
