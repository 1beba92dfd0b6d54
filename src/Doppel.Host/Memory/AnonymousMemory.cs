namespace Doppel.Host.Memory;

/// <summary>Private zeroed memory straight from the kernel: sparse, page-aligned, never moved.</summary>
public sealed unsafe class AnonymousMemory : IDisposable
{
    private nint _address;

    /// <summary>Reserves the range; pages are committed when they are touched.</summary>
    /// <param name="length">Size in bytes.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public AnonymousMemory(ulong length)
    {
        Length = length;
        _address = HostError.Check(
            LibC.MMap(0, (nuint)length, MemoryProtection.Read | MemoryProtection.Write, MapFlags.Private | MapFlags.Anonymous | MapFlags.NoReserve, -1, 0),
            "mmap",
            $"of {length} anonymous bytes");
    }

    /// <summary>Size in bytes.</summary>
    public ulong Length { get; }

    /// <summary>First byte.</summary>
    public byte* Base => (byte*)_address;

    /// <summary>All bytes of a range of at most 2 GiB; not to be used after disposal.</summary>
    public Span<byte> Span => new((byte*)_address, checked((int)Length));

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_address != 0)
            _ = LibC.MUnmap(_address, (nuint)Length);
        _address = 0;
    }
}
