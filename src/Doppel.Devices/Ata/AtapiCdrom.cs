using System.Buffers.Binary;
using Doppel.Devices.Storage;
using Doppel.Machine.State;

namespace Doppel.Devices.Ata;

/// <summary>
/// A CD and DVD drive on an ATA cable: packet commands (ATA/ATAPI-7, volume 2; MMC-5), by PIO and DMA, with a tray whose medium
/// can be changed. The machine's I/O lock is held for every member, unless it says otherwise.
/// </summary>
public sealed partial class AtapiCdrom : AtaDevice
{
    private const int PacketLength = 12;
    private const int BlockSize = CdSector.UserLength;
    private const byte CommandReason = 1, InReason = 2, DoneReason = 3;
    private IBlockBackend? _medium;

    // The command under way.
    private Step _step;
    private bool _usesDma;
    private int _limit;
    private uint _block;
    private uint _left;
    private byte _parts = UserPart;
    private byte[] _packet = new byte[PacketLength];

    // The drive.
    private CdSense _sense;
    private CdSense _attention;
    private MediumEvent _event;
    private bool _isTrayOpen;
    private bool _isLocked;
    private byte _transferMode;

    /// <summary>Creates a drive without a cable.</summary>
    /// <param name="name">Its name in reports, for example "ide1.0".</param>
    /// <param name="medium">The disc's data, in blocks of 2048 bytes; null for none.</param>
    /// <param name="platform">What it is given of the machine.</param>
    public AtapiCdrom(string name, IBlockBackend? medium, DevicePlatform platform)
        : base(name, platform, null)
    {
        _medium = medium;
        Reset();
    }

    private enum Step : byte
    {
        None,
        Packet,
        Reply,
        Read,
        Parameters,
    }

    private enum MediumEvent : byte
    {
        None = 0,
        EjectRequest = 1,
        NewMedium = 2,
        Removal = 3,
    }

    /// <inheritdoc/>
    public override ushort Signature => 0xEB14;

    /// <summary>True while the tray is open, as a guest that ejects leaves it.</summary>
    public bool IsTrayOpen => _isTrayOpen;

    /// <summary>True while the guest forbids to take the medium out.</summary>
    public bool IsLocked => _isLocked;

    /// <summary>Blocks of the medium; 0 for none.</summary>
    public uint Blocks => HasMedium ? (uint)Math.Min(_medium!.Length / BlockSize, int.MaxValue) : 0;

    private bool HasMedium => _medium is not null && !_isTrayOpen;

    /// <summary>
    /// Puts another medium into the drive, or takes it out. A read that is under way fails.
    /// </summary>
    /// <param name="medium">The medium; null for none.</param>
    /// <returns>Completes when nothing uses the old medium any more. Not to be waited for with the I/O lock held.</returns>
    public Task ChangeMedium(IBlockBackend? medium)
    {
        bool had = HasMedium;
        if (_step == Step.Read)
        {
            Stop();
            FailPacket(CdSense.NoMedium);
        }

        _medium = medium;
        _isTrayOpen = false;
        _isLocked = false;
        if (medium is not null)
            (_attention, _event) = (CdSense.MediumChanged, MediumEvent.NewMedium);
        else if (had)
            _event = MediumEvent.Removal;
        return MediumEnded();
    }

    /// <summary>Presses the button: a guest that has locked the tray is told of the wish, and may eject.</summary>
    public void RequestEject() => _event = MediumEvent.EjectRequest;

    /// <inheritdoc/>
    public override void Reset()
    {
        _sense = CdSense.None;
        _attention = CdSense.WasReset;
        _event = MediumEvent.None;
        _isLocked = false;
        _isTrayOpen = false;
        _transferMode = 0x22;
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
    protected override bool IsReset(byte command) => command == 0x08;

    /// <inheritdoc/>
    protected override void Start(byte command)
    {
        _step = Step.None;
        switch (command)
        {
            case 0x08:
                byte device = Registers.Device;
                SoftReset();
                Registers.Device = (byte)(device & 0x10);
                break;
            case 0x90:
                ShowSignature();
                Registers.Device &= 0xEF;
                Complete();
                Status = 0;
                break;
            case 0xA0:
                StartPacket();
                break;
            case 0xA1:
                Span<byte> identity = Buffer.AsSpan(0, 512);
                Identify(identity);
                (Position, Filled) = (0, 512);
                _step = Step.None;
                Offer(AtaPhase.DataIn, 512, interrupts: true);
                break;
            case 0xEF:
                SetFeatures();
                break;
            case 0xEC or (>= 0x20 and <= 0x24):
                // By the signature a host sees that this is a packet device (ATA/ATAPI-7, 6.16 and 6.33).
                ShowSignature();
                Fail(Aborted);
                break;
            default:
                if (!TryManagePower(command))
                    Fail(Aborted);
                break;
        }
    }

    /// <inheritdoc/>
    protected override void OnBlockRead()
    {
        if (_step == Step.None)
            Complete(interrupts: false);
        else if (Position < Filled)
            OfferReply();
        else if (_step == Step.Read && _left > 0)
            ReadMore();
        else
            CompletePacket();
    }

    /// <inheritdoc/>
    protected override void OnBlockWritten()
    {
        if (_step == Step.Packet)
        {
            Buffer.AsSpan(0, PacketLength).CopyTo(_packet);
            (Position, Filled, BlockEnd) = (0, 0, 0);
            ExecutePacket();
        }
        else
        {
            SelectMode(Buffer.AsSpan(0, BlockEnd));
        }
    }

    /// <inheritdoc/>
    protected override ValueTask UseMediumAsync(byte[] buffer)
    {
        int length = LengthOf(_parts), start = UserStartOf(_parts);
        if (_medium is not IBlockBackend medium || _block + (uint)Chunk > medium.Length / BlockSize)
            throw new IOException($"{Name}: the medium has no block {_block}");
        return medium.ReadAsync((ulong)_block * BlockSize, length == BlockSize
            ? [buffer.AsMemory(0, Chunk * BlockSize)]
            : [.. Enumerable.Range(0, Chunk).Select(i => buffer.AsMemory((i * length) + start, BlockSize))]);
    }

    /// <inheritdoc/>
    protected override void OnMediumDone(bool succeeded)
    {
        if (!succeeded)
        {
            FailPacket(CdSense.ReadError);
            return;
        }

        int length = LengthOf(_parts), chunk = Chunk;
        if (length != BlockSize)
            CompleteSectors(chunk, length);
        _block += (uint)chunk;
        _left -= (uint)chunk;
        (Position, Filled) = (0, chunk * length);
        OfferReply();
    }

    /// <inheritdoc/>
    protected override void SaveCommand(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write((byte)_step);
        writer.Write(_usesDma);
        writer.Write(_limit);
        writer.Write(_block);
        writer.Write(_left);
        writer.Write(_parts);
        writer.Write(_packet.AsSpan());
        foreach (CdSense sense in (CdSense[])[_sense, _attention])
        {
            writer.Write(sense.Key);
            writer.Write(sense.Code);
            writer.Write(sense.Qualifier);
        }

        writer.Write((byte)_event);
        writer.Write(_isTrayOpen);
        writer.Write(_isLocked);
        writer.Write(IsStandingBy);
        writer.Write(_transferMode);
    }

    /// <inheritdoc/>
    protected override Action ReadCommand(StateReader reader, string section)
    {
        ArgumentNullException.ThrowIfNull(reader);
        var step = (Step)StateCheck.Range(section, "step", reader.ReadByte(), 0, (int)Step.Parameters);
        bool usesDma = reader.ReadBool();
        int limit = (int)StateCheck.Range(section, "byte count", reader.ReadInt32(), 0, 65536);
        uint block = reader.ReadUInt32(), left = reader.ReadUInt32();
        byte parts = (byte)StateCheck.Range(section, "parts", reader.ReadByte(), 0, SyncPart | HeaderPart | UserPart | CodePart);
        byte[] packet = StateCheck.Length(section, "packet", reader.ReadBytes(PacketLength), PacketLength);
        CdSense[] senses = [ReadSense(reader), ReadSense(reader)];
        var mediumEvent = (MediumEvent)StateCheck.Range(section, "event", reader.ReadByte(), 0, (int)MediumEvent.Removal);
        bool isTrayOpen = reader.ReadBool(), isLocked = reader.ReadBool(), isStandingBy = reader.ReadBool();
        byte mode = reader.ReadByte();
        if (step == Step.Read && (!CanRead(parts) || (ulong)block + left > (ulong)int.MaxValue))
            throw new InvalidDataException($"section {section}: {left} blocks at {block} are to be read, with parts 0x{parts:x2}");
        return () =>
        {
            (_step, _usesDma, _limit, _block, _left, _parts, _packet) = (step, usesDma, limit, block, left, parts, packet);
            (_sense, _attention, _event) = (senses[0], senses[1], mediumEvent);
            (_isTrayOpen, _isLocked, IsStandingBy, _transferMode) = (isTrayOpen, isLocked, isStandingBy, mode);
        };
    }

    private static CdSense ReadSense(StateReader reader) => new(reader.ReadByte(), reader.ReadByte(), reader.ReadByte());

    private void StartPacket()
    {
        const byte DmaFeature = 1;
        _step = Step.Packet;
        _usesDma = (Registers.Features & DmaFeature) != 0;
        // An odd limit is one less, and none is the most (ATA/ATAPI-7, 6.24.3).
        int limit = (Registers.High << 8) | Registers.Middle;
        _limit = limit is 0 or 0xFFFF ? 0xFFFE : limit == 1 ? 2 : limit & ~1;
        Registers.Count = CommandReason;
        (Position, Filled) = (0, 0);
        Offer(AtaPhase.DataOut, PacketLength, interrupts: false);
    }

    /// <summary>Answers with bytes that lie in the buffer.</summary>
    private void Reply(int length, int allocated)
    {
        (Position, Filled) = (0, Math.Min(length, allocated));
        _step = Step.Reply;
        if (Filled == 0)
            CompletePacket();
        else
            OfferReply();
    }

    private void OfferReply()
    {
        if (_usesDma)
        {
            Registers.Count = InReason;
            OfferDma(AtaPhase.DmaIn, Filled - Position);
            return;
        }

        int length = Math.Min(_limit, Filled - Position);
        Registers.Count = InReason;
        (Registers.Middle, Registers.High) = ((byte)length, (byte)(length >> 8));
        Offer(AtaPhase.DataIn, length, interrupts: true);
    }

    private void ReadMore()
    {
        (Position, Filled, BlockEnd) = (0, 0, 0);
        BeginMedium();
    }

    private void CompletePacket()
    {
        _step = Step.None;
        _sense = CdSense.None;
        Registers.Count = DoneReason;
        Complete();
    }

    private void FailPacket(CdSense sense)
    {
        _step = Step.None;
        _sense = sense;
        Registers.Count = DoneReason;
        Fail((byte)((sense.Key << 4) | (sense.Key == 5 ? Aborted : 0)));
    }

    private void SetFeatures()
    {
        bool isGood = Registers.Features switch
        {
            0x03 => Registers.Count is 0x00 or 0x01 or (>= 0x08 and <= 0x0C) or (>= 0x20 and <= 0x22) or (>= 0x40 and <= 0x45),
            0x10 or 0x90 => IsSerial,
            0x66 or 0xCC => true,
            _ => false,
        };
        if (!isGood)
        {
            Fail(Aborted);
            return;
        }

        if (Registers.Features == 0x03 && Registers.Count >= 0x20)
            _transferMode = Registers.Count;
        Complete();
    }

    // IDENTIFY PACKET DEVICE (ATA/ATAPI-7, 6.17).
    private void Identify(Span<byte> data)
    {
        data.Clear();
        void Put(Span<byte> block, int word, int value) => BinaryPrimitives.WriteUInt16LittleEndian(block[(2 * word)..], (ushort)value);

        // A packet device of type 5 with a removable medium, packets of 12 bytes, DRQ within 50 us.
        Put(data, 0, 0x85C0);
        AtaString.Write(data[20..40], Name);
        AtaString.Write(data[46..54], "1.0");
        AtaString.Write(data[54..94], "DOPPEL DVD-ROM");
        Put(data, 49, 0x0F00);
        Put(data, 50, 0x4000);
        Put(data, 51, 0x0200);
        Put(data, 53, 6);
        Put(data, 63, 7 | Selected(0x20));
        Put(data, 64, 3);
        for (int word = 65; word <= 68; word++)
            Put(data, word, 120);
        if (IsSerial)
        {
            Put(data, 76, 7 << 1);
            Put(data, 222, 0x103F);
        }

        Put(data, 80, 0x00F0);
        // Reset, packet feature set, power management.
        Put(data, 82, 0x0218);
        Put(data, 83, 0x4000);
        Put(data, 84, 0x4000);
        Put(data, 85, 0x0218);
        Put(data, 87, 0x4000);
        Put(data, 88, 0x3F | Selected(0x40));

        int Selected(int first) => _transferMode >= first && _transferMode < first + 8 ? 0x100 << (_transferMode - first) : 0;
    }
}
