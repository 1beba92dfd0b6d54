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

    /// <summary>Gives the pages of a range back to the host; they read as zeros afterwards, in every mapping.</summary>
    /// <param name="offset">First byte; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096, above 0.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public void Free(ulong offset, ulong length) =>
        _ = HostError.Check(LibC.FAllocate(Descriptor, FileFlags.PunchHole | FileFlags.KeepSize, (long)offset, (long)length), "fallocate", $"to free {length} bytes at {offset}");

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
