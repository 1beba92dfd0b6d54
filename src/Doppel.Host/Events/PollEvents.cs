namespace Doppel.Host.Events;

/// <summary>What can be waited for on a descriptor, and what can be seen of it (poll(2)).</summary>
[Flags]
public enum PollEvents : short
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Something can be read.</summary>
    In = 1,

    /// <summary>Something urgent can be read.</summary>
    Priority = 2,

    /// <summary>Something can be written.</summary>
    Out = 4,

    /// <summary>An error; seen without being asked for.</summary>
    Error = 8,

    /// <summary>The far end is gone; seen without being asked for.</summary>
    HangUp = 16,

    /// <summary>The descriptor is not open; seen without being asked for.</summary>
    Invalid = 32,
}
