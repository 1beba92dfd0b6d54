using System.Diagnostics;

namespace Doppel.Devices.Storage.Images;

/// <summary>
/// Decides which transfers are worth doing on the caller's thread, which is a vCPU's and holds the machine's I/O lock: a
/// copy to or from the host's page cache takes less time than it takes to wake another thread and to be woken by it. Any
/// thread may call; what two of them do at once may cost a decision that is not the best, never a wrong result.
/// </summary>
internal sealed class DirectTransfers
{
    /// <summary>Up to this length a transfer is always worth it.</summary>
    internal const long Short = 64 * 1024;

    /// <summary>Bytes that a burst of longer ones may copy. What comes on top would keep the caller away from the guest for long, and can be done beside it.</summary>
    internal const long Burst = 2 << 20;

    /// <summary>A write of this time has waited for something; the share of time that is spent so is kept below a fiftieth.</summary>
    private static readonly long s_longWrite = Stopwatch.Frequency / 1000;
    private static readonly long s_pause = Stopwatch.Frequency / 50_000;
    private const int Abstinence = 50;

    private long _copied;
    private long _ended;
    private long _writesAgain = long.MinValue;
    private int _background;

    /// <summary>An operation has been given to another thread.</summary>
    internal void EnterBackground() => Interlocked.Increment(ref _background);

    /// <summary>An operation of another thread has ended.</summary>
    internal void LeaveBackground() => Interlocked.Decrement(ref _background);

    /// <summary>True when a read of a length should be tried at once.</summary>
    internal bool MayRead(long length) => length <= Short || MayCopy(length);

    /// <summary>True when a write of a length should be tried at once.</summary>
    internal bool MayWrite(long length) =>
        (length <= Short || MayCopy(length)) && Stopwatch.GetTimestamp() >= Volatile.Read(ref _writesAgain);

    /// <summary>A transfer was done at once.</summary>
    /// <param name="length">Its bytes.</param>
    /// <param name="began">When it began (<see cref="Stopwatch.GetTimestamp"/>).</param>
    /// <param name="isWrite">True for a write.</param>
    internal void Note(long length, long began, bool isWrite)
    {
        long now = Stopwatch.GetTimestamp();
        Volatile.Write(ref _copied, (began - Volatile.Read(ref _ended) > s_pause ? 0 : Volatile.Read(ref _copied)) + length);
        Volatile.Write(ref _ended, now);
        // The kernel says of reads in advance that they would wait, of writes it doesn't.
        if (isWrite && now - began > s_longWrite + (length / Short * s_longWrite / 8))
            Volatile.Write(ref _writesAgain, now + (Abstinence * (now - began)));
    }

    // While others are at work the guest has something to wait for already, and the caller can be back sooner.
    private bool MayCopy(long length) =>
        length <= Burst && Volatile.Read(ref _background) == 0
        && (Stopwatch.GetTimestamp() - Volatile.Read(ref _ended) > s_pause || Volatile.Read(ref _copied) + length <= Burst);
}
