namespace Doppel.Devices.Floppy;

/// <content>Commands (chapter 5 of the data sheet), and those of them that move no data.</content>
public sealed partial class FloppyController
{
    private const byte AbnormalEnd = 0x40, InvalidCommand = 0x80, PollingEnd = 0xC0, SeekEnd = 0x20, EquipmentCheck = 0x10;
    private const byte MissingAddress = 0x01, NotWritable = 0x02, NoData = 0x04, OverrunError = 0x10, DataError = 0x20, EndOfCylinder = 0x80;
    private const byte ControlMark = 0x40;
    private const byte Version = 0x90;

    // Bytes of a command, its first included.
    private static int LengthOf(byte command) => (command & 0x1F) switch
    {
        0x02 or 0x05 or 0x06 or 0x09 or 0x0C or 0x16 => 9,
        0x0D => 6,
        0x03 => 3,
        0x0F => 3,
        0x04 or 0x07 or 0x0A or 0x12 => 2,
        0x13 => 4,
        _ => 1,
    };

    private void Execute()
    {
        byte command = _command[0];
        // The upper bits of a command are its options; where it has none they belong to its number.
        switch (command & 0x1F)
        {
            case 0x02 or 0x05 or 0x06 or 0x09 or 0x0C or 0x16:
                BeginTransfer();
                break;
            case 0x0D:
                BeginFormat();
                break;
            case 0x0A:
                BeginReadId();
                break;
            case 0x03 when command == 0x03:
                (_specify1, _specify2) = (_command[1], _command[2]);
                break;
            case 0x04 when command == 0x04:
                SenseDrive();
                break;
            case 0x07 when command == 0x07:
                Recalibrate();
                break;
            case 0x08 when command == 0x08:
                SenseInterrupt();
                break;
            case 0x0F:
                Seek();
                break;
            case 0x0E when command == 0x0E:
                DumpRegisters();
                break;
            case 0x10 when command == 0x10:
                Answer(Version);
                break;
            case 0x12 when command == 0x12:
                // OW lets the drives' bits be written.
                _perpendicular = (byte)((_command[1] & 0x80) != 0 ? _command[1] & 0x3F : (_perpendicular & 0x3C) | (_command[1] & 3));
                break;
            case 0x13 when command == 0x13:
                (_configuration, _precompensation) = ((byte)(_command[2] & 0x7F), _command[3]);
                break;
            case 0x14 when (command & 0x60) == 0:
                _isLocked = (command & 0x80) != 0;
                Answer((byte)(_isLocked ? 0x10 : 0));
                break;
            default:
                Answer(InvalidCommand);
                break;
        }
    }

    /// <summary>Begins the result phase.</summary>
    private void Answer(params ReadOnlySpan<byte> result)
    {
        result.CopyTo(_result);
        (_resultLength, _resultAt) = (result.Length, 0);
        _phase = Phase.Result;
    }

    private void SenseDrive()
    {
        const byte WriteProtected = 0x40, DriveReady = 0x20, AtTrack0 = 0x10, TwoSided = 0x08;
        int unit = _command[1] & 3;
        FloppyDrive? drive = DriveOf(unit);
        Answer((byte)(DriveReady | TwoSided | (_command[1] & 7) | (drive is { Cylinder: 0 } ? AtTrack0 : 0) | (drive?.Medium is { IsReadOnly: true } ? WriteProtected : 0)));
    }

    private void SenseInterrupt()
    {
        int unit = Array.FindIndex(_senses, sense => sense is not null);
        if (unit < 0)
        {
            Answer(InvalidCommand);
            return;
        }

        byte sense = _senses[unit]!.Value;
        _senses[unit] = null;
        SetInterrupt(false);
        Answer(sense, (byte)(DriveOf(unit)?.Cylinder ?? 0));
    }

    private void Recalibrate()
    {
        const int MostSteps = 80;
        int unit = _command[1] & 3;
        FloppyDrive? drive = DriveOf(unit);
        if (drive is null)
        {
            // No drive says that its head is at track 0.
            BeginSeek(unit, SeekEnd | AbnormalEnd | EquipmentCheck, MostSteps);
            return;
        }

        int steps = Math.Min(drive.Cylinder, MostSteps);
        MoveTo(drive, drive.Cylinder - steps);
        BeginSeek(unit, drive.Cylinder == 0 ? SeekEnd : (byte)(SeekEnd | AbnormalEnd | EquipmentCheck), steps);
    }

    // SEEK, and RELATIVE SEEK, whose number of steps has no end but the drive's.
    private void Seek()
    {
        const byte Relative = 0x80, Inwards = 0x40;
        int unit = _command[1] & 3;
        if ((_command[0] & Relative) == 0 && (_command[0] & 0x60) != 0)
        {
            Answer(InvalidCommand);
            return;
        }

        int steps = 0;
        if (DriveOf(unit) is FloppyDrive drive)
        {
            int old = drive.Cylinder;
            int target = (_command[0] & Relative) == 0 ? _command[2] : (_command[0] & Inwards) != 0 ? old + _command[2] : old - _command[2];
            MoveTo(drive, Math.Clamp(target, 0, FloppyDrive.LastCylinder));
            steps = Math.Abs(drive.Cylinder - old);
        }

        BeginSeek(unit, (byte)(SeekEnd | (_command[1] & 4)), steps);
    }

    private static void MoveTo(FloppyDrive drive, int cylinder)
    {
        // Step pulses let the drive look for a diskette again.
        if (drive.Cylinder != cylinder && drive.Medium is not null)
            drive.IsChanged = false;
        drive.Cylinder = cylinder;
    }

    private void BeginSeek(int unit, byte sense, int steps)
    {
        _seeking |= (byte)(1 << unit);
        _senses[unit] = (byte)(sense | unit);
        _seek.Arm(Math.Max(_seek.Deadline ?? 0, _clock.Now + ((steps + 1) * StepTime)));
    }

    private void OnSeekDone()
    {
        _seeking = 0;
        SetInterrupt(true);
    }

    private void DumpRegisters() => Answer(
        (byte)(_drives[0]?.Cylinder ?? 0), (byte)(_drives[1]?.Cylinder ?? 0), 0, 0, _specify1, _specify2, _eot,
        (byte)((_isLocked ? 0x80 : 0) | _perpendicular), _configuration, _precompensation);
}
