using Doppel.Machine.Memory;

namespace Doppel.Vmm.Migration.PostCopy;

/// <summary>
/// Brings pages of a machine's memory while it runs. It is a process of its own: a thread of the machine's that waits for a page can
/// hold up everything else in its process, the runtime's garbage collector too.
/// </summary>
public interface IPager
{
    /// <summary>Where the source connects to it.</summary>
    MigrationAddress Address { get; }

    /// <summary>Completes when all pages are there.</summary>
    Task Completed { get; }

    /// <summary>Takes pages of a memory away and has them brought when they are touched.</summary>
    /// <param name="memory">The memory. Nothing runs.</param>
    /// <param name="pages">The pages.</param>
    /// <exception cref="IOException">The host refuses, or the pager is gone.</exception>
    Task BeginAsync(GuestMemory memory, PageSet pages);
}
