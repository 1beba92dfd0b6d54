using System.Numerics;

namespace Doppel.Devices.Storage.Images;

/// <summary>The blocks of a disk that were changed since they were last taken, one bit each. Any thread.</summary>
/// <param name="length">Bytes of the disk.</param>
public sealed class DirtyBlocks(ulong length)
{
    /// <summary>Bytes of a block.</summary>
    public const int BlockSize = 64 << 10;

    private readonly long[] _words = new long[(length / BlockSize / 64) + 1];

    /// <summary>Bytes of the blocks that are in it.</summary>
    public ulong Bytes
    {
        get
        {
            ulong count = 0;
            for (int i = 0; i < _words.Length; i++)
                count += (ulong)BitOperations.PopCount((ulong)Volatile.Read(ref _words[i]));
            return count * BlockSize;
        }
    }

    /// <summary>Adds all blocks of a range. To be called when the range has been changed, so that a block that was read before is read again.</summary>
    public void Add(ulong offset, ulong count)
    {
        if (count == 0)
            return;
        for (ulong block = offset / BlockSize; block <= (offset + count - 1) / BlockSize; block++)
            _ = Interlocked.Or(ref _words[block >> 6], 1L << (int)(block & 63));
    }

    /// <summary>Takes all blocks that are in it.</summary>
    /// <returns>First byte and length of each run of neighbours, the last cut at the disk's end.</returns>
    public IReadOnlyList<(ulong Offset, ulong Length)> Take()
    {
        var runs = new List<(ulong Offset, ulong Length)>();
        for (int i = 0; i < _words.Length; i++)
        {
            for (ulong word = (ulong)Interlocked.Exchange(ref _words[i], 0); word != 0; word &= word - 1)
            {
                ulong offset = (((ulong)i << 6) + (ulong)BitOperations.TrailingZeroCount(word)) * BlockSize;
                ulong end = Math.Min(offset + BlockSize, length);
                if (runs.Count != 0 && runs[^1].Offset + runs[^1].Length == offset)
                    runs[^1] = (runs[^1].Offset, end - runs[^1].Offset);
                else
                    runs.Add((offset, end - offset));
            }
        }

        return runs;
    }
}
