namespace Doppel.Machine.Bus;

/// <summary>
/// A region with doorbells: registers of which a write only says that there is something to look at. Nobody waits for what it
/// leads to, and several writes are as good as one; so an engine may have them done a moment later, on another thread, with
/// the bus's lock held as for any access.
/// </summary>
public interface IDoorbellRegion : IIoRegion
{
    /// <summary>The doorbells; always the same ones.</summary>
    IReadOnlyList<Doorbell> Doorbells { get; }
}

/// <summary>A register of a region whose writes may be done later; see <see cref="IDoorbellRegion"/>.</summary>
/// <param name="Offset">From the region's start.</param>
/// <param name="Size">Bytes of the write: 1, 2, 4 or 8. Writes of other sizes are done at once.</param>
/// <param name="Value">The value that rings it; null when any does.</param>
public readonly record struct Doorbell(ulong Offset, int Size, ulong? Value);
