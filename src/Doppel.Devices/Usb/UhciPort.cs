using Doppel.Machine.State;

namespace Doppel.Devices.Usb;

/// <summary>A port of a UHCI's root hub (UHCI design guide 1.1, 2.1.7), with or without a device in it.</summary>
internal sealed class UhciPort
{
    private const ushort Connected = 0x0001, ConnectChanged = 0x0002, Enabled = 0x0004, EnableChanged = 0x0008, Idle = 0x0010, ResumeDetect = 0x0040, AlwaysOne = 0x0080, InReset = 0x0200, Suspend = 0x1000;
    private const ushort Kept = Enabled | ResumeDetect | InReset | Suspend, Changes = ConnectChanged | EnableChanged;
    private readonly IUsbDevice? _device;
    private ushort _bits;

    internal UhciPort(IUsbDevice? device)
    {
        _device = device;
        Reset();
    }

    /// <summary>The device, if transactions reach it.</summary>
    internal IUsbDevice? Reachable => (_bits & (Enabled | InReset | Suspend)) == Enabled ? _device : null;

    internal ushort Value => (ushort)(_bits | AlwaysOne | (_device is null ? 0 : Connected | Idle));

    internal void Reset()
    {
        _bits = _device is null ? (ushort)0 : ConnectChanged;
        ResetBus();
    }

    /// <summary>The whole bus is reset.</summary>
    internal void ResetBus()
    {
        _bits &= unchecked((ushort)~(Enabled | Suspend | ResumeDetect));
        _device?.ResetBus();
    }

    internal void Write(ushort value)
    {
        bool wasResuming = (_bits & ResumeDetect) != 0, wasInReset = (_bits & InReset) != 0;
        int bits = (_bits & Changes & ~value) | (value & Kept);
        if ((bits & InReset) != 0)
        {
            bits &= ~(Enabled | Suspend | ResumeDetect);
            if (!wasInReset)
                _device?.ResetBus();
        }

        if (_device is null)
            bits &= ~(Enabled | Suspend | ResumeDetect);
        // The end of the resume signal ends the suspension.
        if (wasResuming && (bits & ResumeDetect) == 0)
            bits &= ~Suspend;
        _bits = (ushort)bits;
    }

    /// <summary>Tells the device whether it sleeps.</summary>
    /// <param name="isBusSuspended">True while the whole bus is.</param>
    internal void UpdateDevice(bool isBusSuspended)
    {
        if (_device is not null)
            _device.IsSuspended = (_bits & Enabled) != 0 && (isBusSuspended || (_bits & Suspend) != 0);
    }

    /// <summary>Sees whether the device signals that it wants to be woken.</summary>
    /// <returns>True when it does and hasn't before.</returns>
    internal bool DetectResume()
    {
        if (_device is not { IsSuspended: true, WantsToWake: true } || (_bits & ResumeDetect) != 0)
            return false;
        _bits |= ResumeDetect;
        return true;
    }

    internal void Save(StateWriter writer)
    {
        writer.Write(_bits);
        _device?.Save(writer);
    }

    internal Action ReadState(StateReader reader, string section)
    {
        ushort bits = reader.ReadUInt16();
        if ((bits & ~(Kept | Changes)) != 0)
            throw new InvalidDataException($"section {section}: a port's status is {bits:X4}h; {Kept | Changes:X4}h are the bits that are saved");
        Action? device = _device?.ReadState(reader, section);
        return () =>
        {
            _bits = bits;
            device?.Invoke();
        };
    }
}
