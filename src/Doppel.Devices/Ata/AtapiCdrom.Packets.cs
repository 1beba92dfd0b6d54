using System.Buffers.Binary;
using System.Text;

namespace Doppel.Devices.Ata;

/// <content>The packet commands (MMC-5, SPC-3).</content>
public sealed partial class AtapiCdrom
{
    // Parts of a sector that READ CD asks for.
    private const byte SyncPart = 1, HeaderPart = 2, UserPart = 4, CodePart = 8;
    private const uint LargestCd = 80 * 60 * 75;
    private const int RawChunk = BufferSize / CdSector.Length;
    private const byte LeadOut = 0xAA;

    private int Chunk => (int)Math.Min(_left, LengthOf(_parts) == BlockSize ? BufferSize / BlockSize : (uint)RawChunk);

    private bool IsDvd => Blocks > LargestCd;

    private ReadOnlySpan<byte> Packet => _packet;

    private static int LengthOf(byte parts) =>
        ((parts & SyncPart) != 0 ? CdSector.SyncLength : 0) + ((parts & HeaderPart) != 0 ? CdSector.HeaderLength : 0)
        + ((parts & UserPart) != 0 ? CdSector.UserLength : 0) + ((parts & CodePart) != 0 ? CdSector.CodeLength : 0);

    private static int UserStartOf(byte parts) => LengthOf((byte)(parts & (SyncPart | HeaderPart)));

    private static bool CanRead(byte parts) => (parts & UserPart) != 0 || (parts & (CodePart | SyncPart | HeaderPart)) == 0;

    private void ExecutePacket()
    {
        byte operation = _packet[0];
        // These may come while a unit attention waits (SPC-3, 4.5.6; MMC-5, 4.1.6).
        bool isExempt = operation is 0x03 or 0x12 or 0x46 or 0x4A;
        if (!isExempt && _attention != CdSense.None)
        {
            CdSense attention = _attention;
            _attention = CdSense.None;
            FailPacket(attention);
            return;
        }

        bool needsMedium = operation is 0x00 or 0x25 or 0x28 or 0xA8 or 0xBE or 0xB9 or 0x2B or 0x2F or 0x42 or 0x43 or 0x44 or 0x51 or 0x52 or 0xAD;
        if (needsMedium && !HasMedium)
        {
            FailPacket(_isTrayOpen ? CdSense.TrayOpen : CdSense.NoMedium);
            return;
        }

        switch (operation)
        {
            // There are no heads to move, nothing to verify against and no speed to set.
            case 0x00 or 0x2B or 0x2F or 0x35 or 0x4E or 0xA7 or 0xB6 or 0xBB:
                CompletePacket();
                break;
            case 0x03:
                RequestSense();
                break;
            case 0x12:
                Inquire();
                break;
            case 0x15:
                BeginParameters(_packet[4]);
                break;
            case 0x55:
                BeginParameters(ToUInt16(7));
                break;
            case 0x1A:
                SenseMode(isShort: true);
                break;
            case 0x5A:
                SenseMode(isShort: false);
                break;
            case 0x1B:
                StartOrStop();
                break;
            case 0x1E:
                _isLocked = (_packet[4] & 1) != 0;
                CompletePacket();
                break;
            case 0x25:
                ReadCapacity();
                break;
            case 0x28:
                Read(ToUInt32(2), ToUInt16(7), UserPart);
                break;
            case 0xA8:
                Read(ToUInt32(2), ToUInt32(6), UserPart);
                break;
            case 0xBE:
                ReadCd(ToUInt32(2), ((uint)_packet[6] << 16) | ToUInt16(7));
                break;
            case 0xB9:
                ReadCdMsf();
                break;
            case 0x42:
                ReadSubchannel();
                break;
            case 0x43:
                ReadToc();
                break;
            case 0x44:
                ReadHeader();
                break;
            case 0x46:
                GetConfiguration();
                break;
            case 0x4A:
                GetEvents();
                break;
            case 0x51:
                ReadDiscInformation();
                break;
            case 0x52:
                ReadTrackInformation();
                break;
            case 0xAD:
                ReadDvdStructure();
                break;
            case 0xBD:
                ClearReply(8)[5] = 1;
                Reply(8, ToUInt16(8));
                break;
            default:
                FailPacket(CdSense.InvalidCommand);
                break;
        }
    }

    private ushort ToUInt16(int at) => BinaryPrimitives.ReadUInt16BigEndian(Packet[at..]);

    private uint ToUInt32(int at) => BinaryPrimitives.ReadUInt32BigEndian(Packet[at..]);

    private Span<byte> ClearReply(int length)
    {
        Span<byte> reply = Buffer.AsSpan(0, length);
        reply.Clear();
        return reply;
    }

    private void RequestSense()
    {
        CdSense sense = _sense;
        if (sense == CdSense.None && _attention != CdSense.None)
        {
            sense = _attention;
            _attention = CdSense.None;
        }

        Span<byte> reply = ClearReply(18);
        (reply[0], reply[2], reply[7], reply[12], reply[13]) = (0x70, sense.Key, 10, sense.Code, sense.Qualifier);
        Reply(18, _packet[4]);
    }

    private void Inquire()
    {
        const int Length = 36;
        if ((_packet[1] & 1) != 0 || _packet[2] != 0)
        {
            FailPacket(CdSense.InvalidField);
            return;
        }

        Span<byte> reply = ClearReply(Length);
        // A removable medium, data in the format of ATAPI.
        (reply[0], reply[1], reply[2], reply[3], reply[4]) = (5, 0x80, 5, 0x32, Length - 5);
        reply[8..].Fill((byte)' ');
        _ = Encoding.ASCII.GetBytes("DOPPEL", reply[8..]);
        _ = Encoding.ASCII.GetBytes("DVD-ROM", reply[16..]);
        _ = Encoding.ASCII.GetBytes("1.0", reply[32..]);
        Reply(Length, ToUInt16(3));
    }

    private void BeginParameters(int length)
    {
        if (length > BufferSize)
        {
            FailPacket(CdSense.InvalidField);
            return;
        }

        if (length == 0)
        {
            CompletePacket();
            return;
        }

        _step = Step.Parameters;
        (Position, Filled) = (0, 0);
        Registers.Count = 0;
        if (_usesDma)
        {
            OfferDma(AtaPhase.DmaOut, length);
            return;
        }

        (Registers.Middle, Registers.High) = ((byte)length, (byte)(length >> 8));
        Offer(AtaPhase.DataOut, length, interrupts: true);
    }

    // No page has anything that can be changed; what is sent must only be a list of pages.
    private void SelectMode(ReadOnlySpan<byte> parameters)
    {
        int header = _packet[0] == 0x15 ? 4 : 8;
        if (parameters.Length < header)
        {
            FailPacket(CdSense.InvalidParameter);
            return;
        }

        int at = header + (_packet[0] == 0x15 ? parameters[3] : BinaryPrimitives.ReadUInt16BigEndian(parameters[6..]));
        while (at + 2 <= parameters.Length)
            at += 2 + parameters[at + 1];
        if (at == parameters.Length)
            CompletePacket();
        else
            FailPacket(CdSense.InvalidParameter);
    }

    private void SenseMode(bool isShort)
    {
        const int Everything = 0x3F, Saved = 3, Changeable = 1;
        int control = _packet[2] >> 6, page = _packet[2] & 0x3F;
        if (control == Saved)
        {
            FailPacket(new CdSense(5, 0x39, 0));
            return;
        }

        int header = isShort ? 4 : 8, length = header;
        Span<byte> reply = ClearReply(256);
        if (page is 0x01 or Everything)
            length += AddPage(reply[length..], 0x01, 6, control == Changeable);
        if (page is 0x0D or Everything)
            length += AddPage(reply[length..], 0x0D, 6, control == Changeable);
        if (page is 0x0E or Everything)
            length += AddPage(reply[length..], 0x0E, 14, control == Changeable);
        if (page is 0x1A or Everything)
            length += AddPage(reply[length..], 0x1A, 10, control == Changeable);
        if (page is 0x2A or Everything)
            length += AddPage(reply[length..], 0x2A, 20, control == Changeable);
        if (length == header)
        {
            FailPacket(CdSense.InvalidField);
            return;
        }

        // The kind of medium, as drives of the time say it: none, tray open, data CD of 12 cm.
        byte kind = _isTrayOpen ? (byte)0x71 : HasMedium ? (byte)0x01 : (byte)0x70;
        if (isShort)
            (reply[0], reply[1]) = ((byte)(length - 1), kind);
        else
            (reply[1], reply[2]) = ((byte)(length - 2), kind);
        Reply(length, isShort ? _packet[4] : ToUInt16(7));
    }

    private int AddPage(Span<byte> page, byte code, byte length, bool isMask)
    {
        (page[0], page[1]) = (code, length);
        if (isMask)
            return length + 2;
        switch (code)
        {
            case 0x01:
                page[3] = 5;
                break;
            case 0x0D:
                (page[5], page[7]) = (60, 75);
                break;
            case 0x0E:
                page[2] = 4;
                break;
            case 0x2A:
                // Reads CD-R, CD-RW and DVDs; mode 2 and multisession; locks and ejects, a tray; 50 times a CD's speed.
                (page[2], page[4], page[5], page[6]) = (0x3B, 0x70, 0x60, (byte)(0x29 | (_isLocked ? 2 : 0)));
                BinaryPrimitives.WriteUInt16BigEndian(page[8..], 176 * 50);
                BinaryPrimitives.WriteUInt16BigEndian(page[12..], 512);
                BinaryPrimitives.WriteUInt16BigEndian(page[14..], 176 * 50);
                break;
            default:
                break;
        }

        return length + 2;
    }

    private void StartOrStop()
    {
        bool starts = (_packet[4] & 1) != 0, moves = (_packet[4] & 2) != 0;
        if (!moves)
        {
            CompletePacket();
            return;
        }

        if (!starts)
        {
            if (_isLocked)
            {
                FailPacket(CdSense.Locked);
                return;
            }

            if (!_isTrayOpen && _medium is not null)
                _event = MediumEvent.Removal;
            _isTrayOpen = true;
        }
        else if (_isTrayOpen)
        {
            _isTrayOpen = false;
            if (_medium is not null)
                (_attention, _event) = (CdSense.MediumChanged, MediumEvent.NewMedium);
        }

        CompletePacket();
    }

    private void ReadCapacity()
    {
        Span<byte> reply = ClearReply(8);
        BinaryPrimitives.WriteUInt32BigEndian(reply, Blocks - 1);
        BinaryPrimitives.WriteUInt32BigEndian(reply[4..], BlockSize);
        Reply(8, 8);
    }

    private void Read(uint block, uint count, byte parts)
    {
        if (block > Blocks || count > Blocks - block)
        {
            FailPacket(CdSense.OutOfRange);
            return;
        }

        if (count == 0 || LengthOf(parts) == 0)
        {
            CompletePacket();
            return;
        }

        (_step, _block, _left, _parts) = (Step.Read, block, count, parts);
        IsStandingBy = false;
        ReadMore();
    }

    private void ReadCd(uint block, uint count)
    {
        const int AnyType = 0, Mode1 = 2;
        int type = (_packet[1] >> 2) & 7, wanted = _packet[9];
        if (IsDvd)
        {
            FailPacket(CdSense.IncompatibleMedium);
            return;
        }

        if (type is not (AnyType or Mode1))
        {
            FailPacket(CdSense.IllegalMode);
            return;
        }

        // The bits of a sub-header ask for nothing: mode 1 has none.
        byte parts = (byte)(((wanted & 0x80) != 0 ? SyncPart : 0) | ((wanted & 0x20) != 0 ? HeaderPart : 0) | ((wanted & 0x10) != 0 ? UserPart : 0) | ((wanted & 0x08) != 0 ? CodePart : 0));
        if ((wanted & 0x06) != 0 || (_packet[10] & 7) != 0 || !CanRead(parts))
        {
            FailPacket(CdSense.InvalidField);
            return;
        }

        Read(block, count, parts);
    }

    private void ReadCdMsf()
    {
        int first = ToBlock(3), end = ToBlock(6);
        if (first < 0 || end < first)
        {
            FailPacket(CdSense.InvalidField);
            return;
        }

        ReadCd((uint)first, (uint)(end - first));
    }

    private int ToBlock(int at) => (((_packet[at] * 60) + _packet[at + 1]) * 75) + _packet[at + 2] - 150;

    /// <summary>Puts the parts around the user data of sectors that were read.</summary>
    private void CompleteSectors(int count, int length)
    {
        Span<byte> whole = stackalloc byte[CdSector.Length];
        for (int i = 0; i < count; i++)
        {
            Span<byte> sector = Buffer.AsSpan(i * length, length);
            sector.Slice(UserStartOf(_parts), BlockSize).CopyTo(whole[(CdSector.SyncLength + CdSector.HeaderLength)..]);
            CdSector.Complete(whole, _block + (uint)i);
            int at = 0;
            at += Copy(whole[..CdSector.SyncLength], sector[at..], SyncPart);
            at += Copy(whole.Slice(CdSector.SyncLength, CdSector.HeaderLength), sector[at..], HeaderPart);
            at += BlockSize;
            _ = Copy(whole[^CdSector.CodeLength..], sector[at..], CodePart);
        }

        int Copy(ReadOnlySpan<byte> from, Span<byte> to, byte part)
        {
            if ((_parts & part) == 0)
                return 0;
            from.CopyTo(to);
            return from.Length;
        }
    }

    private void PutAddress(Span<byte> destination, uint block, bool isMsf)
    {
        if (isMsf)
            (destination[0], destination[1], destination[2], destination[3]) = (0, CdSector.ToMsf(block).Minute, CdSector.ToMsf(block).Second, CdSector.ToMsf(block).Frame);
        else
            BinaryPrimitives.WriteUInt32BigEndian(destination, block);
    }

    private void ReadSubchannel()
    {
        const byte Position = 1;
        bool isMsf = (_packet[1] & 2) != 0, wantsData = (_packet[2] & 0x40) != 0;
        if (wantsData && _packet[3] != Position)
        {
            FailPacket(CdSense.InvalidField);
            return;
        }

        int length = wantsData ? 16 : 4;
        Span<byte> reply = ClearReply(16);
        // No audio is played.
        reply[1] = 0x15;
        reply[3] = (byte)(length - 4);
        (reply[4], reply[5], reply[6], reply[7]) = (Position, 0x14, 1, 1);
        PutAddress(reply[8..], 0, isMsf);
        PutAddress(reply[12..], 0, isMsf);
        Reply(length, ToUInt16(7));
    }

    private void ReadToc()
    {
        bool isMsf = (_packet[1] & 2) != 0;
        // Drives before MMC-2 had the format in the last byte.
        int format = (_packet[2] & 15) != 0 ? _packet[2] & 15 : _packet[9] >> 6;
        int start = _packet[6], length;
        Span<byte> reply = ClearReply(64);
        switch (format)
        {
            case 0 when start is <= 1 or LeadOut:
                length = 4;
                if (start <= 1)
                    length += AddTrack(reply[length..], 1, 0, isMsf);
                length += AddTrack(reply[length..], LeadOut, Blocks, isMsf);
                (reply[1], reply[2], reply[3]) = ((byte)(length - 2), 1, 1);
                break;
            case 1:
                length = 4 + AddTrack(reply[4..], 1, 0, isMsf);
                (reply[1], reply[2], reply[3]) = (10, 1, 1);
                break;
            case 2:
                length = 4;
                length += AddPoint(reply[length..], 0xA0, 1);
                length += AddPoint(reply[length..], 0xA1, 1);
                length += AddPoint(reply[length..], 0xA2, null, Blocks);
                length += AddPoint(reply[length..], 1, null);
                (reply[1], reply[2], reply[3]) = ((byte)(length - 2), 1, 1);
                break;
            default:
                FailPacket(CdSense.InvalidField);
                return;
        }

        Reply(length, ToUInt16(7));
    }

    private int AddTrack(Span<byte> entry, byte track, uint block, bool isMsf)
    {
        (entry[1], entry[2]) = (0x14, track);
        PutAddress(entry[4..], block, isMsf);
        return 8;
    }

    private int AddPoint(Span<byte> entry, byte point, byte? track, uint block = 0)
    {
        (entry[0], entry[1], entry[3]) = (1, 0x14, point);
        if (track is byte number)
            entry[8] = number;
        else
            (entry[8], entry[9], entry[10]) = CdSector.ToMsf(block);
        return 11;
    }

    private void ReadHeader()
    {
        uint block = ToUInt32(2);
        if (block >= Blocks)
        {
            FailPacket(CdSense.OutOfRange);
            return;
        }

        Span<byte> reply = ClearReply(8);
        reply[0] = 1;
        PutAddress(reply[4..], block, (_packet[1] & 2) != 0);
        Reply(8, ToUInt16(7));
    }

    private void GetConfiguration()
    {
        const int OneFeature = 2, CurrentFeatures = 1, CdProfile = 8, DvdProfile = 0x10;
        int kind = _packet[1] & 3, first = ToUInt16(2);
        if (kind == 3)
        {
            FailPacket(CdSense.InvalidField);
            return;
        }

        int profile = !HasMedium ? 0 : IsDvd ? DvdProfile : CdProfile;
        int length = 8;
        Span<byte> reply = ClearReply(256);
        bool isCd = profile == CdProfile, isDvd = profile == DvdProfile;
        length += Add(reply[length..], 0x0000, 3, true, [0, DvdProfile, (byte)(isDvd ? 1 : 0), 0, 0, CdProfile, (byte)(isCd ? 1 : 0), 0]);
        length += Add(reply[length..], 0x0001, 0xB, true, [0, 0, 0, 2, 1, 0, 0, 0]);
        length += Add(reply[length..], 0x0002, 7, true, [2, 0, 0, 0]);
        // A tray that can be locked, and ejects; without a jumper.
        length += Add(reply[length..], 0x0003, 3, true, [0x29, 0, 0, 0]);
        length += Add(reply[length..], 0x0010, 0, profile != 0, [0, 0, BlockSize >> 8, 0, 0, 1, 0, 0]);
        length += Add(reply[length..], 0x001E, 8, isCd, [0, 0, 0, 0]);
        length += Add(reply[length..], 0x001F, 4, isDvd, [0, 0, 0, 0]);
        length += Add(reply[length..], 0x0100, 3, true, []);
        length += Add(reply[length..], 0x0105, 7, true, [0, 0, 0, 0]);
        BinaryPrimitives.WriteUInt32BigEndian(reply, (uint)length - 4);
        BinaryPrimitives.WriteUInt16BigEndian(reply[6..], (ushort)profile);
        Reply(length, ToUInt16(7));

        int Add(Span<byte> to, int feature, int flags, bool isCurrent, ReadOnlySpan<byte> data)
        {
            if (feature < first || (kind == OneFeature && feature != first) || (kind == CurrentFeatures && !isCurrent))
                return 0;
            BinaryPrimitives.WriteUInt16BigEndian(to, (ushort)feature);
            to[2] = (byte)((flags & ~1) | (isCurrent ? 1 : 0));
            to[3] = (byte)data.Length;
            data.CopyTo(to[4..]);
            return 4 + data.Length;
        }
    }

    private void GetEvents()
    {
        const int OperationalClass = 1, MediumClass = 4;
        int asked = _packet[4];
        if ((_packet[1] & 1) == 0)
        {
            // Only polling is possible.
            FailPacket(CdSense.InvalidField);
            return;
        }

        Span<byte> reply = ClearReply(8);
        reply[3] = 1 << MediumClass | 1 << OperationalClass;
        if ((asked & (1 << OperationalClass)) != 0)
        {
            (reply[1], reply[2]) = (6, OperationalClass);
        }
        else if ((asked & (1 << MediumClass)) != 0)
        {
            (reply[1], reply[2]) = (6, MediumClass);
            (reply[4], reply[5]) = ((byte)_event, (byte)((_isTrayOpen ? 1 : 0) | (HasMedium ? 2 : 0)));
            _event = MediumEvent.None;
        }
        else
        {
            (reply[1], reply[2]) = (2, 0x80);
            Reply(4, ToUInt16(7));
            return;
        }

        Reply(8, ToUInt16(7));
    }

    private void ReadDiscInformation()
    {
        const int Length = 34;
        if ((_packet[1] & 7) != 0)
        {
            FailPacket(CdSense.InvalidField);
            return;
        }

        Span<byte> reply = ClearReply(Length);
        // A finished disc with one complete session of one track; no lead-in and lead-out to write.
        (reply[1], reply[2], reply[3], reply[4], reply[5], reply[6], reply[7]) = (Length - 2, 0x0E, 1, 1, 1, 1, 0x20);
        reply.Slice(16, 8).Fill(0xFF);
        Reply(Length, ToUInt16(7));
    }

    private void ReadTrackInformation()
    {
        const int Length = 36;
        uint address = ToUInt32(2);
        bool isGood = (_packet[1] & 3) switch
        {
            0 => address < Blocks,
            1 or 2 => address == 1,
            _ => false,
        };
        if (!isGood)
        {
            FailPacket(CdSense.InvalidField);
            return;
        }

        Span<byte> reply = ClearReply(Length);
        // A data track in mode 1.
        (reply[1], reply[2], reply[3], reply[5], reply[6]) = (Length - 2, 1, 1, 4, 1);
        BinaryPrimitives.WriteUInt32BigEndian(reply[24..], Blocks);
        Reply(Length, ToUInt16(7));
    }

    private void ReadDvdStructure()
    {
        const int PhysicalLength = 2052;
        byte layer = _packet[6], format = _packet[7];
        if (!IsDvd)
        {
            FailPacket(CdSense.IncompatibleMedium);
            return;
        }

        if (layer != 0 || format is not (0 or 1 or 4))
        {
            FailPacket(CdSense.InvalidField);
            return;
        }

        Span<byte> reply = ClearReply(PhysicalLength);
        int length = format switch { 0 => PhysicalLength, 1 => 8, _ => PhysicalLength };
        BinaryPrimitives.WriteUInt16BigEndian(reply, (ushort)(length - 2));
        if (format == 0)
        {
            // A read-only disc of 12 cm with one layer, whose data begins at 030000h; not copy-protected.
            const uint First = 0x030000;
            (reply[4], reply[5], reply[6]) = (1, 0x0F, 1);
            BinaryPrimitives.WriteUInt32BigEndian(reply[8..], First);
            BinaryPrimitives.WriteUInt32BigEndian(reply[12..], First + Blocks - 1);
        }

        Reply(length, ToUInt16(8));
    }
}
