using System.Buffers.Binary;
using Doppel.Devices.Network;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <content>The control queue (virtio 1.2, 5.1.6.5), save and restore.</content>
public sealed partial class VirtioNet
{
    private const int LongestCommand = 16 << 10;

    private enum ControlClass : byte
    {
        ReceiveMode = 0,
        Mac = 1,
        Vlan = 2,
        Announce = 3,
        MultipleQueues = 4,
        GuestOffloads = 5,
    }

    /// <inheritdoc/>
    protected override void OnReleased()
    {
        if (!_announcesLater)
            return;
        // Switches have last seen the guest's address elsewhere.
        _announcesLater = false;
        _sendsAnnouncement = true;
        _backend.Wake();
        _announces = Has(VirtioNetFeature.GuestAnnounce);
        if (_announces)
            ConfigChanged();
    }

    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        _filter.Save(writer);
        writer.Write(_guestOffloads);
        writer.Write(_activePairs);
        writer.Write(_announces);
    }

    /// <inheritdoc/>
    protected override Action ReadDevice(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        VirtioNetFilter filter = VirtioNetFilter.Read(reader, Name);
        ulong offloads = reader.ReadUInt64() & VirtioNetFeature.GuestOffloads;
        int pairs = (int)StateCheck.Range(Name, "pairs of queues", reader.ReadInt32(), 1, _pairs);
        bool announces = reader.ReadBool();
        return () =>
        {
            OnReset();
            _filter.CopyFrom(filter);
            _guestOffloads = offloads & DriverFeatures;
            _activePairs = pairs;
            _announces = announces;
            _announcesLater = true;
        };
    }

    private void Control(VirtioChain chain)
    {
        const byte Ok = 0, Error = 1;
        if (chain.ReadableLength < 2 || chain.WritableLength < 1)
        {
            Break($"queue {ControlQueue}: a command has {chain.ReadableLength} bytes to read and {chain.WritableLength} to write; 2 and 1 are the least");
            Complete(chain, 0);
            return;
        }

        bool isDone = false;
        if (chain.ReadableLength <= LongestCommand)
        {
            byte[] command = new byte[chain.ReadableLength];
            _ = chain.Read(0, command);
            isDone = Execute((ControlClass)command[0], command[1], command.AsSpan(2));
        }

        Complete(chain, (uint)chain.Write(0, [isDone ? Ok : Error]));
    }

    private bool Execute(ControlClass kind, byte command, ReadOnlySpan<byte> data)
    {
        switch (kind)
        {
            case ControlClass.ReceiveMode:
                return data.Length == 1 && Has(command < 2 ? VirtioNetFeature.ControlReceive : VirtioNetFeature.ControlReceiveExtra) && _filter.SetMode(command, data[0] != 0);
            case ControlClass.Mac when command == 0:
                return Has(VirtioNetFeature.ControlReceive) && _filter.SetTables(data);
            case ControlClass.Mac when command == 1 && data.Length == MacAddress.Length && Has(VirtioNetFeature.ControlMac):
                _filter.Address = MacAddress.Read(data);
                return true;
            case ControlClass.Vlan when command < 2 && data.Length == 2 && Has(VirtioNetFeature.ControlVlan):
                int vlan = BinaryPrimitives.ReadUInt16LittleEndian(data);
                if (vlan >= 4096)
                    return false;
                _filter.SetVlan(vlan, command == 0);
                return true;
            case ControlClass.Announce when command == 0 && _announces:
                _announces = false;
                return true;
            case ControlClass.MultipleQueues when command == 0 && data.Length == 2 && Has(VirtioNetFeature.MultipleQueues):
                int pairs = BinaryPrimitives.ReadUInt16LittleEndian(data);
                if (pairs < 1 || pairs > _pairs)
                    return false;
                _activePairs = pairs;
                // Queues that come into use may have been filled before.
                _backend.Wake();
                return true;
            case ControlClass.GuestOffloads when command == 0 && data.Length == 8 && Has(VirtioNetFeature.ControlGuestOffloads):
                ulong offloads = BinaryPrimitives.ReadUInt64LittleEndian(data);
                if ((offloads & ~(DriverFeatures & VirtioNetFeature.GuestOffloads)) != 0)
                    return false;
                _guestOffloads = offloads;
                return true;
            default:
                return false;
        }
    }
}
