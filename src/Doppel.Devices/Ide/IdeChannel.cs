using System.Buffers.Binary;
using Doppel.Devices.Ata;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Ide;

/// <summary>
/// An IDE channel: a cable with up to two drives, the command block of eight ports and the control block with one
/// (ATA/ATAPI-7, volume 2, chapter 5). Of use on the ISA bus alone, or as half of a PCI function that adds DMA. The machine's
/// I/O lock guards it.
/// </summary>
public sealed class IdeChannel : IDevice, IBackgroundDevice, IAtaHost, IDisposable
{
    /// <summary>First port of the command block and port of the control block of the primary and of the secondary channel.</summary>
    public const int PrimaryCommand = 0x1F0, PrimaryControl = 0x3F6, SecondaryCommand = 0x170, SecondaryControl = 0x376;

    /// <summary>Interrupts of the primary and of the secondary channel.</summary>
    public const int PrimaryIrq = 14, SecondaryIrq = 15;

    private const int DataRegister = 0, ErrorRegister = 1, StatusRegister = 7;
    private const byte SlaveBit = 0x10;
    private const byte ResetBit = 4, InterruptsOff = 2, PreviousBit = 0x80;
    private const byte DiagnosticCommand = 0x90;

    private readonly IInterruptLine _line;
    private readonly AtaDevice?[] _drives;
    private byte _control;
    private int _selected;
    private bool _level;

    /// <summary>Creates a channel.</summary>
    /// <param name="name">Name of its saved section, for example "ide0".</param>
    /// <param name="master">Drive 0; null for none. The channel owns it.</param>
    /// <param name="slave">Drive 1; null for none. The channel owns it.</param>
    /// <param name="line">Its interrupt.</param>
    /// <param name="command">First port of the command block.</param>
    /// <param name="control">Port of the control block.</param>
    public IdeChannel(string name, AtaDevice? master, AtaDevice? slave, IInterruptLine line, int command = PrimaryCommand, int control = PrimaryControl)
    {
        SectionName = name;
        _line = line;
        _drives = [master, slave];
        foreach (AtaDevice? drive in _drives)
            drive?.Host = this;
        Ports = [new IoRange((ulong)command, 8, new CommandBlock(this)), new IoRange((ulong)control, 1, new BytePorts(name + "-control", 1, _ => Selected?.Status ?? 0, (_, value) => WriteControl(value)))];
    }

    /// <inheritdoc/>
    public string SectionName { get; }

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports { get; }

    /// <summary>The drives, 0 and 1; null where there is none.</summary>
    public IReadOnlyList<AtaDevice?> Drives => _drives;

    /// <summary>The DMA of the channel; null for none, as on the ISA bus.</summary>
    internal BusMasterIde? BusMaster { get; set; }

    private AtaDevice? Selected => _drives[_selected];

    private bool IsEmpty => _drives[0] is null && _drives[1] is null;

    /// <inheritdoc/>
    public void Reset()
    {
        _control = 0;
        _selected = 0;
        foreach (AtaDevice? drive in _drives)
            drive?.Reset();
        UpdateLine();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write(_control);
        writer.Write((byte)_selected);
        writer.Write(_level);
        foreach (AtaDevice? drive in _drives)
        {
            writer.Write(KindOf(drive));
            drive?.Save(writer);
        }
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        ReadState(reader)();
    }

    /// <inheritdoc/>
    public Task HoldAsync() => Task.WhenAll(_drives.Select(drive => drive?.HoldAsync() ?? Task.CompletedTask));

    /// <inheritdoc/>
    public void Release()
    {
        foreach (AtaDevice? drive in _drives)
            drive?.Release();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (AtaDevice? drive in _drives)
            drive?.Dispose();
    }

    void IAtaHost.OnInterrupt(AtaDevice device) => UpdateLine();

    int IAtaHost.TakeDma(AtaDevice device, ReadOnlySpan<byte> data) => device == Selected ? BusMaster?.Take(data) ?? 0 : 0;

    int IAtaHost.GiveDma(AtaDevice device, Span<byte> data) => device == Selected ? BusMaster?.Give(data) ?? 0 : 0;

    /// <summary>Goes on with DMA: the bus master has been started.</summary>
    internal void ContinueDma() => Selected?.ContinueDma();

    /// <summary>DMA can't go on.</summary>
    internal void AbortDma() => Selected?.AbortDma();

    /// <summary>Reads and checks what <see cref="Save"/> wrote.</summary>
    /// <returns>Takes it over.</returns>
    internal Action ReadState(StateReader reader)
    {
        byte control = reader.ReadByte();
        int selected = (int)StateCheck.Range(SectionName, "selected drive", reader.ReadByte(), 0, 1);
        bool level = reader.ReadBool();
        var adopt = new List<Action>();
        foreach (AtaDevice? drive in _drives)
        {
            int own = KindOf(drive);
            _ = StateCheck.Range(SectionName, "kind of drive", reader.ReadInt32(), own, own);
            if (drive is not null)
                adopt.Add(drive.ReadState(reader, SectionName));
        }

        return () =>
        {
            (_control, _selected, _level) = (control, selected, level);
            foreach (Action each in adopt)
                each();
            _line.Set(level);
        };
    }

    // No drive's signature is 1.
    private static int KindOf(AtaDevice? drive) => drive is null ? 1 : drive.Signature;

    private byte ReadRegister(int register)
    {
        AtaDevice? drive = Selected;
        if (drive is null)
        {
            // Drive 0 answers for a drive 1 that isn't there, with a status of 0 (ATA/ATAPI-7, 9.16.1); nobody drives an empty
            // cable but its pull-downs.
            return IsEmpty || _selected == 0 || register == StatusRegister ? (byte)0
                : register == ErrorRegister ? _drives[0]!.Error : _drives[0]!.Registers.Read(register, (_control & PreviousBit) != 0);
        }

        switch (register)
        {
            case StatusRegister:
                byte status = drive.Status;
                drive.ClearInterrupt();
                return status;
            case ErrorRegister:
                return drive.Error;
            default:
                return drive.Registers.Read(register, (_control & PreviousBit) != 0);
        }
    }

    private void WriteRegister(int register, byte value)
    {
        if (register == StatusRegister)
        {
            Execute(value);
            return;
        }

        // The bits that hosts never see in a drive that works on something (ATA/ATAPI-7, 5.3).
        if (Selected is { IsBusy: true })
            return;
        _control &= unchecked((byte)~PreviousBit);
        foreach (AtaDevice? drive in _drives)
            drive?.Registers.Write(register, value);
        if (register != AtaTaskFile.DeviceRegister)
            return;
        _selected = (value & SlaveBit) != 0 ? 1 : 0;
        UpdateLine();
    }

    private void Execute(byte command)
    {
        _control &= unchecked((byte)~PreviousBit);
        if (command != DiagnosticCommand)
        {
            Selected?.Execute(command);
            return;
        }

        // Both drives diagnose themselves, and drive 0 tells of both (ATA/ATAPI-7, 6.13).
        _selected = 0;
        _drives[1]?.Execute(command);
        _drives[1]?.ClearInterrupt();
        _drives[0]?.Execute(command);
    }

    private void WriteControl(byte value)
    {
        byte old = _control;
        _control = value;
        if ((value & ~old & ResetBit) != 0)
        {
            foreach (AtaDevice? drive in _drives)
                drive?.BeginReset();
        }
        else if ((old & ~value & ResetBit) != 0)
        {
            _selected = 0;
            foreach (AtaDevice? drive in _drives)
                drive?.SoftReset();
        }

        UpdateLine();
    }

    private void UpdateLine()
    {
        bool level = Selected is { InterruptPending: true } && (_control & InterruptsOff) == 0;
        if (level == _level)
            return;
        _level = level;
        if (level)
            BusMaster?.NoteInterrupt();
        _line.Set(level);
    }

    private sealed class CommandBlock(IdeChannel owner) : IIoRegion
    {
        public string Name => owner.SectionName;

        public ulong Read(ulong offset, int size)
        {
            if (offset == DataRegister && size is 2 or 4)
            {
                Span<byte> data = stackalloc byte[4];
                owner.Selected?.ReadData(data[..size]);
                return BinaryPrimitives.ReadUInt32LittleEndian(data);
            }

            ulong value = 0;
            for (int i = 0; i < size; i++)
            {
                int register = (int)offset + i;
                value |= (ulong)(register == DataRegister ? ReadDataByte() : register <= StatusRegister ? owner.ReadRegister(register) : (byte)0xFF) << (8 * i);
            }

            return value;
        }

        public void Write(ulong offset, int size, ulong value)
        {
            Span<byte> data = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(data, value);
            if (offset == DataRegister)
            {
                owner.Selected?.WriteData(data[..Math.Min(size, 4)]);
                return;
            }

            for (int i = 0; i < size && (int)offset + i <= StatusRegister; i++)
                owner.WriteRegister((int)offset + i, data[i]);
        }

        private byte ReadDataByte()
        {
            Span<byte> data = stackalloc byte[1];
            owner.Selected?.ReadData(data);
            return data[0];
        }
    }
}
