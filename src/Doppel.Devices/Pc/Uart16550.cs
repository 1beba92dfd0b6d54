using System.Numerics;
using Doppel.Devices.Console;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Pc;

/// <summary>
/// A 16550A UART (National Semiconductor PC16550D data sheet). Output leaves at once, whatever the divisor says, as
/// long as the back end accepts it; then the transmitter fills and the guest waits, and no byte is lost. Input is taken
/// from the back end as the receive FIFO has room, so it does not overrun.
/// </summary>
/// <remarks>
/// The far end obeys RTS, so that input waits until the guest's driver has opened the port, instead of being lost while
/// it is probed. A guest that has never touched the modem control register knows nothing of that: it is given input
/// when it looks for it, by reading the line status or by enabling the interrupt.
/// The far end takes and gives bytes, whatever word length the line control register says: after a reset that is 5 bits, and
/// programs that write without setting it are to be read nevertheless. The length counts for the character's time only.
/// </remarks>
public sealed class Uart16550 : IDevice, IDisposable
{
    private const int FifoSize = 16;
    private const byte DataReady = 0x01, Overrun = 0x02, Break = 0x10, HolderEmpty = 0x20, TransmitterEmpty = 0x40, FifoError = 0x80;
    private const byte DivisorLatch = 0x80;
    private const byte Loop = 0x10, Out2 = 0x08, RequestToSend = 0x02;
    private const byte ReceiveInterrupt = 0x01;
    private const long InputClock = 1_843_200;

    private readonly IGuestClock _clock;
    private readonly IInterruptLine _line;
    private readonly IConsoleBackend _backend;
    private readonly Lock _ioLock;
    private readonly IGuestTimer _timer;
    private readonly IoRange[] _ports;
    private readonly ushort[] _receive = new ushort[FifoSize];
    private readonly byte[] _transmit = new byte[FifoSize];
    private int _receiveCount;
    private int _transmitCount;
    private byte _interruptEnable;
    private byte _fifoControl;
    private byte _lineControl;
    private byte _modemControl;
    private byte _modemDeltas;
    private byte _scratch;
    private byte _lastReceived;
    private ushort _divisor = 12;
    private bool _knowsModemControl;
    private bool _overrun;
    private bool _holderEmptyPending;
    private bool _timeoutPending;
    private long _timeoutAt;
    private bool _level;

    /// <summary>Creates the UART in its reset state and connects the back end.</summary>
    /// <param name="name">Name for traces and the saved section, for example "serial0".</param>
    /// <param name="firstPort">First of its eight ports.</param>
    /// <param name="clock">The machine's time, for the character timeout.</param>
    /// <param name="line">Its interrupt.</param>
    /// <param name="backend">The far end of the line. Not disposed here.</param>
    /// <param name="ioLock">The machine's I/O lock: taken when the back end reports input.</param>
    public Uart16550(string name, ushort firstPort, IGuestClock clock, IInterruptLine line, IConsoleBackend backend, Lock ioLock)
    {
        ArgumentNullException.ThrowIfNull(clock);
        ArgumentNullException.ThrowIfNull(line);
        ArgumentNullException.ThrowIfNull(backend);
        SectionName = name;
        _clock = clock;
        _line = line;
        _backend = backend;
        _ioLock = ioLock;
        _timer = clock.CreateTimer(name, OnTimer);
        _ports = [new IoRange(firstPort, 8, new BytePorts(name, 8, Read, Write))];
        _backend.InputAvailable += OnBackend;
        _backend.OutputDrained += OnBackend;
    }

    /// <inheritdoc/>
    public string SectionName { get; }

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    private bool FifosEnabled => (_fifoControl & 1) != 0;

    private bool IsLooped => (_modemControl & Loop) != 0;

    private int ReceiveCapacity => FifosEnabled ? FifoSize : 1;

    /// <inheritdoc/>
    public void Reset()
    {
        _receiveCount = _transmitCount = 0;
        _interruptEnable = _fifoControl = _lineControl = _modemControl = _modemDeltas = _scratch = _lastReceived = 0;
        _divisor = 12;
        _knowsModemControl = _overrun = _holderEmptyPending = _timeoutPending = false;
        _timer.Disarm();
        Update();
    }

    /// <summary>A break condition on the receive line, as a terminal's Break key makes: Linux takes it for the SysRq key. With the I/O lock held.</summary>
    public void ReceiveBreak()
    {
        if (!IsLooped)
            Receive(0, Break);
        Update();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        writer.Write(_receiveCount);
        for (int i = 0; i < _receiveCount; i++)
            writer.Write(_receive[i]);
        writer.Write(_transmit.AsSpan(0, _transmitCount));
        ReadOnlySpan<byte> registers = [_interruptEnable, _fifoControl, _lineControl, _modemControl, _modemDeltas, _scratch, _lastReceived];
        foreach (byte register in registers)
            writer.Write(register);
        writer.Write(_divisor);
        writer.Write(_knowsModemControl);
        writer.Write(_overrun);
        writer.Write(_holderEmptyPending);
        writer.Write(_timeoutPending);
        writer.Write(_timeoutAt);
        writer.Write(_level);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        int received = (int)StateCheck.Range(SectionName, "bytes received", reader.ReadInt32(), 0, FifoSize);
        Span<ushort> receive = stackalloc ushort[FifoSize];
        for (int i = 0; i < received; i++)
            receive[i] = reader.ReadUInt16();
        byte[] transmit = reader.ReadBytes(FifoSize);
        byte interruptEnable = (byte)StateCheck.Range(SectionName, "interrupt enable", reader.ReadByte(), 0, 15);
        byte fifoControl = (byte)(reader.ReadByte() & 0xC9);
        byte lineControl = reader.ReadByte();
        byte modemControl = (byte)StateCheck.Range(SectionName, "modem control", reader.ReadByte(), 0, 31);
        byte deltas = (byte)StateCheck.Range(SectionName, "modem changes", reader.ReadByte(), 0, 15);
        byte scratch = reader.ReadByte();
        byte last = reader.ReadByte();
        ushort divisor = reader.ReadUInt16();
        bool knowsModemControl = reader.ReadBool();
        bool overrun = reader.ReadBool();
        bool holderEmpty = reader.ReadBool();
        bool timeout = reader.ReadBool();
        long timeoutAt = StateCheck.Range(SectionName, "time of the timeout", reader.ReadInt64(), 0, long.MaxValue);
        bool level = reader.ReadBool();
        receive.CopyTo(_receive);
        transmit.CopyTo(_transmit, 0);
        (_receiveCount, _transmitCount) = (received, transmit.Length);
        (_interruptEnable, _fifoControl, _lineControl, _modemControl) = (interruptEnable, fifoControl, lineControl, modemControl);
        (_modemDeltas, _scratch, _lastReceived, _divisor) = (deltas, scratch, last, divisor);
        _knowsModemControl = knowsModemControl;
        (_overrun, _holderEmptyPending, _timeoutPending, _timeoutAt) = (overrun, holderEmpty, timeout, timeoutAt);
        _level = level;
        _line.Set(level);
        if (FifosEnabled && _receiveCount > 0 && !_timeoutPending)
            _timer.Arm(_timeoutAt);
        else
            _timer.Disarm();
        Poll();
    }

    /// <summary>Takes waiting input and sends waiting output. With the I/O lock held.</summary>
    public void Poll()
    {
        Exchange();
        Update();
    }

    /// <summary>Disconnects the back end.</summary>
    public void Dispose()
    {
        _backend.InputAvailable -= OnBackend;
        _backend.OutputDrained -= OnBackend;
        _timer.Dispose();
    }

    private void OnBackend()
    {
        lock (_ioLock)
            Poll();
    }

    private byte Read(int register)
    {
        byte value;
        switch (register)
        {
            case 0 when (_lineControl & DivisorLatch) != 0:
                return (byte)_divisor;
            case 1 when (_lineControl & DivisorLatch) != 0:
                return (byte)(_divisor >> 8);
            case 0:
                value = ReadData();
                break;
            case 1:
                return _interruptEnable;
            case 2:
                value = (byte)(InterruptIdentity() | (FifosEnabled ? 0xC0 : 0));
                if ((value & 0x0F) == 0x02)
                    _holderEmptyPending = false;
                break;
            case 3:
                return _lineControl;
            case 4:
                return _modemControl;
            case 5:
                if (!_knowsModemControl && _receiveCount == 0)
                    Exchange(isPolled: true);
                value = LineStatus();
                _overrun = false;
                if (_receiveCount > 0)
                    _receive[0] &= 0xFF;
                break;
            case 6:
                value = (byte)(ModemStatus() | _modemDeltas);
                _modemDeltas = 0;
                break;
            default:
                return _scratch;
        }

        Update();
        return value;
    }

    private void Write(int register, byte value)
    {
        switch (register)
        {
            case 0 when (_lineControl & DivisorLatch) != 0:
                _divisor = (ushort)((_divisor & 0xFF00) | value);
                return;
            case 1 when (_lineControl & DivisorLatch) != 0:
                _divisor = (ushort)((_divisor & 0x00FF) | (value << 8));
                return;
            case 0:
                Transmit(value);
                break;
            case 1:
                // Enabling the interrupt while the holding register is empty requests it at once.
                if ((value & 2) == 0)
                    _holderEmptyPending = false;
                else if ((_interruptEnable & 2) == 0 && _transmitCount == 0)
                    _holderEmptyPending = true;
                _interruptEnable = (byte)(value & 0x0F);
                Exchange();
                break;
            case 2:
                WriteFifoControl(value);
                break;
            case 3:
                _lineControl = value;
                return;
            case 4:
                WriteModemControl((byte)(value & 0x1F));
                break;
            case 7:
                _scratch = value;
                return;
            default:
                return;
        }

        Update();
    }

    private byte ReadData()
    {
        if (_receiveCount == 0)
            return _lastReceived;
        _lastReceived = (byte)_receive[0];
        _receiveCount--;
        Array.Copy(_receive, 1, _receive, 0, _receiveCount);
        _timeoutPending = false;
        Exchange();
        RestartTimeout();
        return _lastReceived;
    }

    private void Transmit(byte value)
    {
        _holderEmptyPending = false;
        Update();
        if (IsLooped)
        {
            Receive(value, 0);
        }
        else if (_transmitCount == 0 && _backend.CanAcceptOutput)
        {
            _backend.Write([value]);
        }
        else
        {
            if (_transmitCount == (FifosEnabled ? FifoSize : 1))
            {
                // A guest that overruns the transmitter would lose a byte here; the back end takes it instead.
                _backend.Write(_transmit.AsSpan(0, 1));
                Array.Copy(_transmit, 1, _transmit, 0, --_transmitCount);
            }

            _transmit[_transmitCount++] = value;
            return;
        }

        _holderEmptyPending = true;
    }

    private bool IsReadyToReceive(bool isPolled) =>
        _knowsModemControl ? (_modemControl & RequestToSend) != 0 : isPolled || (_interruptEnable & ReceiveInterrupt) != 0;

    private void Exchange(bool isPolled = false)
    {
        if (_transmitCount > 0 && _backend.CanAcceptOutput)
        {
            _backend.Write(_transmit.AsSpan(0, _transmitCount));
            _transmitCount = 0;
            _holderEmptyPending = true;
        }

        if (IsLooped || _receiveCount >= ReceiveCapacity || !IsReadyToReceive(isPolled))
            return;
        Span<byte> bytes = stackalloc byte[FifoSize];
        int count = _backend.Read(bytes[..(ReceiveCapacity - _receiveCount)]);
        for (int i = 0; i < count; i++)
            Receive(bytes[i], 0);
    }

    private void Receive(byte value, byte errors)
    {
        if (_receiveCount == ReceiveCapacity)
        {
            _overrun = true;
            // Without FIFOs the new character replaces the old; with them it is lost.
            if (!FifosEnabled)
                _receive[0] = (ushort)(value | (errors << 8));
            return;
        }

        _receive[_receiveCount++] = (ushort)(value | (errors << 8));
        _timeoutPending = false;
        RestartTimeout();
    }

    private void WriteFifoControl(byte value)
    {
        if (((value ^ _fifoControl) & 1) != 0)
            value |= 6;
        if ((value & 2) != 0)
        {
            _receiveCount = 0;
            _timeoutPending = false;
        }

        if ((value & 4) != 0 && _transmitCount > 0)
        {
            _transmitCount = 0;
            _holderEmptyPending = true;
        }

        // The trigger and DMA bits can only be set together with the enable bit.
        _fifoControl = (value & 1) != 0 ? (byte)(value & 0xC9) : (byte)0;
        Exchange();
        RestartTimeout();
    }

    private void WriteModemControl(byte value)
    {
        byte before = ModemStatus();
        _modemControl = value;
        _knowsModemControl |= value != 0;
        int changed = before ^ ModemStatus();
        // RI only reports its trailing edge.
        int ring = changed & before & 0x40;
        _modemDeltas |= (byte)(((changed & 0xB0) | ring) >> 4);
        Exchange();
    }

    private byte ModemStatus()
    {
        if (!IsLooped)
            return 0xB0;
        int control = _modemControl;
        return (byte)(((control & 2) << 3) | ((control & 1) << 5) | ((control & 4) << 4) | ((control & 8) << 4));
    }

    private byte LineStatus()
    {
        int status = _receiveCount > 0 ? DataReady | (_receive[0] >> 8) : 0;
        if (_overrun)
            status |= Overrun;
        if (_transmitCount == 0)
            status |= HolderEmpty | TransmitterEmpty;
        if (FifosEnabled)
        {
            for (int i = 0; i < _receiveCount; i++)
                status |= _receive[i] > 0xFF ? FifoError : 0;
        }

        return (byte)status;
    }

    private int TriggerLevel() => FifosEnabled ? (_fifoControl >> 6) switch { 0 => 1, 1 => 4, 2 => 8, _ => 14 } : 1;

    private byte InterruptIdentity()
    {
        if ((_interruptEnable & 4) != 0 && (LineStatus() & 0x1E) != 0)
            return 0x06;
        if ((_interruptEnable & 1) != 0 && _receiveCount >= TriggerLevel())
            return 0x04;
        if ((_interruptEnable & 1) != 0 && _timeoutPending)
            return 0x0C;
        if ((_interruptEnable & 2) != 0 && _holderEmptyPending)
            return 0x02;
        return (_interruptEnable & 8) != 0 && _modemDeltas != 0 ? (byte)0x00 : (byte)0x01;
    }

    private void Update()
    {
        // OUT2 enables the buffer between the chip and the bus; in loopback the pin is inactive.
        _level = InterruptIdentity() != 0x01 && (_modemControl & (Out2 | Loop)) == Out2;
        _line.Set(_level);
    }

    private void RestartTimeout()
    {
        if (!FifosEnabled || _receiveCount == 0)
        {
            _timer.Disarm();
            return;
        }

        // Four characters: start bit, data, parity, stop bits, at 16 input clocks for each unit of the divisor.
        int bits = 7 + (_lineControl & 3) + BitOperations.PopCount((uint)_lineControl & 0x0C);
        long clocks = 4L * bits * 16 * Math.Max(1, (int)_divisor);
        _timeoutAt = _clock.Now + (clocks * 1_000_000_000 / InputClock);
        _timer.Arm(_timeoutAt);
    }

    private void OnTimer()
    {
        if (!FifosEnabled || _receiveCount == 0)
            return;
        _timeoutPending = true;
        Update();
    }
}
