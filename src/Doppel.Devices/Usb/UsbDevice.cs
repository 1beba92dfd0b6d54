using Doppel.Machine.State;

namespace Doppel.Devices.Usb;

/// <summary>
/// Base of devices with one configuration and one interface: the default control pipe with its three stages (USB 2.0, 8.5.3)
/// and the standard requests (9.4). A derived device adds its class's requests and its endpoints.
/// </summary>
public abstract class UsbDevice : IUsbDevice
{
    /// <summary>Bytes of a packet of endpoint 0.</summary>
    private protected const int ControlPacketSize = 8;

    private const int MostControlData = 4096;
    private const int RemoteWakeup = 1, EndpointHalt = 0;
    private readonly UsbDescriptors _descriptors;
    private readonly byte[] _data = new byte[MostControlData];
    private Stage _stage;
    private UsbSetup _setup;
    private int _dataLength;
    private int _dataDone;
    private byte _configuration;
    private bool _mayWake;

    private protected UsbDevice(UsbDescriptors descriptors) => _descriptors = descriptors;

    private enum Stage : byte
    {
        Idle,
        DataIn,
        DataOut,
        Status,
        Stalled,
    }

    /// <inheritdoc/>
    public event Action? Changed;

    /// <inheritdoc/>
    public int Address { get; private set; }

    /// <inheritdoc/>
    public bool IsSuspended { get; set; }

    /// <inheritdoc/>
    public bool WantsToWake => _mayWake && IsConfigured && HasNews;

    /// <summary>True when the host has chosen the configuration.</summary>
    protected bool IsConfigured => _configuration != 0;

    /// <summary>True when the host lets the device wake it.</summary>
    protected bool MayWake => _mayWake;

    /// <summary>True when the device would answer the next IN transaction with data.</summary>
    protected abstract bool HasNews { get; }

    /// <summary>True when endpoint 1 is halted.</summary>
    protected bool IsHalted { get; private set; }

    /// <inheritdoc/>
    public void ResetBus()
    {
        Address = 0;
        IsSuspended = false;
        (_stage, _setup, _dataLength, _dataDone) = (Stage.Idle, default, 0, 0);
        _mayWake = false;
        SetConfiguration(0);
    }

    /// <inheritdoc/>
    public UsbHandshake Receive(int endpoint, bool isSetup, ReadOnlySpan<byte> data)
    {
        if (endpoint != 0)
            return isSetup ? UsbHandshake.None : UsbHandshake.Stall;
        if (isSetup)
            return data.Length == UsbSetup.Size ? BeginControl(UsbSetup.Read(data)) : UsbHandshake.None;
        switch (_stage)
        {
            case Stage.DataIn:
                // The status stage; the host may have had enough before the end.
                _stage = Stage.Idle;
                return UsbHandshake.Ack;
            case Stage.DataOut:
                if (data.Length > _dataLength - _dataDone || data.Length > ControlPacketSize)
                {
                    _stage = Stage.Stalled;
                    return UsbHandshake.Stall;
                }

                data.CopyTo(_data.AsSpan(_dataDone));
                _dataDone += data.Length;
                if (_dataDone == _dataLength)
                    _stage = Stage.Status;
                return UsbHandshake.Ack;
            default:
                return UsbHandshake.Stall;
        }
    }

    /// <inheritdoc/>
    public UsbHandshake Send(int endpoint, out ReadOnlySpan<byte> packet)
    {
        packet = default;
        if (endpoint != 0)
            return IsConfigured && endpoint == 1 ? IsHalted ? UsbHandshake.Stall : SendInterrupt(out packet) : UsbHandshake.Stall;
        switch (_stage)
        {
            case Stage.DataIn:
                int length = Math.Min(ControlPacketSize, _dataLength - _dataDone);
                packet = _data.AsSpan(_dataDone, length);
                _dataDone += length;
                return UsbHandshake.Ack;
            case Stage.Status or Stage.DataOut:
                bool isDone = _stage == Stage.Status && Perform(_setup, _data.AsSpan(0, _dataDone));
                _stage = isDone ? Stage.Idle : Stage.Stalled;
                return isDone ? UsbHandshake.Ack : UsbHandshake.Stall;
            default:
                return UsbHandshake.Stall;
        }
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write((byte)Address);
        writer.Write(IsSuspended);
        writer.Write((byte)_stage);
        writer.Write(_setup.ToBytes().AsSpan());
        writer.Write(_data.AsSpan(0, _dataLength));
        writer.Write(_dataDone);
        writer.Write(_configuration);
        writer.Write(_mayWake);
        writer.Write(IsHalted);
        SaveClass(writer);
    }

    /// <inheritdoc/>
    public Action ReadState(StateReader reader, string section)
    {
        ArgumentNullException.ThrowIfNull(reader);
        int address = (int)StateCheck.Range(section, "USB address", reader.ReadByte(), 0, 127);
        bool isSuspended = reader.ReadBool();
        var stage = (Stage)StateCheck.Range(section, "stage of a control transfer", reader.ReadByte(), 0, (int)Stage.Stalled);
        UsbSetup setup = UsbSetup.Read(StateCheck.Length(section, "control request", reader.ReadBytes(UsbSetup.Size), UsbSetup.Size));
        byte[] data = reader.ReadBytes(MostControlData);
        int done = (int)StateCheck.Range(section, "bytes of a control transfer", reader.ReadInt32(), 0, data.Length);
        byte configuration = (byte)StateCheck.Range(section, "configuration", reader.ReadByte(), 0, 1);
        bool mayWake = reader.ReadBool(), isHalted = reader.ReadBool();
        Action takeClass = ReadClass(reader, section);
        return () =>
        {
            Address = address;
            IsSuspended = isSuspended;
            (_stage, _setup, _dataLength, _dataDone) = (stage, setup, data.Length, done);
            data.CopyTo(_data, 0);
            (_configuration, _mayWake, IsHalted) = (configuration, mayWake, isHalted);
            takeClass();
        };
    }

    /// <summary>To be called when the device has something to say that it hadn't.</summary>
    protected void RaiseChanged() => Changed?.Invoke();

    /// <summary>The host has chosen a configuration, or the bus was reset: back to what the device begins with.</summary>
    protected abstract void ResetClass();

    /// <summary>An IN transaction of endpoint 1.</summary>
    protected abstract UsbHandshake SendInterrupt(out ReadOnlySpan<byte> packet);

    /// <summary>A request of the device's class that asks for data.</summary>
    /// <returns>The data; null for a request that it doesn't know.</returns>
    private protected abstract byte[]? Answer(UsbSetup setup);

    /// <summary>A request of the device's class that sets something.</summary>
    /// <returns>False for one that it doesn't know.</returns>
    private protected abstract bool PerformClass(UsbSetup setup, ReadOnlySpan<byte> data);

    /// <summary>Writes what only this device has.</summary>
    protected abstract void SaveClass(StateWriter writer);

    /// <summary>Reads and checks what <see cref="SaveClass"/> wrote.</summary>
    protected abstract Action ReadClass(StateReader reader, string section);

    private void SetConfiguration(byte value)
    {
        _configuration = value;
        IsHalted = false;
        ResetClass();
    }

    private UsbHandshake BeginControl(UsbSetup setup)
    {
        (_setup, _dataLength, _dataDone) = (setup, 0, 0);
        if (setup.IsIn)
        {
            byte[]? answer = AnswerStandard(setup) ?? Answer(setup);
            _stage = answer is null ? Stage.Stalled : Stage.DataIn;
            _dataLength = Math.Min(answer?.Length ?? 0, (int)setup.Length);
            answer?.AsSpan(0, _dataLength).CopyTo(_data);
        }
        else
        {
            _stage = setup.Length switch { 0 => Stage.Status, > MostControlData => Stage.Stalled, _ => Stage.DataOut };
            _dataLength = Math.Min((int)setup.Length, MostControlData);
        }

        return UsbHandshake.Ack;
    }

    private byte[]? AnswerStandard(UsbSetup setup) => setup.Code switch
    {
        0x8000 => [(byte)(_mayWake ? 2 : 0), 0],
        0x8100 when setup.Index == 0 && IsConfigured => [0, 0],
        0x8200 when (setup.Index & 0x7F) == 0 => [0, 0],
        0x8200 when setup.Index == 0x81 && IsConfigured => [(byte)(IsHalted ? 1 : 0), 0],
        0x8006 => _descriptors.Find(setup.Value >> 8, setup.Value & 0xFF),
        0x8008 => [_configuration],
        0x810A when setup.Index == 0 && IsConfigured => [0],
        _ => null,
    };

    private bool Perform(UsbSetup setup, ReadOnlySpan<byte> data)
    {
        switch (setup.Code)
        {
            case 0x0001 or 0x0003 when setup.Value == RemoteWakeup:
                _mayWake = setup.Request == 3;
                return true;
            case 0x0201 or 0x0203 when setup.Value == EndpointHalt && setup.Index == 0x81 && IsConfigured:
                IsHalted = setup.Request == 3;
                return true;
            case 0x0201 when setup.Value == EndpointHalt && (setup.Index & 0x7F) == 0:
                return true;
            case 0x0005 when setup.Value <= 127:
                Address = setup.Value;
                return true;
            case 0x0009 when setup.Value <= 1:
                SetConfiguration((byte)setup.Value);
                return true;
            case 0x010B when setup.Value == 0 && setup.Index == 0 && IsConfigured:
                return true;
            default:
                return PerformClass(setup, data);
        }
    }
}
