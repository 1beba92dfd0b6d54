using System.Buffers.Binary;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Ahci;

/// <summary>A command as its header, table and list of regions in guest memory say it (AHCI 1.3.1, 4.2.2 and 4.2.3).</summary>
internal sealed class AhciCommand
{
    private const int HeaderLength = 32, FrameLength = 20, PacketStart = 0x40, PacketLength = 16, RegionStart = 0x80, RegionLength = 16;
    private readonly GuestMemory _memory;
    private readonly ulong _regions;
    private readonly int _regionCount;
    private int _region;
    private uint _offset;

    private AhciCommand(GuestMemory memory, int slot, ulong header, uint flags, ulong table)
    {
        _memory = memory;
        Slot = slot;
        Header = header;
        Flags = flags;
        _regions = table + RegionStart;
        _regionCount = (int)(flags >> 16);
        _ = memory.TryRead(table, Frame);
        _ = memory.TryRead(table + PacketStart, Packet);
    }

    /// <summary>Its place in the command list.</summary>
    internal int Slot { get; }

    /// <summary>Address of its header.</summary>
    internal ulong Header { get; }

    /// <summary>First doubleword of the header.</summary>
    internal uint Flags { get; }

    /// <summary>The frame for the drive.</summary>
    internal byte[] Frame { get; } = new byte[FrameLength];

    /// <summary>The packet for the drive.</summary>
    internal byte[] Packet { get; } = new byte[PacketLength];

    /// <summary>Bytes moved so far.</summary>
    internal uint Moved { get; private set; }

    /// <summary>True when the regions had no room for all.</summary>
    internal bool HasOverflowed { get; private set; }

    /// <summary>True when a region was not RAM.</summary>
    internal bool HasFailed { get; private set; }

    /// <summary>True when the packet was sent.</summary>
    internal bool IsPacketSent { get; set; }

    /// <summary>Reads a command; null when its header or table isn't in RAM.</summary>
    internal static AhciCommand? Read(GuestMemory memory, ulong list, int slot)
    {
        ulong header = list + (ulong)(slot * HeaderLength);
        Span<byte> bytes = stackalloc byte[16];
        if (!memory.TryRead(header, bytes))
            return null;
        ulong table = BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]) & ~0x7FUL;
        return memory.IsRam(table, RegionStart) ? new AhciCommand(memory, slot, header, BinaryPrimitives.ReadUInt32LittleEndian(bytes), table) : null;
    }

    /// <summary>Goes to a place in the regions, for a command that was saved in the middle.</summary>
    internal void Skip(uint bytes)
    {
        while (bytes > 0 && Next(bytes) is (_, > 0 and uint part))
        {
            Advance(part);
            bytes -= part;
        }
    }

    /// <summary>Copies data of the drive into the regions; what has no room is dropped.</summary>
    internal void Write(ReadOnlySpan<byte> data)
    {
        while (data.Length > 0)
        {
            (ulong address, uint part) = Next((uint)data.Length);
            if (part == 0)
            {
                HasOverflowed = true;
                return;
            }

            if (!_memory.TryWrite(address, data[..(int)part]))
                HasFailed = true;
            Advance(part);
            data = data[(int)part..];
        }
    }

    /// <summary>Fills data for the drive from the regions.</summary>
    /// <returns>Bytes that there were.</returns>
    internal int Read(Span<byte> data)
    {
        int done = 0;
        while (done < data.Length)
        {
            (ulong address, uint part) = Next((uint)(data.Length - done));
            if (part == 0)
                break;
            if (!_memory.TryRead(address, data.Slice(done, (int)part)))
            {
                HasFailed = true;
                break;
            }

            Advance(part);
            done += (int)part;
        }

        return done;
    }

    /// <summary>The regions themselves, each checked to be RAM; null when they don't have so many bytes, or one isn't RAM.</summary>
    internal List<(ulong Address, uint Length)>? GetRegions(uint length)
    {
        var regions = new List<(ulong, uint)>();
        while (length > 0)
        {
            (ulong address, uint part) = Next(length);
            if (part == 0 || !_memory.IsRam(address, part))
                return null;
            regions.Add((address, part));
            Advance(part);
            length -= part;
        }

        return regions;
    }

    /// <summary>Says in the header how many bytes were moved.</summary>
    internal void StoreCount()
    {
        Span<byte> count = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(count, Moved);
        _ = _memory.TryWrite(Header + 4, count);
    }

    private (ulong Address, uint Length) Next(uint wanted)
    {
        const uint CountMask = (1 << 22) - 1;
        Span<byte> region = stackalloc byte[RegionLength];
        if (_region >= _regionCount || !_memory.TryRead(_regions + (ulong)(_region * RegionLength), region))
            return (0, 0);
        uint length = ((BinaryPrimitives.ReadUInt32LittleEndian(region[12..]) & CountMask) | 1) + 1;
        ulong address = BinaryPrimitives.ReadUInt64LittleEndian(region) & ~1UL;
        // A driver may shorten a region while it is in use.
        uint left = length > _offset ? length - _offset : 0;
        if (left == 0)
        {
            _region++;
            _offset = 0;
            return Next(wanted);
        }

        return (address + _offset, Math.Min(wanted, left));
    }

    private void Advance(uint part)
    {
        _offset += part;
        Moved += part;
    }
}
