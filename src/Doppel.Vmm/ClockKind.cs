namespace Doppel.Vmm;

/// <summary>Where a guest's time comes from.</summary>
public enum ClockKind
{
    /// <summary>The host's monotonic clock.</summary>
    Host,

    /// <summary>The count of retired instructions: the same run gives the same times.</summary>
    Instructions,
}
