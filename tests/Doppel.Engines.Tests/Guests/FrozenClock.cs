using Doppel.Machine.Time;

namespace Doppel.Engines.Tests.Guests;

/// <summary>A clock that stands still.</summary>
internal sealed class FrozenClock : IGuestClock
{
    public long Now => 0;

    public ulong Tsc => 0;

    public ulong TscFrequency { get; init; } = 1_000_000_000;

    public DateTimeOffset WallClock => DateTimeOffset.UnixEpoch;

    // The translator counts instructions for a deterministic clock only, and is tested here as it runs otherwise.
    public bool IsDeterministic => false;

    public IGuestTimer CreateTimer(string name, Action callback) => throw new NotSupportedException("no test arms a timer");
}
