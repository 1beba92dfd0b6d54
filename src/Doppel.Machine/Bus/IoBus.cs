using Doppel.Machine.Trace;

namespace Doppel.Machine.Bus;

/// <summary>
/// One I/O address space (ports, or memory-mapped): finds the region that answers an address. Accesses that no region
/// answers read as all ones and ignore writes; an access across a region's end is split into bytes, as on a real bus.
/// </summary>
public sealed class IoBus
{
    private readonly record struct Mapping(ulong Start, ulong Length, IIoRegion Region);

    private readonly ulong _size;
    private Mapping[] _mappings = [];

    /// <summary>Creates an empty space.</summary>
    /// <param name="name">"port" or "mmio", for traces and errors.</param>
    /// <param name="size">Number of addresses, for example 65536 for ports.</param>
    /// <param name="ioLock">The machine's I/O lock: shared by both spaces and by everything that touches devices from another thread.</param>
    public IoBus(string name, ulong size, Lock ioLock)
    {
        Name = name;
        _size = size;
        Lock = ioLock;
    }

    /// <summary>"port" or "mmio".</summary>
    public string Name { get; }

    /// <summary>Held during every access. Timers and back ends that touch a device take it first.</summary>
    public Lock Lock { get; }

    /// <summary>Where accesses are traced; null for none.</summary>
    public ITraceSink? Trace { get; set; }

    /// <summary>Raised with the lock held when a region has been mapped or unmapped.</summary>
    public event Action? Changed;

    /// <summary>Where regions with doorbells are now.</summary>
    public IEnumerable<(ulong Start, IDoorbellRegion Region)> DoorbellRegions
    {
        get
        {
            foreach (Mapping mapping in _mappings)
            {
                if (mapping.Region is IDoorbellRegion region)
                    yield return (mapping.Start, region);
            }
        }
    }

    /// <summary>Makes a region answer a range.</summary>
    /// <exception cref="InvalidOperationException">The range overlaps a region or leaves the space.</exception>
    public void Map(ulong start, ulong length, IIoRegion region)
    {
        lock (Lock)
        {
            if (length == 0 || start >= _size || length > _size - start)
                throw new InvalidOperationException($"{Name} range 0x{start:x}+0x{length:x} of {region.Name} is outside the space of 0x{_size:x} addresses");
            foreach (Mapping other in _mappings)
            {
                if (start < other.Start + other.Length && other.Start < start + length)
                    throw new InvalidOperationException($"{Name} range 0x{start:x}+0x{length:x} of {region.Name} overlaps {other.Region.Name} at 0x{other.Start:x}");
            }

            _mappings = [.. _mappings.Append(new Mapping(start, length, region)).OrderBy(m => m.Start)];
            Changed?.Invoke();
        }
    }

    /// <summary>As <see cref="Map"/> for a range that a guest chose: false, and nothing changes, when it overlaps a region or leaves the space.</summary>
    public bool TryMap(ulong start, ulong length, IIoRegion region)
    {
        lock (Lock)
        {
            if (length == 0 || start >= _size || length > _size - start)
                return false;
            foreach (Mapping other in _mappings)
            {
                if (start < other.Start + other.Length && other.Start < start + length)
                    return false;
            }

            Map(start, length, region);
            return true;
        }
    }

    /// <summary>Removes what <see cref="Map"/> placed at this start; nothing happens if there is none.</summary>
    public void Unmap(ulong start)
    {
        lock (Lock)
        {
            _mappings = [.. _mappings.Where(m => m.Start != start)];
            Changed?.Invoke();
        }
    }

    /// <summary>True when a region answers this address.</summary>
    public bool IsMapped(ulong address) => Find(address).Region is not null;

    /// <summary>Reads 1, 2, 4 or 8 bytes.</summary>
    public ulong Read(ulong address, int size)
    {
        ulong value;
        string name;
        lock (Lock)
        {
            Mapping mapping = Find(address);
            if (mapping.Region is null)
            {
                name = "-";
                value = size == 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1;
                if (size > 1 && AnyMapped(address, size))
                    value = ReadBytes(address, size);
            }
            else if (address + (uint)size > mapping.Start + mapping.Length)
            {
                name = mapping.Region.Name;
                value = ReadBytes(address, size);
            }
            else
            {
                name = mapping.Region.Name;
                value = mapping.Region.Read(address - mapping.Start, size);
            }
        }

        Trace?.Io(this, name, address, size, value, isWrite: false);
        return value;
    }

    /// <summary>Writes 1, 2, 4 or 8 bytes.</summary>
    public void Write(ulong address, int size, ulong value)
    {
        string name = "-";
        lock (Lock)
        {
            Mapping mapping = Find(address);
            if (mapping.Region is null ? size > 1 && AnyMapped(address, size) : address + (uint)size > mapping.Start + mapping.Length)
            {
                name = mapping.Region?.Name ?? "-";
                for (int i = 0; i < size; i++)
                    Write(address + (uint)i, 1, (byte)(value >> (8 * i)));
            }
            else if (mapping.Region is not null)
            {
                name = mapping.Region.Name;
                mapping.Region.Write(address - mapping.Start, size, value);
            }
        }

        Trace?.Io(this, name, address, size, value, isWrite: true);
    }

    private ulong ReadBytes(ulong address, int size)
    {
        ulong value = 0;
        for (int i = 0; i < size; i++)
            value |= (Read(address + (uint)i, 1) & 0xFF) << (8 * i);
        return value;
    }

    private bool AnyMapped(ulong address, int size)
    {
        for (int i = 1; i < size; i++)
        {
            if (Find(address + (uint)i).Region is not null)
                return true;
        }

        return false;
    }

    private Mapping Find(ulong address)
    {
        Mapping[] mappings = _mappings;
        int low = 0, high = mappings.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) >> 1;
            Mapping mapping = mappings[middle];
            if (address < mapping.Start)
                high = middle - 1;
            else if (address - mapping.Start >= mapping.Length)
                low = middle + 1;
            else
                return mapping;
        }

        return default;
    }
}
