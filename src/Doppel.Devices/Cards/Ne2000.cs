using Doppel.Devices.Network;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Cards;

/// <summary>
/// Ethernet card of the NE2000 kind on the ISA bus: National Semiconductor's DP8390D (data sheet) with 16 KiB of memory behind
/// its remote DMA, and the address in a PROM. The machine's I/O lock guards it.
/// </summary>
public sealed partial class Ne2000 : IDevice, INetworkCard, IBackgroundDevice, IDisposable, IFrameCard
{
    /// <summary>First port, as the card's jumpers have it: registers, the data port at 10h, the reset port at 18h.</summary>
    public const int FirstPort = 0x300;

    /// <summary>Its interrupt: what is left over on a board whose PCI links take 10 and 11.</summary>
    public const int Irq = 5;

    private const int PortCount = 32, DataPort = 0x10, ResetPort = 0x18;
    private const int PromLength = 32, MemoryStart = 0x4000, MemoryEnd = 0x8000, PageLength = 256;
    private const byte Stop = 1, Start = 2, Transmit = 4, RemoteMask = 0x38, RemoteRead = 0x08, RemoteWrite = 0x10, RemoteAbort = 0x20;
    private const byte Received = 1, Sent = 2, CounterOverflow = 0x20, RemoteDone = 0x40, ResetState = 0x80;
    private readonly IInterruptLine _line;
    private readonly CardCable _cable;
    private readonly IoRange[] _ports;
    private readonly byte[] _prom = new byte[PromLength];
    private readonly byte[] _memory = new byte[MemoryEnd - MemoryStart];

    private byte _command, _status, _mask, _receiveStatus, _transmitStatus;
    private byte _firstPage, _lastPage, _boundary, _current, _transmitPage;
    private byte _receiveConfiguration, _transmitConfiguration, _dataConfiguration;
    private ushort _transmitLength, _remoteAddress, _remoteCount;
    private readonly byte[] _address = new byte[6];
    private readonly byte[] _multicast = new byte[8];

    /// <summary>Creates the card and attaches it to its back end.</summary>
    /// <param name="name">Name of its saved section, for example "ne2000-0".</param>
    /// <param name="backend">What its cable leads to; not disposed with the device.</param>
    /// <param name="address">Its address, in the PROM.</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="line">Its interrupt.</param>
    public Ne2000(string name, INetworkBackend backend, MacAddress address, DevicePlatform platform, IInterruptLine line)
    {
        ArgumentNullException.ThrowIfNull(platform);
        ArgumentNullException.ThrowIfNull(line);
        SectionName = name;
        _line = line;
        Span<byte> bytes = stackalloc byte[MacAddress.Length];
        address.Write(bytes);
        // The PROM has eight bits on a bus of sixteen: each byte comes twice. W tells of 16 bits.
        for (int i = 0; i < PromLength; i++)
            _prom[i] = i / 2 < bytes.Length ? bytes[i / 2] : i / 2 >= 14 ? (byte)'W' : (byte)0;
        _ports = [new IoRange(FirstPort, PortCount, new PortRegion(this))];
        Reset();
        _cable = new CardCable(name, this, backend, platform);
    }

    /// <inheritdoc/>
    public string SectionName { get; }

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <inheritdoc/>
    public bool IsPluggedIn
    {
        get => _cable.IsPluggedIn;
        set => _cable.IsPluggedIn = value;
    }

    private bool IsRunning => (_command & (Stop | Start)) == Start;

    /// <inheritdoc/>
    public void Reset()
    {
        Array.Clear(_memory);
        Array.Clear(_multicast);
        Array.Clear(_address);
        (_firstPage, _lastPage, _boundary, _current, _transmitPage) = (0, 0, 0, 0, 0);
        (_transmitLength, _remoteAddress, _remoteCount) = (0, 0, 0);
        (_receiveConfiguration, _transmitConfiguration, _dataConfiguration, _receiveStatus, _transmitStatus) = (0, 0, 0, 0, 0);
        ResetController();
    }

    /// <inheritdoc/>
    public Task HoldAsync() => _cable.HoldAsync();

    /// <inheritdoc/>
    public void Release() => _cable.Release();

    /// <inheritdoc/>
    public void Dispose() => _cable.Dispose();

    void IFrameCard.OnLinkChanged()
    {
        // The chip knows nothing of a link.
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write(_memory.AsSpan());
        foreach (byte value in (byte[])[_command, _status, _mask, _receiveStatus, _transmitStatus, _firstPage, _lastPage, _boundary, _current, _transmitPage, _receiveConfiguration, _transmitConfiguration, _dataConfiguration])
            writer.Write(value);
        writer.Write(_transmitLength);
        writer.Write(_remoteAddress);
        writer.Write(_remoteCount);
        writer.Write(_address.AsSpan());
        writer.Write(_multicast.AsSpan());
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        ArgumentNullException.ThrowIfNull(reader);
        StateCheck.Version(SectionName, version, SectionVersion);
        byte[] memory = StateCheck.Length(SectionName, "memory", reader.ReadBytes(_memory.Length), _memory.Length);
        byte[] v = [.. Enumerable.Range(0, 13).Select(_ => reader.ReadByte())];
        ushort transmitLength = reader.ReadUInt16(), remoteAddress = reader.ReadUInt16(), remoteCount = reader.ReadUInt16();
        byte[] address = StateCheck.Length(SectionName, "address", reader.ReadBytes(_address.Length), _address.Length);
        byte[] multicast = StateCheck.Length(SectionName, "multicast table", reader.ReadBytes(_multicast.Length), _multicast.Length);
        _cable.HoldForRestore();
        memory.CopyTo(_memory, 0);
        (_command, _status, _mask, _receiveStatus, _transmitStatus) = (v[0], v[1], v[2], v[3], v[4]);
        (_firstPage, _lastPage, _boundary, _current, _transmitPage) = (v[5], v[6], v[7], v[8], v[9]);
        (_receiveConfiguration, _transmitConfiguration, _dataConfiguration) = (v[10], v[11], v[12]);
        (_transmitLength, _remoteAddress, _remoteCount) = (transmitLength, remoteAddress, remoteCount);
        address.CopyTo(_address, 0);
        multicast.CopyTo(_multicast, 0);
        UpdateInterrupt();
    }

    private void ResetController()
    {
        (_command, _status, _mask) = (Stop | RemoteAbort, ResetState, 0);
        UpdateInterrupt();
    }

    private void Raise(byte cause)
    {
        _status |= cause;
        UpdateInterrupt();
    }

    private void UpdateInterrupt() => _line.Set((_status & _mask & 0x7F) != 0);

    private byte ReadRegister(int offset) => (offset, _command >> 6) switch
    {
        (0, _) => _command,
        (3, 0) => _boundary,
        (4, 0) => _transmitStatus,
        (7, 0) => _status,
        (8, 0) => (byte)_remoteAddress,
        (9, 0) => (byte)(_remoteAddress >> 8),
        (12, 0) => _receiveStatus,
        ( >= 1 and <= 6, 1) => _address[offset - 1],
        (7, 1) => _current,
        ( >= 8, 1) => _multicast[offset - 8],
        (1, 2) => _firstPage,
        (2, 2) => _lastPage,
        (4, 2) => _transmitPage,
        (12, 2) => _receiveConfiguration,
        (13, 2) => _transmitConfiguration,
        (14, 2) => _dataConfiguration,
        (15, 2) => _mask,
        _ => 0,
    };

    private void WriteRegister(int offset, byte value)
    {
        switch (offset, _command >> 6)
        {
            case (0, _):
                WriteCommand(value);
                break;
            case (1, 0):
                _firstPage = value;
                break;
            case (2, 0):
                _lastPage = value;
                break;
            case (3, 0):
                _boundary = value;
                _cable.Wake();
                break;
            case (4, 0):
                _transmitPage = value;
                break;
            case (5, 0):
                _transmitLength = (ushort)((_transmitLength & 0xFF00) | value);
                break;
            case (6, 0):
                _transmitLength = (ushort)((_transmitLength & 0xFF) | (value << 8));
                break;
            case (7, 0):
                // The reset bit only shows that the chip stands.
                _status &= (byte)~(value & 0x7F);
                UpdateInterrupt();
                break;
            case (8, 0):
                _remoteAddress = (ushort)((_remoteAddress & 0xFF00) | value);
                break;
            case (9, 0):
                _remoteAddress = (ushort)((_remoteAddress & 0xFF) | (value << 8));
                break;
            case (10, 0):
                _remoteCount = (ushort)((_remoteCount & 0xFF00) | value);
                break;
            case (11, 0):
                _remoteCount = (ushort)((_remoteCount & 0xFF) | (value << 8));
                break;
            case (12, 0):
                _receiveConfiguration = value;
                break;
            case (13, 0):
                _transmitConfiguration = value;
                break;
            case (14, 0):
                _dataConfiguration = value;
                break;
            case (15, 0):
                _mask = value;
                UpdateInterrupt();
                break;
            case ( >= 1 and <= 6, 1):
                _address[offset - 1] = value;
                break;
            case (7, 1):
                _current = value;
                break;
            case ( >= 8, 1):
                _multicast[offset - 8] = value;
                break;
        }
    }

    private void WriteCommand(byte value)
    {
        // A transmission is ended by the chip alone.
        _command = (byte)(value | (_command & Transmit));
        if ((value & Stop) != 0)
        {
            _status |= ResetState;
            return;
        }

        _status &= unchecked((byte)~ResetState);
        if ((value & RemoteMask) is RemoteRead or RemoteWrite && _remoteCount == 0)
            Raise(RemoteDone);
        _cable.Wake();
    }

    private byte ReadByte(int address) => address switch
    {
        < PromLength => _prom[address],
        >= MemoryStart and < MemoryEnd => _memory[address - MemoryStart],
        _ => 0xFF,
    };

    private void WriteByte(int address, byte value)
    {
        if (address is >= MemoryStart and < MemoryEnd)
            _memory[address - MemoryStart] = value;
    }

    // A byte or, by the data configuration, a word at a time; the ring's end leads to its beginning.
    private uint Transfer(int size, uint value)
    {
        bool isRead = (_command & RemoteMask) == RemoteRead, isWrite = (_command & RemoteMask) == RemoteWrite;
        uint result = uint.MaxValue;
        if ((!isRead && !isWrite) || _remoteCount == 0)
            return result;
        result = 0;
        for (int i = 0; i < size; i++)
        {
            if (isRead)
                result |= (uint)ReadByte(_remoteAddress) << (8 * i);
            else
                WriteByte(_remoteAddress, (byte)(value >> (8 * i)));
            _remoteAddress++;
            if (_remoteAddress == _lastPage * PageLength)
                _remoteAddress = (ushort)(_firstPage * PageLength);
        }

        _remoteCount = (ushort)Math.Max(0, _remoteCount - size);
        if (_remoteCount == 0)
            Raise(RemoteDone);
        return result;
    }

    private sealed class PortRegion(Ne2000 owner) : Doppel.Machine.Bus.IIoRegion
    {
        public string Name => owner.SectionName;

        public ulong Read(ulong offset, int size)
        {
            if (offset is >= DataPort and < ResetPort)
                return owner.Transfer(size, 0) & (uint)((1UL << (8 * size)) - 1);
            if (offset >= ResetPort)
            {
                owner.ResetController();
                return 0;
            }

            ulong value = 0;
            for (int i = 0; i < size; i++)
                value |= (ulong)owner.ReadRegister(((int)offset + i) & 15) << (8 * i);
            return value;
        }

        public void Write(ulong offset, int size, ulong value)
        {
            if (offset >= ResetPort)
                return;
            if (offset >= DataPort)
            {
                _ = owner.Transfer(size, (uint)value);
                return;
            }

            for (int i = 0; i < size && (int)offset + i < DataPort; i++)
                owner.WriteRegister((int)offset + i, (byte)(value >> (8 * i)));
        }
    }
}
