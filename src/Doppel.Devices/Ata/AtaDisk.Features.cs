using System.Buffers.Binary;

namespace Doppel.Devices.Ata;

/// <content>Commands that need no medium: identification, features, power, SMART and logs.</content>
public sealed partial class AtaDisk
{
    private const string Model = "DOPPEL ATA DISK";
    private const string Firmware = "1.0";
    private const int QueueDepth = 32;

    private bool Trims => _disk.DiscardGranularity != 0 && !_disk.IsReadOnly;

    private void StartWithoutMedium(byte command)
    {
        switch (command)
        {
            case 0x90:
                ShowSignature();
                Registers.Device &= 0xEF;
                Complete();
                break;
            case 0x91:
                InitializeParameters();
                break;
            case 0xC6:
                SetMultiple();
                break;
            case 0xEC:
                Span<byte> identity = Reply(SectorSize);
                Identify(identity);
                OfferReply();
                break;
            case 0xEF:
                SetFeatures();
                break;
            case 0xE4:
                // READ BUFFER returns what WRITE BUFFER left at the buffer's beginning.
                (Position, Filled) = (0, SectorSize);
                OfferReply();
                break;
            case 0xE8:
                (Position, Filled, _transfer) = (0, 0, Transfer.Pio);
                Offer(AtaPhase.DataOut, SectorSize, interrupts: false);
                break;
            case 0x2F:
                ReadLog();
                break;
            case 0xB0 when Registers is { Middle: 0x4F, High: 0xC2 }:
                DoSmart();
                break;
            case 0xA1:
                // By the signature a host sees that this is no packet device.
                ShowSignature();
                Fail(Aborted);
                break;
            default:
                if (!TryManagePower(command))
                    Fail(Aborted);
                break;
        }
    }

    private Span<byte> Reply(int length)
    {
        Span<byte> reply = Buffer.AsSpan(0, length);
        reply.Clear();
        (Position, Filled) = (0, length);
        return reply;
    }

    private void OfferReply()
    {
        (_transfer, _left, _blockSectors) = (Transfer.Pio, 0, 1);
        Offer(AtaPhase.DataIn, Math.Min(SectorSize, Filled), interrupts: true);
    }

    private void InitializeParameters()
    {
        int heads = (Registers.Device & 15) + 1, sectors = Registers.Count;
        if (sectors == 0)
        {
            Fail(Aborted);
            return;
        }

        _geometry = _geometry.Translate(Sectors, heads, sectors);
        Complete();
    }

    private void SetMultiple()
    {
        int count = Registers.Count;
        // What isn't supported turns multiple mode off (ATA-5, 8.39).
        bool isGood = count == 0 || (count <= MaximumMultiple && int.IsPow2(count));
        _multiple = isGood ? count : 0;
        if (isGood)
            Complete();
        else
            Fail(Aborted);
    }

    private void SetFeatures()
    {
        bool isGood = true;
        switch (Registers.Features)
        {
            case 0x02:
                _hasWriteCache = true;
                break;
            case 0x82:
                _hasWriteCache = false;
                _step = Step.Flush;
                BeginMedium();
                return;
            case 0x55:
                _readsAhead = false;
                break;
            case 0xAA:
                _readsAhead = true;
                break;
            case 0x03 when IsTransferMode(Registers.Count):
                if (Registers.Count >= 0x20)
                    _transferMode = Registers.Count;
                break;
            case 0x10 or 0x90 when IsSerial:
            case 0x66 or 0xCC:
                break;
            default:
                isGood = false;
                break;
        }

        if (isGood)
            Complete();
        else
            Fail(Aborted);
    }

    // PIO default and 0 to 4, multiword DMA 0 to 2, Ultra DMA 0 to 5, or 6 over Serial ATA.
    private bool IsTransferMode(byte mode) => mode is 0x00 or 0x01 or (>= 0x08 and <= 0x0C) or (>= 0x20 and <= 0x22) or (>= 0x40 and <= 0x45) || (mode == 0x46 && IsSerial);

    private void Identify(Span<byte> data)
    {
        void Put(Span<byte> block, int word, int value) => BinaryPrimitives.WriteUInt16LittleEndian(block[(2 * word)..], (ushort)value);
        void Put32(Span<byte> block, int word, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(block[(2 * word)..], value);

        AtaGeometry native = AtaGeometry.ForDisk(Sectors);
        Put(data, 0, 0x0040);
        Put(data, 1, native.Cylinders);
        Put(data, 3, native.Heads);
        Put(data, 4, native.Sectors * SectorSize);
        Put(data, 5, SectorSize);
        Put(data, 6, native.Sectors);
        AtaString.Write(data[20..40], _serial);
        Put(data, 20, 3);
        Put(data, 21, BufferSectors);
        Put(data, 22, 4);
        AtaString.Write(data[46..54], Firmware);
        AtaString.Write(data[54..94], Model);
        Put(data, 47, 0x8000 | MaximumMultiple);
        Put(data, 48, 1);
        Put(data, 49, 0x2F00);
        Put(data, 50, 0x4000);
        Put(data, 51, 0x0200);
        Put(data, 52, 0x0200);
        Put(data, 53, 7);
        Put(data, 54, _geometry.Cylinders);
        Put(data, 55, _geometry.Heads);
        Put(data, 56, _geometry.Sectors);
        Put32(data, 57, (uint)Math.Min(_geometry.Capacity, Sectors));
        Put(data, 59, _multiple == 0 ? 0 : 0x100 | _multiple);
        Put32(data, 60, (uint)Math.Min(Sectors, 0x0FFF_FFFF));
        Put(data, 63, 7 | Selected(0x20));
        Put(data, 64, 3);
        for (int word = 65; word <= 68; word++)
            Put(data, word, 120);
        if (Trims)
        {
            // What is read after a TRIM stays the same.
            Put(data, 69, 1 << 14);
            Put(data, 105, MaximumTrimBlocks);
            Put(data, 169, 1);
        }

        if (IsSerial)
        {
            const int Speeds = 7 << 1, Queues = 1 << 8;
            Put(data, 75, QueueDepth - 1);
            Put(data, 76, Speeds | Queues);
            Put(data, 222, 0x103F);
        }
        else
        {
            // The cable has 80 wires, and the drive is device 0 by a jumper.
            Put(data, 93, 0x6003);
        }

        Put(data, 80, 0x01F0);
        Put(data, 82, 0x7069);
        Put(data, 83, 0x7400);
        Put(data, 84, 0x4063);
        Put(data, 85, 0x7008 | (_isSmartEnabled ? 1 : 0) | (_hasWriteCache ? 0x20 : 0) | (_readsAhead ? 0x40 : 0));
        Put(data, 86, 0x3400);
        Put(data, 87, 0x4063);
        Put(data, 88, (IsSerial ? 0x7F : 0x3F) | Selected(0x40));
        BinaryPrimitives.WriteUInt64LittleEndian(data[200..], Sectors);
        int physical = System.Numerics.BitOperations.Log2((uint)Math.Clamp(_disk.PreferredBlockSize / SectorSize, 1, 8));
        Put(data, 106, 0x4000 | (physical == 0 ? 0 : 0x2000 | physical));
        Put(data, 217, 1);
        data[510] = 0xA5;
        data[511] = Checksum(data);

        int Selected(int first) => _transferMode >= first && _transferMode < first + 8 ? 0x100 << (_transferMode - first) : 0;
    }

    private static byte Checksum(ReadOnlySpan<byte> sector)
    {
        int sum = 0;
        foreach (byte part in sector[..511])
            sum += part;
        return (byte)-sum;
    }

    // The directory of logs, and the queued command that failed (ATA8-ACS, A.2 and A.13).
    private void ReadLog()
    {
        const int Directory = 0, QueuedError = 0x10;
        int page = Registers.Middle, count = Registers.Count16;
        if (page != 0 || count != 1 || Registers.Low is not (Directory or QueuedError))
        {
            Fail(Aborted);
            return;
        }

        Span<byte> log = Reply(SectorSize);
        if (Registers.Low == Directory)
        {
            log[0] = 1;
            log[2 * QueuedError] = 1;
        }
        else
        {
            // Without an error it says that no queued command has failed.
            QueuedErrorLog?.CopyTo(log);
            if (QueuedErrorLog is null)
                log[0] = 0x80;
            log[511] = Checksum(log);
            QueuedErrorLog = null;
        }

        OfferReply();
    }

    // ATA/ATAPI-7, 6.53; without attributes, as a disk that never fails has none to show.
    private void DoSmart()
    {
        byte what = Registers.Features;
        if (!_isSmartEnabled && what != 0xD8)
        {
            Fail(Aborted);
            return;
        }

        switch (what)
        {
            case 0xD0:
                Span<byte> data = Reply(SectorSize);
                data[0] = 1;
                // Off-line tests can be asked for and end at once; self-tests and error logging exist.
                data[367] = 0x11;
                data[368] = 3;
                data[370] = 1;
                data[372] = 1;
                data[373] = 1;
                data[511] = Checksum(data);
                OfferReply();
                break;
            case 0xD1:
                Span<byte> thresholds = Reply(SectorSize);
                thresholds[0] = 1;
                thresholds[511] = Checksum(thresholds);
                OfferReply();
                break;
            case 0xD5 when Registers.Low is 0 or 1 or 6 && Registers.Count == 1:
                Span<byte> log = Reply(SectorSize);
                log[0] = 1;
                if (Registers.Low == 0)
                    (log[2], log[12]) = (1, 1);
                log[511] = Registers.Low == 0 ? (byte)0 : Checksum(log);
                OfferReply();
                break;
            case 0xD8:
                _isSmartEnabled = true;
                Complete();
                break;
            case 0xD9:
                _isSmartEnabled = false;
                Complete();
                break;
            case 0xDA:
                // Middle and high as they are: no threshold was exceeded.
                Complete();
                break;
            case 0xD2 or 0xD3 or 0xD4:
                Complete();
                break;
            default:
                Fail(Aborted);
                break;
        }
    }
}
