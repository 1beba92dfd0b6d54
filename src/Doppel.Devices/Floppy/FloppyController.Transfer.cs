using Doppel.Devices.Storage;

namespace Doppel.Devices.Floppy;

/// <content>Commands that move data: a sector at a time between the medium and the buffer, and between the buffer and the host.</content>
public sealed partial class FloppyController
{
    private const byte SectorSizeCode = 2;
    private const byte DoubleDensity = 0x40, MultiTrack = 0x80, SkipBit = 0x20;

    private readonly byte[] _ids = new byte[FormatLimit];
    private byte[] _buffer = new byte[FormatLimit];
    private bool _isResetting = true;
    private Work _kind;
    private bool _usesMedium;
    private int _position;
    private int _length;
    private bool _isTerminal;
    private int _unit;
    private byte _cylinder, _head, _sector, _size, _eot, _options, _status1, _status2;
    private int _sectorsLeft;

    private enum Work : byte
    {
        None,
        Read,
        Write,
        Verify,
        Format,
        Identify,
        Fail,
    }

    private FloppyDrive? Current => DriveOf(_unit);

    // READ (also deleted data and a whole track), WRITE and VERIFY.
    private void BeginTransfer()
    {
        const byte CountBit = 0x80;
        int number = _command[0] & 0x1F;
        Begin(number switch { 0x05 or 0x09 => Work.Write, 0x16 => Work.Verify, _ => Work.Read });
        (_cylinder, _head, _sector, _size, _eot) = (_command[2], _command[3], _command[4], _command[5], _command[6]);
        _sectorsLeft = number == 0x16 && (_command[1] & CountBit) != 0 ? _command[8] : int.MaxValue;
        if (number == 0x02)
        {
            // Sectors as they come, from the index hole on.
            _sector = 1;
            _options &= unchecked((byte)~MultiTrack);
        }

        bool isDeleted = number == 0x0C;
        if (isDeleted)
        {
            // Data that isn't deleted is skipped, or ends the command with its mark.
            _status2 |= ControlMark;
            if ((_options & SkipBit) != 0)
                _kind = Work.Verify;
            else
                _eot = _sector;
        }

        if (CanWork())
            NextSector();
    }

    private void BeginFormat()
    {
        Begin(Work.Format);
        (_size, _sectorsLeft) = (_command[2], _command[3]);
        (_cylinder, _head, _sector) = ((byte)(Current?.Cylinder ?? 0), (byte)((_command[1] >> 2) & 1), 1);
        if (!CanWork())
            return;
        if (_sectorsLeft == 0)
        {
            Finish(0);
            return;
        }

        TakeFromHost(4 * _sectorsLeft);
    }

    private void BeginReadId()
    {
        Begin(Work.Identify);
        _head = (byte)((_command[1] >> 2) & 1);
        _size = SectorSizeCode;
        if (!CanWork())
            return;
        FloppyDrive drive = Current!;
        if (_head >= drive.Geometry.Heads || drive.Cylinder >= drive.Geometry.Cylinders)
        {
            FailLater(MissingAddress);
            return;
        }

        // The sector that comes next under the head.
        long angle = _clock.Now % RevolutionTime;
        _cylinder = (byte)drive.Cylinder;
        _sector = (byte)((angle * drive.Geometry.Sectors / RevolutionTime) + 1);
        _work.Arm(_clock.Now + SectorTime);
    }

    private void Begin(Work kind)
    {
        _kind = kind;
        _phase = Phase.Execution;
        _options = _command[0];
        _unit = _command[1] & 3;
        (_status1, _status2, _isTerminal, _position, _length) = (0, 0, false, 0, 0);
        _sectorsLeft = int.MaxValue;
        _dma.SetRequest(UsesDma);
    }

    /// <summary>Looks whether there is a spinning diskette of this rate and density; if not, no address mark is found in two turns.</summary>
    private bool CanWork()
    {
        FloppyDrive? drive = Current;
        if (drive?.Medium is null || !HasMotor(_unit) || (_options & DoubleDensity) == 0 || (drive.Geometry.Rates & (1 << _rate)) == 0)
        {
            FailLater(MissingAddress);
            return false;
        }

        if (_kind is Work.Write or Work.Format && drive.Medium.IsReadOnly)
        {
            FailLater(NotWritable);
            return false;
        }

        if (_size != SectorSizeCode)
        {
            FailLater(NoData);
            return false;
        }

        return true;
    }

    private void FailLater(byte status1)
    {
        _kind = Work.Fail;
        _status1 = status1;
        _work.Arm(_clock.Now + (status1 == NotWritable ? SectorTime : MissTime));
    }

    /// <summary>Begins with the sector that the registers name.</summary>
    private void NextSector()
    {
        if (Current?.Find(_cylinder, _head, _sector) is null)
        {
            FailLater(NoData);
            return;
        }

        if (_kind == Work.Write)
            TakeFromHost(FloppyGeometry.SectorSize);
        else
            _work.Arm(_clock.Now + SectorTime);
    }

    private void OnWork()
    {
        if (_isResetting)
        {
            EndReset();
            return;
        }

        switch (_kind)
        {
            case Work.Fail:
                Finish(AbnormalEnd, _status1);
                break;
            case Work.Identify:
                Finish(0);
                break;
            case Work.None:
                break;
            default:
                BeginMedium();
                break;
        }
    }

    // Four interrupts' worth of status, one for each drive, as if all had become ready (data sheet, 5.2.4), unless polling is off.
    private void EndReset()
    {
        const byte PollingOff = 0x10;
        _isResetting = false;
        if ((_configuration & PollingOff) != 0)
            return;
        for (int unit = 0; unit < _senses.Length; unit++)
            _senses[unit] = (byte)(PollingEnd | unit);
        SetInterrupt(true);
    }

    private void BeginMedium()
    {
        _usesMedium = true;
        byte[] buffer = _buffer;
        if (_kind == Work.Format)
            _buffer.AsSpan(0, FormatLimit).CopyTo(_ids);
        IBlockBackend? disk = Current?.Medium;
        ulong? place = Current?.Find(_cylinder, _head, _sector);
        Work kind = _kind;
        byte[] ids = _ids;
        int count = _sectorsLeft;
        byte fill = _command[5];
        FloppyDrive? drive = Current;
        _medium.Begin(
            async () =>
            {
                if (disk is null || drive is null || (kind != Work.Format && place is null))
                    throw new IOException($"{SectionName}: there is no such sector");
                if (kind == Work.Format)
                    await FormatAsync(drive, disk, ids, count, fill).ConfigureAwait(false);
                else if (kind == Work.Write)
                    await disk.WriteAsync(place!.Value, [buffer.AsMemory(0, FloppyGeometry.SectorSize)]).ConfigureAwait(false);
                else
                    await disk.ReadAsync(place!.Value, [buffer.AsMemory(0, FloppyGeometry.SectorSize)]).ConfigureAwait(false);
            },
            OnMediumDone);
    }

    // The host's numbers of each sector; those that the diskette has can be formatted.
    private static async ValueTask FormatAsync(FloppyDrive drive, IBlockBackend disk, byte[] ids, int count, byte fill)
    {
        byte[] sector = new byte[FloppyGeometry.SectorSize];
        sector.AsSpan().Fill(fill);
        for (int i = 0; i < count; i++)
        {
            if (drive.Find(ids[4 * i], ids[(4 * i) + 1], ids[(4 * i) + 2]) is not ulong place || ids[(4 * i) + 3] != SectorSizeCode)
                throw new IOException("the diskette has no such sector");
            await disk.WriteAsync(place, [sector]).ConfigureAwait(false);
        }
    }

    private void OnMediumDone(bool succeeded)
    {
        _usesMedium = false;
        if (!succeeded)
        {
            Finish(AbnormalEnd, _kind is Work.Read or Work.Verify ? DataError : NoData);
            return;
        }

        switch (_kind)
        {
            case Work.Read:
                (_position, _length) = (0, FloppyGeometry.SectorSize);
                GiveToHost();
                break;
            case Work.Verify:
                Advance();
                break;
            case Work.Format:
                Finish(0);
                break;
            default:
                Advance();
                break;
        }
    }

    private void GiveToHost()
    {
        if (!UsesDma)
        {
            _phase = Phase.DataIn;
            SetInterrupt(true);
            return;
        }

        int moved = _dma.Transfer(_buffer.AsSpan(_position, _length - _position), toMemory: true, out _isTerminal);
        if (!_isTerminal && moved != _length)
        {
            Finish(AbnormalEnd, OverrunError);
            return;
        }

        Advance();
    }

    private void TakeFromHost(int length)
    {
        (_position, _length) = (0, length);
        _buffer.AsSpan(0, length).Clear();
        if (!UsesDma)
        {
            _phase = Phase.DataOut;
            SetInterrupt(true);
            return;
        }

        int moved = _dma.Transfer(_buffer.AsSpan(0, length), toMemory: false, out _isTerminal);
        if (!_isTerminal && moved != length)
        {
            Finish(AbnormalEnd, OverrunError);
            return;
        }

        // What is missing of the last sector is zeros.
        _work.Arm(_clock.Now + SectorTime);
    }

    /// <summary>The host has read the sector from the data register.</summary>
    private void OnSectorTaken()
    {
        _phase = Phase.Execution;
        Advance();
    }

    /// <summary>The host has written the sector to the data register.</summary>
    private void OnSectorGiven()
    {
        _phase = Phase.Execution;
        _work.Arm(_clock.Now + SectorTime);
    }

    /// <summary>Goes on behind a sector, or ends (data sheet, table 5-6).</summary>
    private void Advance()
    {
        bool isLast = _sector == _eot;
        if (!isLast)
        {
            _sector++;
        }
        else
        {
            _sector = 1;
            bool turns = (_options & MultiTrack) != 0;
            if (turns && _head == 0 && Current?.Geometry.Heads == 2)
            {
                _head = 1;
                isLast = false;
            }
            else
            {
                _cylinder++;
                if (turns)
                    _head ^= 1;
            }
        }

        if (_isTerminal || --_sectorsLeft <= 0)
            Finish(0);
        else if (isLast)
            Finish(_kind == Work.Verify ? (byte)0 : AbnormalEnd, _kind == Work.Verify ? (byte)0 : EndOfCylinder);
        else
            NextSector();
    }

    private void AbandonWork()
    {
        _work.Disarm();
        if (_medium.Abandon())
            _buffer = new byte[FormatLimit];
        (_kind, _usesMedium) = (Work.None, false);
        _dma.SetRequest(false);
    }

    /// <summary>Ends a command with its result.</summary>
    private void Finish(byte status0, byte status1 = 0)
    {
        _kind = Work.None;
        _dma.SetRequest(false);
        Answer((byte)(status0 | ((_head & 1) << 2) | _unit), status1, _status2, _cylinder, _head, _sector, _size);
        SetInterrupt(true);
    }
}
