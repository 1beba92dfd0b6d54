using System.Buffers.Binary;
using Doppel.Devices.Storage;
using Doppel.Machine.State;

namespace Doppel.Devices.Ata;

/// <summary>
/// An ATA disk (ATA/ATAPI-7; ATA8-ACS for TRIM): PIO, multiple and DMA transfers with cylinder, 28-bit and 48-bit addresses,
/// caches, power modes, SMART. The machine's I/O lock is held for every member, unless the base says otherwise.
/// </summary>
public sealed partial class AtaDisk : AtaDevice
{
    /// <summary>Most sectors of a block of READ MULTIPLE; a power of two.</summary>
    public const int MaximumMultiple = 16;

    /// <summary>Most blocks of 512 bytes that a TRIM has.</summary>
    internal const int MaximumTrimBlocks = 8;

    private const int SectorSize = IBlockBackend.SectorSize;
    private const int BufferSectors = BufferSize / SectorSize;
    private readonly IBlockBackend _disk;
    private readonly string _serial;

    // The command under way.
    private Step _step;
    private Transfer _transfer;
    private ulong _lba;
    private int _left;
    private int _blockSectors;
    private bool _is48Bit;
    private bool _endsWithFlush;

    // What SET FEATURES, SET MULTIPLE MODE, INITIALIZE DEVICE PARAMETERS and SMART have set.
    private AtaGeometry _geometry;
    private int _multiple;
    private byte _transferMode;
    private bool _hasWriteCache;
    private bool _readsAhead;
    private bool _isSmartEnabled;

    /// <summary>Creates a disk without a cable.</summary>
    /// <param name="name">Its name in reports, for example "ide0.0".</param>
    /// <param name="disk">What it reads and writes; less than 2^48 sectors of it.</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="serial">Serial number; at most 20 ASCII characters of it are shown. Empty for the name.</param>
    /// <param name="full">Told that the host has no room; the machine should pause, and the operation begins anew when it goes on. Any thread. Null makes it an error.</param>
    public AtaDisk(string name, IBlockBackend disk, DevicePlatform platform, string serial = "", Action<StorageFullException>? full = null)
        : base(name, platform, full)
    {
        ArgumentNullException.ThrowIfNull(disk);
        ArgumentNullException.ThrowIfNull(serial);
        _disk = disk;
        _serial = serial.Length == 0 ? name : serial;
        Reset();
    }

    private enum Step : byte
    {
        None,
        Read,
        Write,
        Verify,
        Flush,
        Trim,
    }

    private enum Transfer : byte
    {
        Pio,
        Dma,
    }

    private int WrittenSectors => Math.Min(Filled / SectorSize, _left);

    /// <inheritdoc/>
    public override ushort Signature => 0;

    /// <summary>Sectors of the disk.</summary>
    public ulong Sectors => Math.Min(_disk.Length / SectorSize, 1UL << 48);

    /// <summary>The disk.</summary>
    internal IBlockBackend Medium => _disk;

    /// <summary>True when what was written may be lost before a flush.</summary>
    internal bool HasWriteCache => _hasWriteCache;

    /// <summary>What READ LOG EXT says of a queued command that failed (ATA8-ACS, A.13), without its checksum; the host keeps it.</summary>
    internal byte[]? QueuedErrorLog { get; set; }

    /// <inheritdoc/>
    public override void Reset()
    {
        _geometry = AtaGeometry.ForDisk(Sectors);
        _multiple = MaximumMultiple;
        _hasWriteCache = true;
        _readsAhead = true;
        _isSmartEnabled = true;
        _transferMode = 0x22;
        QueuedErrorLog = null;
        SoftReset();
    }

    /// <inheritdoc/>
    public override void SoftReset()
    {
        base.SoftReset();
        _step = Step.None;
        _left = 0;
    }

    /// <inheritdoc/>
    protected override void Start(byte command)
    {
        _step = Step.None;
        _left = 0;
        _endsWithFlush = false;
        switch (command)
        {
            case >= 0x10 and <= 0x1F or >= 0x70 and <= 0x7F:
                // RECALIBRATE and SEEK: there are no heads to move.
                Complete();
                break;
            case 0x20 or 0x21:
                StartRead(Transfer.Pio, false, 1);
                break;
            case 0x24:
                StartRead(Transfer.Pio, true, 1);
                break;
            case 0x25:
                StartRead(Transfer.Dma, true, BufferSectors);
                break;
            case 0x29 when _multiple != 0:
                StartRead(Transfer.Pio, true, _multiple);
                break;
            case 0xC4 when _multiple != 0:
                StartRead(Transfer.Pio, false, _multiple);
                break;
            case 0xC8 or 0xC9:
                StartRead(Transfer.Dma, false, BufferSectors);
                break;
            case 0x30 or 0x31:
                StartWrite(Transfer.Pio, false, 1);
                break;
            case 0x34:
                StartWrite(Transfer.Pio, true, 1);
                break;
            case 0x35:
                StartWrite(Transfer.Dma, true, BufferSectors);
                break;
            case 0x39 when _multiple != 0:
                StartWrite(Transfer.Pio, true, _multiple);
                break;
            case 0xC5 when _multiple != 0:
                StartWrite(Transfer.Pio, false, _multiple);
                break;
            case 0xCA or 0xCB:
                StartWrite(Transfer.Dma, false, BufferSectors);
                break;
            case 0x3D:
                StartWrite(Transfer.Dma, true, BufferSectors, forces: true);
                break;
            case 0xCE when _multiple != 0:
                StartWrite(Transfer.Pio, true, _multiple, forces: true);
                break;
            case 0x40 or 0x41:
                StartVerify(false);
                break;
            case 0x42:
                StartVerify(true);
                break;
            case 0x06:
                StartTrim();
                break;
            case 0xE7 or 0xEA:
                StartStep(Step.Flush);
                break;
            default:
                StartWithoutMedium(command);
                break;
        }
    }

    /// <inheritdoc/>
    protected override void OnBlockRead()
    {
        if (Position < Filled)
            OfferRead();
        else if (_left > 0)
            ReadMore();
        else
            CompleteTransfer(interrupts: _transfer == Transfer.Dma);
    }

    /// <inheritdoc/>
    protected override void OnBlockWritten()
    {
        Filled = BlockEnd;
        switch (_step)
        {
            case Step.Write or Step.Trim:
                BeginMedium();
                break;
            default:
                // WRITE BUFFER keeps what it was given.
                Complete();
                break;
        }
    }

    /// <inheritdoc/>
    protected override async ValueTask UseMediumAsync(byte[] buffer)
    {
        ulong offset = _lba * SectorSize;
        int sectors = _step == Step.Write ? WrittenSectors : Math.Min(_left, BufferSectors);
        if (_step is Step.Read or Step.Verify or Step.Write && _lba + (uint)sectors > Sectors)
            throw new IOException($"{Name}: the disk has become shorter");
        switch (_step)
        {
            case Step.Read or Step.Verify:
                await _disk.ReadAsync(offset, [buffer.AsMemory(0, sectors * SectorSize)]).ConfigureAwait(false);
                break;
            case Step.Write:
                bool flushes = _endsWithFlush || !_hasWriteCache;
                await _disk.WriteAsync(offset, [buffer.AsMemory(0, sectors * SectorSize)]).ConfigureAwait(false);
                if (flushes)
                    await _disk.FlushAsync().ConfigureAwait(false);
                break;
            case Step.Trim:
                await TrimAsync(buffer.AsMemory(0, Filled)).ConfigureAwait(false);
                break;
            default:
                await _disk.FlushAsync().ConfigureAwait(false);
                break;
        }
    }

    /// <inheritdoc/>
    protected override void OnMediumDone(bool succeeded)
    {
        if (!succeeded)
        {
            bool hasAddress = _step is Step.Read or Step.Write or Step.Verify;
            if (hasAddress)
                ShowAddress(_lba);
            Fail(_step is Step.Read or Step.Verify ? Uncorrectable : Aborted);
            return;
        }

        int sectors = Math.Min(_left, BufferSectors);
        switch (_step)
        {
            case Step.Read:
                Advance(sectors);
                (Position, Filled) = (0, sectors * SectorSize);
                OfferRead();
                break;
            case Step.Verify:
                Advance(sectors);
                if (_left > 0)
                    BeginMedium();
                else
                    CompleteTransfer(interrupts: true);
                break;
            case Step.Write:
                Advance(WrittenSectors);
                if (_left > 0)
                    OfferWrite(interrupts: true);
                else
                    CompleteTransfer(interrupts: true);
                break;
            default:
                Complete();
                break;
        }
    }

    /// <inheritdoc/>
    protected override void SaveCommand(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write((byte)_step);
        writer.Write((byte)_transfer);
        writer.Write(_lba);
        writer.Write(_left);
        writer.Write(_blockSectors);
        writer.Write(_is48Bit);
        writer.Write(_endsWithFlush);
        writer.Write(_geometry.Cylinders);
        writer.Write(_geometry.Heads);
        writer.Write(_geometry.Sectors);
        writer.Write(_multiple);
        writer.Write(_transferMode);
        writer.Write(_hasWriteCache);
        writer.Write(_readsAhead);
        writer.Write(_isSmartEnabled);
        writer.Write(IsStandingBy);
        writer.Write((QueuedErrorLog ?? []).AsSpan());
    }

    /// <inheritdoc/>
    protected override Action ReadCommand(StateReader reader, string section)
    {
        ArgumentNullException.ThrowIfNull(reader);
        var step = (Step)StateCheck.Range(section, "step", reader.ReadByte(), 0, (int)Step.Trim);
        var transfer = (Transfer)StateCheck.Range(section, "transfer", reader.ReadByte(), 0, (int)Transfer.Dma);
        ulong lba = (ulong)StateCheck.Range(section, "address", (long)reader.ReadUInt64(), 0, (long)Sectors);
        int left = (int)StateCheck.Range(section, "sectors left", reader.ReadInt32(), 0, (long)Math.Min(65536, Sectors - lba));
        int blockSectors = (int)StateCheck.Range(section, "sectors of a block", reader.ReadInt32(), 0, BufferSectors);
        bool is48Bit = reader.ReadBool(), endsWithFlush = reader.ReadBool();
        var geometry = new AtaGeometry(
            (int)StateCheck.Range(section, "cylinders", reader.ReadInt32(), 1, ushort.MaxValue),
            (int)StateCheck.Range(section, "heads", reader.ReadInt32(), 1, 16),
            (int)StateCheck.Range(section, "sectors of a track", reader.ReadInt32(), 1, 255));
        int multiple = (int)StateCheck.Range(section, "multiple", reader.ReadInt32(), 0, MaximumMultiple);
        byte mode = reader.ReadByte();
        bool hasWriteCache = reader.ReadBool(), readsAhead = reader.ReadBool(), isSmartEnabled = reader.ReadBool(), isStandingBy = reader.ReadBool();
        byte[] log = reader.ReadBytes(SectorSize);
        if (log.Length is not (0 or SectorSize))
            throw new InvalidDataException($"section {section}: the log of a queued error has {log.Length} bytes; it must have none or {SectorSize}");
        return () =>
        {
            (_step, _transfer, _lba, _left, _blockSectors) = (step, transfer, lba, left, blockSectors);
            (_is48Bit, _endsWithFlush, _geometry, _multiple, _transferMode) = (is48Bit, endsWithFlush, geometry, multiple, mode);
            (_hasWriteCache, _readsAhead, _isSmartEnabled, IsStandingBy) = (hasWriteCache, readsAhead, isSmartEnabled, isStandingBy);
            QueuedErrorLog = log.Length == 0 ? null : log;
        };
    }

    private void StartRead(Transfer transfer, bool is48Bit, int blockSectors)
    {
        if (!Locate(is48Bit))
            return;
        (_step, _transfer, _blockSectors) = (Step.Read, transfer, blockSectors);
        ReadMore();
    }

    private void StartWrite(Transfer transfer, bool is48Bit, int blockSectors, bool forces = false)
    {
        if (_disk.IsReadOnly)
        {
            Fail(Aborted);
            return;
        }

        if (!Locate(is48Bit))
            return;
        (_step, _transfer, _blockSectors, _endsWithFlush) = (Step.Write, transfer, blockSectors, forces);
        OfferWrite(interrupts: false);
    }

    private void StartVerify(bool is48Bit)
    {
        if (!Locate(is48Bit))
            return;
        _step = Step.Verify;
        BeginMedium();
    }

    private void StartStep(Step step)
    {
        _step = step;
        BeginMedium();
    }

    private void StartTrim()
    {
        const int TrimFeature = 1;
        int blocks = Registers.Count16;
        if (_disk.DiscardGranularity == 0 || _disk.IsReadOnly || Registers.Features16 != TrimFeature || blocks is 0 or > MaximumTrimBlocks)
        {
            Fail(Aborted);
            return;
        }

        (_step, _transfer, Position, Filled) = (Step.Trim, Transfer.Dma, 0, 0);
        OfferDma(AtaPhase.DmaOut, blocks * SectorSize);
    }

    // Entries of 48 bits of address and 16 bits of length (ATA8-ACS, 7.9.3); all are checked before any is done.
    private async ValueTask TrimAsync(ReadOnlyMemory<byte> entries)
    {
        for (int pass = 0; pass < 2; pass++)
        {
            for (int i = 0; i + 8 <= entries.Length; i += 8)
            {
                ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(entries.Span[i..]);
                ulong first = entry & ((1UL << 48) - 1), count = entry >> 48;
                if (count == 0)
                    continue;
                if (first >= Sectors || count > Sectors - first)
                    throw new IOException($"{Name}: a range of {count} sectors at {first} is to be trimmed; there are {Sectors}");
                if (pass == 1)
                    await _disk.DiscardAsync(first * SectorSize, count * SectorSize).ConfigureAwait(false);
            }
        }
    }

    private void ReadMore()
    {
        (Position, Filled, BlockEnd) = (0, 0, 0);
        BeginMedium();
    }

    private void OfferRead()
    {
        int length = Math.Min(_blockSectors * SectorSize, Filled - Position);
        if (_transfer == Transfer.Dma)
            OfferDma(AtaPhase.DmaIn, length);
        else
            Offer(AtaPhase.DataIn, length, interrupts: true);
    }

    private void OfferWrite(bool interrupts)
    {
        (Position, Filled) = (0, 0);
        int length = Math.Min(_blockSectors, _left) * SectorSize;
        if (_transfer == Transfer.Dma)
            OfferDma(AtaPhase.DmaOut, length);
        else
            Offer(AtaPhase.DataOut, length, interrupts);
    }

    private void Advance(int sectors)
    {
        _lba += (uint)sectors;
        _left -= sectors;
    }

    private void CompleteTransfer(bool interrupts)
    {
        if (_step is Step.Read or Step.Write or Step.Verify)
        {
            ShowAddress(_lba - 1);
            if (!_is48Bit)
                Registers.Count = 0;
        }

        Complete(interrupts);
    }

    /// <summary>Finds the sectors that a command is about, or fails it.</summary>
    private bool Locate(bool is48Bit)
    {
        const byte LbaBit = 0x40;
        _is48Bit = is48Bit;
        IsStandingBy = false;
        int count = is48Bit ? Registers.Count16 : Registers.Count;
        if (count == 0)
            count = is48Bit ? 65536 : 256;
        ulong? first = is48Bit ? Registers.Lba48
            : (Registers.Device & LbaBit) != 0 ? Registers.Lba28
            : _geometry.Find((Registers.High << 8) | Registers.Middle, Registers.Device & 15, Registers.Low);
        if (first is not ulong lba || lba >= Sectors || (ulong)count > Sectors - lba)
        {
            Fail(NotFound);
            return false;
        }

        (_lba, _left) = (lba, count);
        return true;
    }

    private void ShowAddress(ulong lba)
    {
        if (_is48Bit)
        {
            Registers.SetLba48(lba);
            return;
        }

        if ((Registers.Device & 0x40) != 0)
        {
            (Registers.Low, Registers.Middle, Registers.High) = ((byte)lba, (byte)(lba >> 8), (byte)(lba >> 16));
            Registers.Device = (byte)((Registers.Device & 0xF0) | (int)((lba >> 24) & 15));
            return;
        }

        (int cylinder, int head, int sector) = _geometry.Locate(lba);
        (Registers.Low, Registers.Middle, Registers.High) = ((byte)sector, (byte)cylinder, (byte)(cylinder >> 8));
        Registers.Device = (byte)((Registers.Device & 0xF0) | head);
    }
}
