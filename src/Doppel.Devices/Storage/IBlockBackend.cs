namespace Doppel.Devices.Storage;

/// <summary>
/// What a disk device reads and writes: an image, a file, memory. All members may be called by any thread, several
/// operations may be under way at once, and no operation is known to wait for the medium on the caller's thread: a device
/// calls with the machine's I/O lock held, and the lock is another thread's to take before the operation completes. What
/// is done at once completes before the call returns.
/// <para>
/// Offsets and lengths are bytes, multiples of <see cref="SectorSize"/>, and the caller has checked that they lie inside
/// <see cref="Length"/>; anything else is a fault of the caller's (<see cref="ArgumentOutOfRangeException"/>). Buffers are
/// one after the other on the medium; each has any length, their sum is a multiple of <see cref="SectorSize"/>. They are
/// guest memory: their bytes may change while an operation is under way, so whatever must agree with itself (a checksum,
/// compressed data) is made from a copy. They belong to the operation until it completes.
/// </para>
/// <para>
/// Order: operations that overlap in time have none, and on overlapping ranges any of them may win. A completed write is
/// seen by each read that begins after it. A flush makes durable whatever had completed before the flush began.
/// </para>
/// <para>
/// Errors: an operation that the medium refuses ends with an <see cref="IOException"/>, which the guest sees as an I/O
/// error of that operation; a host without room for it with a <see cref="StorageFullException"/>. Writes to a back end
/// that <see cref="IsReadOnly"/> end with an <see cref="IOException"/>. Nothing of a failed operation is promised to have
/// happened or not to have happened within its range; nothing outside its range changes.
/// </para>
/// </summary>
public interface IBlockBackend : IAsyncDisposable
{
    /// <summary>Bytes of a sector, the unit of offsets and lengths.</summary>
    const int SectorSize = 512;

    /// <summary>Bytes of the medium: a multiple of <see cref="SectorSize"/>.</summary>
    ulong Length { get; }

    /// <summary>True when only reads (and flushes, which then do nothing) work.</summary>
    bool IsReadOnly { get; }

    /// <summary>Bytes of the unit in which the medium prefers to be written: a power of two, at least <see cref="SectorSize"/>.</summary>
    int PreferredBlockSize => 4096;

    /// <summary>Bytes of the unit that <see cref="DiscardAsync"/> can free: a power of two, at least <see cref="SectorSize"/>; 0 when discarding frees nothing.</summary>
    int DiscardGranularity => 0;

    /// <summary><see cref="Length"/> has changed. Raised on any thread, without locks of the back end held.</summary>
    event Action? Resized
    {
        add { }
        remove { }
    }

    /// <summary>Fills the buffers from the medium.</summary>
    ValueTask ReadAsync(ulong offset, IReadOnlyList<Memory<byte>> buffers, CancellationToken cancel = default);

    /// <summary>Writes the buffers to the medium.</summary>
    ValueTask WriteAsync(ulong offset, IReadOnlyList<ReadOnlyMemory<byte>> buffers, CancellationToken cancel = default);

    /// <summary>Makes what has been written survive a loss of power.</summary>
    ValueTask FlushAsync(CancellationToken cancel = default);

    /// <summary>
    /// Says that a range is not needed any more. The medium may free it, whole or in part, or do nothing. What reads return
    /// there afterwards is the old bytes or zeros, for good: no later read returns the other.
    /// </summary>
    ValueTask DiscardAsync(ulong offset, ulong length, CancellationToken cancel = default);

    /// <summary>Makes a range read as zeros.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Number of bytes.</param>
    /// <param name="mayFree">True when the range may be freed; false when it must keep its space.</param>
    /// <param name="cancel">Cancels as far as that is still possible.</param>
    ValueTask WriteZeroesAsync(ulong offset, ulong length, bool mayFree, CancellationToken cancel = default);
}
