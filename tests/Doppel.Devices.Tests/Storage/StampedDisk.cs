using System.Runtime.InteropServices;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Tests.Storage;

/// <summary>
/// A disk on which operation n, which a seed determines, stamps its number on each sector that it writes. So what a
/// sector has afterwards says which operation it is from, and which ones were lost.
/// </summary>
internal sealed class StampedDisk
{
    internal const int Sectors = 16384;
    internal const int SectorSize = 512;
    private readonly int _seed;
    private readonly long[] _flushed = new long[Sectors];

    internal StampedDisk(int seed) => _seed = seed;

    /// <summary>Operations that certainly happened: those before the last flush that was acknowledged.</summary>
    internal int Flushed { get; private set; }

    /// <summary>Writes for ever, and says after each flush which operations are safe.</summary>
    internal static void Write(string path, int seed, int start)
    {
        using DiskImage image = DiskImages.Open(path, new DiskOpenOptions { Format = DiskFormat.Qcow2 });
        System.Console.Out.WriteLine("open");
        for (int n = start; ; n++)
        {
            StampedOperation operation = Operation(seed, n);
            if (Apply(image, operation, n))
                System.Console.Out.WriteLine(n);
        }
    }

    /// <summary>Does one operation.</summary>
    /// <returns>True for a flush.</returns>
    internal static bool Apply(DiskImage image, StampedOperation operation, int number)
    {
        ulong offset = (ulong)operation.Sector * SectorSize, length = (ulong)operation.Count * SectorSize;
        switch (operation.Kind)
        {
            case StampedKind.Write:
                image.Write(offset, Stamp(number, operation.Count));
                return false;
            case StampedKind.Zero:
                image.WriteZeroes(offset, length, mayFree: true);
                return false;
            case StampedKind.Discard:
                image.Discard(offset, length);
                return false;
            default:
                image.Flush();
                return true;
        }
    }

    internal static StampedOperation Operation(int seed, int number)
    {
        var random = new Random(HashCode(seed, number));
        int kind = random.Next(40);
        int count = random.Next(10) == 0 ? random.Next(1, 600) : random.Next(1, 24);
        return new StampedOperation(
            kind == 0 ? StampedKind.Flush : kind == 1 ? StampedKind.Discard : kind == 2 ? StampedKind.Zero : StampedKind.Write,
            random.Next(0, Sectors - count),
            count);
    }

    internal static byte[] Stamp(int number, int count)
    {
        byte[] bytes = new byte[count * SectorSize];
        MemoryMarshal.Cast<byte, long>(bytes.AsSpan()).Fill(number);
        return bytes;
    }

    /// <summary>Takes over that all operations before one are safe.</summary>
    internal void FlushedUpTo(int number)
    {
        for (int n = Flushed; n < number; n++)
            Happen(_flushed, n);
        Flushed = Math.Max(Flushed, number);
    }

    /// <summary>Checks that each sector has what was flushed, or what an operation after that may have left.</summary>
    /// <param name="image">The disk.</param>
    /// <param name="end">The first operation that certainly never began.</param>
    /// <param name="context">What a failure says.</param>
    internal void Verify(DiskImage image, int end, string context)
    {
        byte[] bytes = new byte[Sectors * SectorSize];
        image.Read(0, bytes);
        var possible = new HashSet<long>[Sectors];
        for (int n = Flushed; n < end; n++)
        {
            StampedOperation operation = Operation(_seed, n);
            if (operation.Kind == StampedKind.Flush)
                continue;
            for (int sector = operation.Sector; sector < operation.Sector + operation.Count; sector++)
                _ = (possible[sector] ??= []).Add(operation.Kind == StampedKind.Write ? n : 0);
        }

        ReadOnlySpan<long> words = MemoryMarshal.Cast<byte, long>(bytes);
        for (int sector = 0; sector < Sectors; sector++)
        {
            ReadOnlySpan<long> content = words.Slice(sector * SectorSize / 8, SectorSize / 8);
            long stamp = content[0];
            Assert.True(content.IndexOfAnyExcept(stamp) < 0, $"{context}: sector {sector} is of several operations");
            bool isRight = stamp == _flushed[sector] || (possible[sector]?.Contains(stamp) ?? false) || (stamp == 0 && IsDiscarded(sector, Flushed));
            Assert.True(isRight, $"{context}: sector {sector} is of operation {stamp}; {_flushed[sector]} was flushed up to {Flushed}");
        }
    }

    /// <summary>Takes what the disk has for what it should have, so that a test can go on after a kill.</summary>
    internal void Adopt(DiskImage image, int number)
    {
        byte[] bytes = new byte[Sectors * SectorSize];
        image.Read(0, bytes);
        for (int sector = 0; sector < Sectors; sector++)
            _flushed[sector] = BitConverter.ToInt64(bytes, sector * SectorSize);
        Flushed = number;
    }

    private static int HashCode(int seed, int number) => unchecked((seed * 1_000_003) ^ (number * 7919));

    private void Happen(long[] sectors, int number)
    {
        StampedOperation operation = Operation(_seed, number);
        if (operation.Kind is StampedKind.Write or StampedKind.Zero)
            Array.Fill(sectors, operation.Kind == StampedKind.Write ? number : 0, operation.Sector, operation.Count);
    }

    /// <summary>True when a discard that was not followed by a write may have made the sector zero.</summary>
    private bool IsDiscarded(int sector, int end)
    {
        for (int n = end - 1; n > _flushed[sector]; n--)
        {
            StampedOperation operation = Operation(_seed, n);
            if (operation.Kind == StampedKind.Discard && operation.Sector <= sector && sector < operation.Sector + operation.Count)
                return true;
        }

        return false;
    }
}

internal enum StampedKind
{
    Write,
    Zero,
    Discard,
    Flush,
}

/// <summary>An operation on a stamped disk.</summary>
internal readonly record struct StampedOperation(StampedKind Kind, int Sector, int Count);
