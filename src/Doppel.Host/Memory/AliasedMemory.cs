namespace Doppel.Host.Memory;

/// <summary>
/// A range of addresses whose parts show parts of one memfd, so that the same bytes can be seen in several places.
/// Addresses without a part must not be touched.
/// </summary>
/// <remarks><see cref="Map"/> and disposal on one thread.</remarks>
public sealed unsafe class AliasedMemory : IDisposable
{
    private readonly SharedMemory _file;
    private readonly ulong _length;
    private nint _address;

    /// <summary>Creates the file, zeroed, and reserves the range.</summary>
    /// <param name="name">Shown in /proc/PID/maps.</param>
    /// <param name="fileLength">Bytes of the file; a multiple of 4096.</param>
    /// <param name="length">Bytes of the range; a multiple of 4096.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public AliasedMemory(string name, ulong fileLength, ulong length)
    {
        _file = new SharedMemory(name, fileLength);
        _length = length;
        try
        {
            _address = HostError.Check(
                LibC.MMap(0, (nuint)length, MemoryProtection.None, MapFlags.Private | MapFlags.Anonymous | MapFlags.NoReserve, -1, 0),
                "mmap",
                $"of {length} reserved bytes for \"{name}\"");
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>First byte of the range.</summary>
    public byte* Base => (byte*)_address;

    /// <summary>First byte of the whole file, each byte of which can be reached here too.</summary>
    public byte* File => _file.Base;

    /// <summary>Shows a part of the file at a place of the range.</summary>
    /// <param name="offset">Place in the range; a multiple of 4096.</param>
    /// <param name="fileOffset">Place in the file; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the range or the file.</exception>
    /// <exception cref="HostException">The host refuses.</exception>
    public void Map(ulong offset, ulong fileOffset, ulong length)
    {
        if (length > _length || offset > _length - length)
            throw new ArgumentOutOfRangeException(nameof(offset), offset, $"a part of {length} bytes must end inside the range of {_length} bytes");
        if (length > _file.Length || fileOffset > _file.Length - length)
            throw new ArgumentOutOfRangeException(nameof(fileOffset), fileOffset, $"a part of {length} bytes must end inside the file of {_file.Length} bytes");
        _ = HostError.Check(
            LibC.MMap(_address + (nint)offset, (nuint)length, MemoryProtection.Read | MemoryProtection.Write, MapFlags.Shared | MapFlags.NoReserve | MapFlags.Fixed, _file.Descriptor, (long)fileOffset),
            "mmap",
            $"of {length} bytes at a given address");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_address == 0)
            return;
        _ = LibC.MUnmap(_address, (nuint)_length);
        _address = 0;
        _file.Dispose();
    }
}
