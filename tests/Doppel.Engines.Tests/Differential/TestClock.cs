using Doppel.Machine.Time;

namespace Doppel.Engines.Tests.Differential;

/// <summary>A clock that stands still, deterministic or not.</summary>
internal sealed class TestClock(bool isDeterministic) : IGuestClock
{
    public long Now => 0;

    public ulong Tsc => 0;

    public ulong TscFrequency => 1_000_000_000;

    public DateTimeOffset WallClock => DateTimeOffset.UnixEpoch;

    public bool IsDeterministic => isDeterministic;

    public IGuestTimer CreateTimer(string name, Action callback) => throw new NotSupportedException("no instruction arms a timer");
}
