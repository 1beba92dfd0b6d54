using Doppel.Devices.Ata;
using Doppel.Devices.Storage;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Ahci;

/// <summary>
/// A port of an AHCI controller (AHCI 1.3.1, 3.3 and chapter 5): it gives the commands of its list to its drive, one at a time,
/// and queued ones to the medium side by side. The machine's I/O lock guards it.
/// </summary>
internal sealed partial class AhciPort : IAtaHost, IDisposable
{
    private const uint StartBit = 1, SpinUp = 2, PowerOn = 4, ListOverride = 8, ReceiveBit = 0x10, ReceiveRunning = 1 << 14, ListRunning = 1 << 15, PacketBit = 1 << 24;
    private const uint WritableCommand = StartBit | SpinUp | PowerOn | ReceiveBit | PacketBit;
    private const uint RegisterFrame = 1, PioSetup = 2, DeviceBits = 8, Overflow = 1 << 24, HostDataError = 1u << 28, TaskFileError = 1u << 30;
    private const uint ConnectChange = 1 << 6;
    private const uint ImplementedInterrupts = 0xFDC0_00FF;
    private const uint Established = 0x133;
    private const uint ErrorExchanged = 1 << 26;

    private readonly GuestMemory _memory;
    private readonly Lock _ioLock;
    private readonly DevicePlatform _platform;
    private readonly AtaDevice? _drive;
    private readonly Action<StorageFullException>? _full;
    private readonly Action<bool> _changed;
    private readonly Func<bool> _isBusMaster;
    private ulong _list;
    private ulong _received;
    private uint _interrupts;
    private uint _enabled;
    private uint _command;
    private uint _taskFile;
    private uint _signature;
    private uint _sataControl;
    private uint _sataError;
    private uint _active;
    private uint _issued;
    private AhciCommand? _current;
    private bool _isStopped;
    private bool _isPumping;
    private bool _isHeld;

    /// <summary>Creates a port.</summary>
    /// <param name="name">Its name in reports.</param>
    /// <param name="drive">Its drive; null for none. Owned.</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="full">As for the controller.</param>
    /// <param name="changed">Told when <see cref="Interrupts"/> or <see cref="IsBusy"/> may have changed; true when there is a new reason to interrupt.</param>
    /// <param name="isBusMaster">True while the controller may reach memory.</param>
    internal AhciPort(string name, AtaDevice? drive, DevicePlatform platform, Action<StorageFullException>? full, Action<bool> changed, Func<bool> isBusMaster)
    {
        Name = name;
        _drive = drive;
        _platform = platform;
        _memory = platform.Memory;
        _ioLock = platform.IoLock;
        _full = full;
        _changed = changed;
        _isBusMaster = isBusMaster;
        if (drive is not null)
        {
            drive.Host = this;
            drive.IsSerial = true;
        }

        Reset();
    }

    /// <summary>Its name in reports.</summary>
    internal string Name { get; }

    /// <summary>True while it asks for an interrupt.</summary>
    internal bool Interrupts => (_interrupts & _enabled) != 0;

    /// <summary>True while a queued command uses guest memory.</summary>
    internal bool IsBusy => _busy.Count != 0;

    private bool IsRunning => (_command & StartBit) != 0 && !_isStopped && !_isHeld && _drive is not null && _isBusMaster() && !_isEnding;

    /// <inheritdoc/>
    public void Dispose()
    {
        HoldAsync().GetAwaiter().GetResult();
        _drive?.Dispose();
    }

    void IAtaHost.OnInterrupt(AtaDevice device) => Pump();

    int IAtaHost.TakeDma(AtaDevice device, ReadOnlySpan<byte> data)
    {
        _current?.Write(data);
        return data.Length;
    }

    int IAtaHost.GiveDma(AtaDevice device, Span<byte> data) => _current?.Read(data) ?? 0;

    /// <summary>The state after a reset of the controller; nothing uses guest memory.</summary>
    internal void Reset()
    {
        (_list, _received, _enabled, _command, _sataControl) = (0, 0, 0, SpinUp | PowerOn, 0);
        Connect();
        _interrupts = 0;
        _sataError = 0;
    }

    /// <summary>Goes on with the list.</summary>
    internal void Continue()
    {
        while (IsRunning && _current is null && _issued != 0)
        {
            int slot = System.Numerics.BitOperations.TrailingZeroCount(_issued & ~_taken);
            if (slot >= 32)
                return;
            Begin(slot);
        }
    }

    /// <summary>Reads a register.</summary>
    internal uint Read(int offset) => offset switch
    {
        0x00 => (uint)_list,
        0x04 => (uint)(_list >> 32),
        0x08 => (uint)_received,
        0x0C => (uint)(_received >> 32),
        0x10 => _interrupts,
        0x14 => _enabled,
        0x18 => _command | ((_command & ReceiveBit) != 0 ? ReceiveRunning : 0) | ((_command & StartBit) != 0 || _isEnding ? ListRunning : 0) | ((uint)(_current?.Slot ?? 0) << 8),
        0x20 => _taskFile,
        0x24 => _signature,
        0x28 => _drive is null || (_sataControl & 15) != 0 ? 0 : Established,
        0x2C => _sataControl,
        0x30 => _sataError,
        0x34 => _active,
        0x38 => _issued,
        _ => 0,
    };

    /// <summary>Writes a register.</summary>
    internal void Write(int offset, uint value)
    {
        switch (offset)
        {
            case 0x00:
                _list = (_list & ~(ulong)uint.MaxValue) | (value & ~0x3FFu);
                break;
            case 0x04:
                _list = (uint)_list | ((ulong)value << 32);
                break;
            case 0x08:
                _received = (_received & ~(ulong)uint.MaxValue) | (value & ~0xFFu);
                break;
            case 0x0C:
                _received = (uint)_received | ((ulong)value << 32);
                break;
            case 0x10:
                _interrupts &= ~value;
                // Two of the bits show those of the error register.
                _interrupts |= (_sataError & ErrorExchanged) != 0 ? ConnectChange : 0;
                _changed(false);
                break;
            case 0x14:
                _enabled = value & ImplementedInterrupts;
                _changed(true);
                break;
            case 0x18:
                WriteCommand(value);
                break;
            case 0x2C:
                uint old = _sataControl;
                _sataControl = value & 0xFFF;
                // COMRESET lasts while DET is 1; the drive answers when it ends.
                if ((old & 15) == 1 && (value & 15) == 0)
                    BeginReset();
                break;
            case 0x30:
                _sataError &= ~value;
                _interrupts &= (_sataError & ErrorExchanged) == 0 ? ~ConnectChange : uint.MaxValue;
                _changed(false);
                break;
            case 0x34 when (_command & StartBit) != 0:
                _active |= value;
                break;
            case 0x38 when (_command & StartBit) != 0:
                _issued |= value;
                Continue();
                break;
            default:
                break;
        }
    }

    private void WriteCommand(uint value)
    {
        uint old = _command;
        _command = value & WritableCommand;
        if ((value & ListOverride) != 0)
            _taskFile &= ~(uint)(AtaDevice.Busy | AtaDevice.DataRequest);
        if ((_command & ReceiveBit) != 0 && (old & ReceiveBit) == 0)
            SendSignature();
        if ((old & ~_command & StartBit) != 0)
            Stop(reconnects: false);
        else
            Continue();
    }

    private void BeginReset() => Stop(reconnects: true);

    /// <summary>The drive appears: it has been reset, and says what it is.</summary>
    private void Connect()
    {
        (_active, _issued, _taken, _current, _isStopped, _isEnding, _reconnects) = (0, 0, 0, null, false, false, false);
        _taskFile = 0x7F;
        _signature = uint.MaxValue;
        if (_drive is null)
            return;
        _isPumping = true;
        _drive.Reset();
        _isPumping = false;
        _sataError |= ErrorExchanged;
        _interrupts |= ConnectChange;
        SendSignature();
        _changed(true);
    }

    private void SendSignature()
    {
        if (_drive is null || _current is not null)
            return;
        _signature = ((uint)_drive.Signature << 16) | 0x0101;
        ShowTaskFile();
        SendRegisters(interrupts: false);
    }

    private void ShowTaskFile() => _taskFile = _drive!.Status | ((uint)_drive.Error << 8);

    private void Interrupt(uint reasons)
    {
        uint fresh = reasons & ~_interrupts;
        _interrupts |= reasons;
        if (reasons != 0)
            _changed((fresh & _enabled) != 0);
    }
}
