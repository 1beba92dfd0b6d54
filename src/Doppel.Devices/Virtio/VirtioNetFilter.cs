using Doppel.Devices.Network;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>Which frames a guest wants (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3): by destination address and by VLAN. The machine's I/O lock guards it.</summary>
internal sealed class VirtioNetFilter
{
    /// <summary>Most addresses of one table; a driver that wants more gets all frames of that kind.</summary>
    private const int MaximumAddresses = 64;
    private const int VlanCount = 4096;
    private const ushort VlanType = 0x8100;
    private readonly HashSet<ulong> _unicast = [];
    private readonly HashSet<ulong> _multicast = [];
    private readonly bool[] _vlans = new bool[VlanCount];
    private Mode _mode = Mode.Promiscuous;

    [Flags]
    private enum Mode : byte
    {
        Promiscuous = 1,
        AllMulticast = 2,
        AllUnicast = 4,
        NoMulticast = 8,
        NoUnicast = 16,
        NoBroadcast = 32,
        ManyUnicast = 64,
        ManyMulticast = 128,
    }

    internal MacAddress Address { get; set; }

    /// <summary>True when the driver says which VLANs it wants.</summary>
    internal bool FiltersVlans { get; set; }

    /// <summary>Lets everything through, which is how a driver without a control queue wants it.</summary>
    internal void Reset(MacAddress address)
    {
        Address = address;
        FiltersVlans = false;
        _mode = Mode.Promiscuous;
        _unicast.Clear();
        _multicast.Clear();
        Array.Clear(_vlans);
    }

    internal void CopyFrom(VirtioNetFilter other)
    {
        Reset(other.Address);
        FiltersVlans = other.FiltersVlans;
        _mode = other._mode;
        _unicast.UnionWith(other._unicast);
        _multicast.UnionWith(other._multicast);
        other._vlans.CopyTo(_vlans, 0);
    }

    internal bool Accepts(ReadOnlySpan<byte> frame)
    {
        if (FiltersVlans && frame.Length >= 16 && ((frame[12] << 8) | frame[13]) == VlanType)
        {
            // VLAN 0 is none: such a tag has a priority only (IEEE 802.1Q, 9.6).
            int vlan = ((frame[14] << 8) | frame[15]) & 0xFFF;
            if (vlan != 0 && !_vlans[vlan])
                return false;
        }

        if (Has(Mode.Promiscuous))
            return true;
        var to = MacAddress.Read(frame);
        if (to == MacAddress.Broadcast)
            return !Has(Mode.NoBroadcast);
        if (to.IsMulticast)
            return !Has(Mode.NoMulticast) && (Has(Mode.AllMulticast | Mode.ManyMulticast) || _multicast.Contains(to.Value));
        return !Has(Mode.NoUnicast) && (to == Address || Has(Mode.AllUnicast | Mode.ManyUnicast) || _unicast.Contains(to.Value));
    }

    /// <summary>A command of the class that sets modes; each has one byte, on or off.</summary>
    /// <param name="command">0 to 5, in the order of <see cref="Mode"/>.</param>
    /// <param name="isOn">On or off.</param>
    internal bool SetMode(int command, bool isOn)
    {
        if (command is < 0 or > 5)
            return false;
        Set((Mode)(1 << command), isOn);
        return true;
    }

    /// <summary>Takes the two tables: each a number of addresses, and the addresses.</summary>
    internal bool SetTables(ReadOnlySpan<byte> tables)
    {
        if (!TryMeasure(tables, out int unicast) || !TryMeasure(tables[unicast..], out int multicast) || unicast + multicast != tables.Length)
            return false;
        Set(Mode.ManyUnicast, !Fill(_unicast, tables[4..unicast]));
        Set(Mode.ManyMulticast, !Fill(_multicast, tables[(unicast + 4)..]));
        return true;
    }

    internal void SetVlan(int vlan, bool isWanted) => _vlans[vlan] = isWanted;

    internal void Save(StateWriter writer)
    {
        writer.Write(Address.Value);
        writer.Write(FiltersVlans);
        writer.Write((byte)_mode);
        foreach (HashSet<ulong> table in (HashSet<ulong>[])[_unicast, _multicast])
        {
            writer.Write(table.Count);
            foreach (ulong address in table)
                writer.Write(address);
        }

        byte[] vlans = new byte[VlanCount / 8];
        for (int i = 0; i < VlanCount; i++)
            vlans[i / 8] |= (byte)((_vlans[i] ? 1 : 0) << (i % 8));
        writer.Write(vlans);
    }

    /// <summary>Reads and checks what <see cref="Save"/> wrote.</summary>
    internal static VirtioNetFilter Read(StateReader reader, string section)
    {
        var filter = new VirtioNetFilter
        {
            Address = new MacAddress(reader.ReadUInt64() & MacAddress.Broadcast.Value),
            FiltersVlans = reader.ReadBool(),
            _mode = (Mode)reader.ReadByte(),
        };
        foreach (HashSet<ulong> table in (HashSet<ulong>[])[filter._unicast, filter._multicast])
        {
            long count = StateCheck.Range(section, "number of addresses", reader.ReadInt32(), 0, MaximumAddresses);
            for (int i = 0; i < count; i++)
                _ = table.Add(reader.ReadUInt64() & MacAddress.Broadcast.Value);
        }

        byte[] vlans = StateCheck.Length(section, "VLANs", reader.ReadBytes(VlanCount / 8), VlanCount / 8);
        for (int i = 0; i < VlanCount; i++)
            filter._vlans[i] = (vlans[i / 8] >> (i % 8) & 1) != 0;
        return filter;
    }

    private static bool TryMeasure(ReadOnlySpan<byte> table, out int length)
    {
        length = 0;
        if (table.Length < 4)
            return false;
        uint count = System.Buffers.Binary.BinaryPrimitives.ReadUInt32LittleEndian(table);
        if (count > (table.Length - 4) / MacAddress.Length)
            return false;
        length = 4 + ((int)count * MacAddress.Length);
        return true;
    }

    private static bool Fill(HashSet<ulong> table, ReadOnlySpan<byte> addresses)
    {
        table.Clear();
        if (addresses.Length / MacAddress.Length > MaximumAddresses)
            return false;
        for (; !addresses.IsEmpty; addresses = addresses[MacAddress.Length..])
            _ = table.Add(MacAddress.Read(addresses).Value);
        return true;
    }

    private bool Has(Mode any) => (_mode & any) != 0;

    private void Set(Mode mode, bool isOn) => _mode = isOn ? _mode | mode : _mode & ~mode;
}
