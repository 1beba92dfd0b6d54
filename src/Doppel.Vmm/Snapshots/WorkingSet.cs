using System.Buffers.Binary;
using Doppel.Host.Files;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Snapshots;

/// <summary>
/// The pages of memory that a machine touched in the first second after it went on from a snapshot. Recorded once beside that, and
/// read ahead the next time, while the machine is made: from a disk one after the other, instead of one for each fault. Only a hint: a
/// snapshot is whole without it, and what is wrong with it is passed over.
/// </summary>
internal static class WorkingSet
{
    /// <summary>How long a machine is watched.</summary>
    internal static readonly TimeSpan Time = TimeSpan.FromSeconds(1);

    // "DPLWSET1"; behind it first page and number of pages of each run, 4 bytes each.
    private const ulong Magic = 0x3154_4553_574C_5044;
    private const int RunLength = 2 * sizeof(uint);

    /// <summary>True when a snapshot has one.</summary>
    internal static bool Exists(string folder) => File.Exists(PathIn(folder));

    /// <summary>Records the pages that have been touched. A snapshot that is gone, or may not be written to, gets none.</summary>
    internal static void Record(string folder, GuestMemory memory)
    {
        try
        {
            PageSet touched = memory.FindTouched();
            var bytes = new MemoryStream();
            Span<byte> word = stackalloc byte[sizeof(ulong)];
            BinaryPrimitives.WriteUInt64LittleEndian(word, Magic);
            bytes.Write(word);
            foreach ((ulong first, ulong count) in touched.Runs())
            {
                BinaryPrimitives.WriteUInt32LittleEndian(word, (uint)first);
                BinaryPrimitives.WriteUInt32LittleEndian(word[sizeof(uint)..], (uint)count);
                bytes.Write(word);
            }

            if (Directory.Exists(folder))
                AtomicFile.Write(PathIn(folder), bytes.ToArray());
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or Host.HostException)
        {
            // It is read as it is touched, as before.
        }
    }

    /// <summary>Reads the pages ahead on a thread of the pool, when there is a record.</summary>
    /// <param name="folder">The snapshot.</param>
    /// <param name="memory">Memory that shows it.</param>
    internal static void BeginPrefetch(string folder, GuestMemory memory)
    {
        if (!Exists(folder) || !memory.TryHold())
            return;
        _ = Task.Run(() =>
        {
            try
            {
                if (Read(folder, memory) is PageSet pages)
                    memory.Prefetch(pages);
            }
            finally
            {
                memory.Release();
            }
        });
    }

    /// <summary>Reads a record.</summary>
    /// <returns>Null when there is none for such a memory.</returns>
    internal static PageSet? Read(string folder, GuestMemory memory)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(PathIn(folder));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }

        var pages = PageSet.For(memory);
        if (bytes.Length % RunLength != 0 || bytes.Length < sizeof(ulong) || BinaryPrimitives.ReadUInt64LittleEndian(bytes) != Magic)
            return null;
        for (int at = sizeof(ulong); at < bytes.Length; at += RunLength)
        {
            ulong first = BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at)), count = BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at + sizeof(uint)));
            if (first + count > pages.Capacity)
                return null;
            pages.Add(first, count);
        }

        return pages;
    }

    private static string PathIn(string folder) => Path.Combine(folder, SnapshotFolder.WorkingSetFile);
}
