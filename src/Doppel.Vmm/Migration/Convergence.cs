namespace Doppel.Vmm.Migration;

/// <summary>Decides after each round whether the rest is little enough to stop the guest for it, and how much the guest must be slowed down so that it will be. One thread.</summary>
/// <param name="downtime">How long the guest may stand still.</param>
internal sealed class Convergence(TimeSpan downtime)
{
    /// <summary>The first step of the throttle, in percent.</summary>
    internal const int FirstThrottle = 20;

    /// <summary>The next ones.</summary>
    internal const int ThrottleStep = 15;

    /// <summary>The last one: the guest goes on living.</summary>
    internal const int MostThrottle = 95;

    // What stopping, devices and the target take of the downtime, whatever is left of memory.
    private const double ShareOfMemory = 0.5;
    // So many rounds are waited before the guest pays for the speed of the link, and again when it pays the most.
    private const int PatientRounds = 3;
    private int _fruitless;
    private ulong _least = ulong.MaxValue;
    private bool _isAtMost;

    /// <summary>True when the rest can be sent within the downtime, or nothing helps any more.</summary>
    internal bool IsEnough(DirtyRateEstimate estimate, ulong left)
    {
        if (estimate.TimeFor(left) <= downtime * ShareOfMemory)
            return true;
        // Not every round must leave less than the best so far, but of some in a row one must.
        bool isBetter = left < _least / 4 * 3;
        _fruitless = isBetter ? 0 : _fruitless + 1;
        _least = Math.Min(_least, left);
        return _isAtMost && _fruitless >= 2 * PatientRounds;
    }

    /// <summary>The throttle for the next round.</summary>
    internal int NextThrottle(int present)
    {
        if (_fruitless < (present == 0 ? PatientRounds : 2))
            return present;
        if (present < MostThrottle)
            _fruitless = 0;
        int next = present == 0 ? FirstThrottle : Math.Min(present + ThrottleStep, MostThrottle);
        _isAtMost = next == MostThrottle;
        return next;
    }
}
