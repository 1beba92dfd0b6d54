namespace Doppel.Vmm.Migration;

/// <summary>
/// Keeps what must outlive a process so that at most one side ever runs the machine: each call returns when what it says is
/// durable. Calls come one at a time.
/// </summary>
public interface IMigrationJournal
{
    /// <summary>Source: from now on the machine is the target's if that takes it; only the target knows.</summary>
    /// <exception cref="IOException">It can't be written; the machine then goes on here.</exception>
    void Permit();

    /// <summary>Source: the target has not taken the machine and never will: it goes on here.</summary>
    void TakeBack();

    /// <summary>Target: the machine is this side's, for good.</summary>
    /// <exception cref="IOException">It can't be written; the machine then stays at the source.</exception>
    void Accept();
}
