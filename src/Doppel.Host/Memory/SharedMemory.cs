using System.Runtime.InteropServices;
using Doppel.Host.Files;

namespace Doppel.Host.Memory;

/// <summary>
/// An anonymous file in memory (memfd) and one mapping of all of it. Sparse: pages cost nothing until they are
/// touched. Other processes may map the same file by its descriptor.
/// </summary>
public sealed unsafe class SharedMemory : IDisposable
{
    private const uint CloseOnExec = 1;
    private nint _address;
    // A bit for each page that shows a file; null while none does.
    private ulong[]? _shown;

    /// <summary>Creates and maps the file.</summary>
    /// <param name="name">Shown in /proc/PID/maps.</param>
    /// <param name="length">Size in bytes; a multiple of 4096.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public SharedMemory(string name, ulong length)
    {
        Length = length;
        Descriptor = (int)HostError.Check(LibC.MemFdCreate(name, CloseOnExec), "memfd_create", $"\"{name}\"");
        try
        {
            _ = HostError.Check(LibC.FTruncate(Descriptor, (long)length), "ftruncate", $"of \"{name}\" to {length} bytes");
            _address = HostError.Check(
                LibC.MMap(0, (nuint)length, MemoryProtection.Read | MemoryProtection.Write, MapFlags.Shared | MapFlags.NoReserve, Descriptor, 0),
                "mmap",
                $"of {length} bytes of \"{name}\"");
        }
        catch
        {
            _ = LibC.Close(Descriptor);
            throw;
        }
    }

    /// <summary>The file descriptor, valid until disposal.</summary>
    public int Descriptor { get; }

    /// <summary>Size in bytes.</summary>
    public ulong Length { get; }

    /// <summary>First byte of the mapping; page-aligned.</summary>
    public byte* Base => (byte*)_address;

    /// <summary>
    /// Shows a part of a file at a place of the mapping, as a private copy: pages are read from the file when they are first
    /// touched, and what is written to them never reaches it. The file may be deleted then, but must not get shorter. Other
    /// mappings of the descriptor don't see such a part.
    /// </summary>
    /// <param name="file">An ordinary file that can be read.</param>
    /// <param name="fileOffset">Place in the file; a multiple of 4096.</param>
    /// <param name="offset">Place in the mapping; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096, above 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the mapping or the file.</exception>
    /// <exception cref="HostException">The host refuses.</exception>
    public void ShowFile(HostFile file, ulong fileOffset, ulong offset, ulong length)
    {
        ArgumentNullException.ThrowIfNull(file);
        if (length > Length || offset > Length - length)
            throw new ArgumentOutOfRangeException(nameof(offset), offset, $"a part of {length} bytes must end inside the mapping of {Length} bytes");
        ulong available = ((ulong)file.Length + 4095) & ~4095UL;
        if (length > available || fileOffset > available - length)
            throw new ArgumentOutOfRangeException(nameof(fileOffset), fileOffset, $"a part of {length} bytes must end inside the {file.Length} bytes of {file.Path}");
        MarkShown(offset, length, true);
        Remap(offset, length, MapFlags.Private, (int)file.Handle.DangerousGetHandle(), (long)fileOffset);
        GC.KeepAlive(file);
    }

    /// <summary>Shows a part of another such file at a place of this mapping: both are the same memory there. Other mappings of the descriptor don't see it.</summary>
    /// <param name="other">The other file; it must live until <see cref="ShowOwn"/> or the disposal of this one.</param>
    /// <param name="otherOffset">Place in it; a multiple of 4096.</param>
    /// <param name="offset">Place in this mapping; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096, above 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside both.</exception>
    /// <exception cref="HostException">The host refuses.</exception>
    public void ShowOther(SharedMemory other, ulong otherOffset, ulong offset, ulong length)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (length > Length || offset > Length - length)
            throw new ArgumentOutOfRangeException(nameof(offset), offset, $"a part of {length} bytes must end inside the mapping of {Length} bytes");
        if (length > other.Length || otherOffset > other.Length - length)
            throw new ArgumentOutOfRangeException(nameof(otherOffset), otherOffset, $"a part of {length} bytes must end inside the {other.Length} bytes of the other file");
        Remap(offset, length, MapFlags.Shared, other.Descriptor, (long)otherOffset);
    }

    /// <summary>Shows this file's own bytes again where <see cref="ShowOther"/> has shown others.</summary>
    /// <param name="offset">First byte; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096, above 0.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public void ShowOwn(ulong offset, ulong length) => Remap(offset, length, MapFlags.Shared, Descriptor, (long)offset);

    /// <summary>Gives the pages of a range back to the host; they read as zeros afterwards, in every mapping.</summary>
    /// <param name="offset">First byte; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096, above 0.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public void Free(ulong offset, ulong length)
    {
        _ = HostError.Check(LibC.FAllocate(Descriptor, FileFlags.PunchHole | FileFlags.KeepSize, (long)offset, (long)length), "fallocate", $"to free {length} bytes at {offset}");
        // Where a file was shown, the mapping shows its own zeros again; neighbours of that kind become one mapping.
        if (_shown is null)
            return;
        Remap(offset, length, MapFlags.Shared, Descriptor, (long)offset);
        MarkShown(offset, length, false);
    }

    /// <summary>How many bytes from an offset on read as zeros because nothing has been written there; reading them would take memory.</summary>
    /// <param name="offset">First byte; a multiple of 4096.</param>
    /// <param name="length">At most so many; a multiple of 4096.</param>
    /// <returns>A multiple of 4096; 0 when the first page has been written or shows a file.</returns>
    /// <exception cref="HostException">The host refuses.</exception>
    public ulong UnusedFrom(ulong offset, ulong length)
    {
        if (IsShown(offset >> 12))
            return 0;
        long data = FileCalls.Seek(Descriptor, (long)offset, FileFlags.SeekData);
        if (data == -1 && Marshal.GetLastPInvokeError() != FileFlags.NoSuchAddress)
            HostError.Throw("lseek", $"to the data behind {offset}");
        ulong unused = data == -1 ? length : Math.Min(length, (ulong)data - offset);
        for (ulong page = 0; _shown is not null && page < unused >> 12; page++)
        {
            if (IsShown((offset >> 12) + page))
                return page << 12;
        }

        return unused;
    }

    /// <summary>Reads ahead what a part shows of a file (<see cref="ShowFile"/>), so that it is there when it is first touched. Waits for the disk.</summary>
    /// <param name="offset">First byte; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096, above 0.</param>
    public void Prefetch(ulong offset, ulong length)
    {
        // Older kernels have no other way than to read the file ahead; what is neither is no fault of the caller's.
        if (LibC.MAdvise(_address + (nint)offset, (nuint)length, MemoryAdvice.PopulateRead) != 0)
            _ = LibC.MAdvise(_address + (nint)offset, (nuint)length, MemoryAdvice.WillNeed);
    }

    /// <summary>Finds the pages that show a file (<see cref="ShowFile"/>) and have been touched by this process, with what the kernel has mapped around them.</summary>
    /// <param name="found">Told their numbers, in order.</param>
    /// <exception cref="IOException">The host tells nobody.</exception>
    public void FindTouched(Action<ulong> found)
    {
        ArgumentNullException.ThrowIfNull(found);
        if (_shown is null)
            return;
        // Documentation/admin-guide/mm/pagemap.rst: 64 bits a page, the uppermost for one that is present.
        const int Chunk = 4096;
        using FileStream map = new("/proc/self/pagemap", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        byte[] entries = new byte[Chunk * sizeof(ulong)];
        ulong pages = Length >> 12;
        for (ulong first = 0; first < pages; first += Chunk)
        {
            int count = (int)Math.Min(Chunk, pages - first);
            if (!_shown.AsSpan((int)(first / 64), (count + 63) / 64).ContainsAnyExcept(0UL))
                continue;
            map.Position = (long)(((ulong)_address >> 12) + first) * sizeof(ulong);
            map.ReadExactly(entries.AsSpan(0, count * sizeof(ulong)));
            for (int i = 0; i < count; i++)
            {
                if (IsShown(first + (ulong)i) && (entries[(i * sizeof(ulong)) + sizeof(ulong) - 1] & 0x80) != 0)
                    found(first + (ulong)i);
            }
        }
    }

    private bool IsShown(ulong page) => _shown is not null && (Volatile.Read(ref _shown[page >> 6]) & (1UL << (int)(page & 63))) != 0;

    private void MarkShown(ulong offset, ulong length, bool isShown)
    {
        _shown ??= new ulong[((Length >> 12) + 63) / 64];
        for (ulong page = offset >> 12; page < (offset + length) >> 12; page++)
        {
            ref ulong word = ref _shown[page >> 6];
            ulong bit = 1UL << (int)(page & 63);
            _ = isShown ? Interlocked.Or(ref word, bit) : Interlocked.And(ref word, ~bit);
        }
    }

    private void Remap(ulong offset, ulong length, int kind, int descriptor, long fileOffset) => _ = HostError.Check(
        LibC.MMap(_address + (nint)offset, (nuint)length, MemoryProtection.Read | MemoryProtection.Write, kind | MapFlags.NoReserve | MapFlags.Fixed, descriptor, fileOffset),
        "mmap",
        $"of {length} bytes at a given address");

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_address == 0)
            return;
        _ = LibC.MUnmap(_address, (nuint)Length);
        _ = LibC.Close(Descriptor);
        _address = 0;
    }
}
