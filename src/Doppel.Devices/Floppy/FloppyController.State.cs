using Doppel.Machine.State;

namespace Doppel.Devices.Floppy;

/// <content>Save and restore. A sector that the medium works on is saved as not yet begun.</content>
public sealed partial class FloppyController
{
    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        foreach (FloppyDrive? drive in _drives)
        {
            writer.Write((byte)(drive?.Cylinder ?? 0));
            writer.Write(drive?.IsChanged ?? false);
        }

        foreach (byte register in (byte[])[_output, _tape, _rate, _seeking, _specify1, _specify2, _configuration, _precompensation, _perpendicular, _cylinder, _head, _sector, _size, _eot, _options, _status1, _status2])
            writer.Write(register);
        writer.Write(_interrupt);
        writer.Write(_isLocked);
        writer.Write(_isResetting);
        writer.Write(_isTerminal);
        writer.Write(_usesMedium);
        writer.Write((byte)_phase);
        writer.Write((byte)_kind);
        writer.Write(_unit);
        writer.Write(_commandLength);
        writer.Write(_command.AsSpan());
        writer.Write(_resultLength);
        writer.Write(_resultAt);
        writer.Write(_result.AsSpan());
        foreach (byte? sense in _senses)
        {
            writer.Write(sense is not null);
            writer.Write(sense ?? 0);
        }

        writer.Write(_position);
        writer.Write(_length);
        writer.Write(_sectorsLeft);
        writer.Write(_buffer.AsSpan());
        writer.Write(_work.Deadline ?? -1);
        writer.Write(_seek.Deadline ?? -1);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        ArgumentNullException.ThrowIfNull(reader);
        StateCheck.Version(SectionName, version, SectionVersion);
        var drives = new (int Cylinder, bool IsChanged)[DriveCount];
        for (int i = 0; i < DriveCount; i++)
            drives[i] = (Check("cylinder", reader.ReadByte(), 0, FloppyDrive.LastCylinder), reader.ReadBool());
        byte[] registers = [.. Enumerable.Range(0, 17).Select(_ => reader.ReadByte())];
        bool[] flags = [.. Enumerable.Range(0, 5).Select(_ => reader.ReadBool())];
        var phase = (Phase)Check("phase", reader.ReadByte(), 0, (int)Phase.Result);
        var kind = (Work)Check("kind of work", reader.ReadByte(), 0, (int)Work.Fail);
        int unit = Check("drive", reader.ReadInt32(), 0, 3);
        int commandLength = Check("bytes of a command", reader.ReadInt32(), 0, 8);
        byte[] command = StateCheck.Length(SectionName, "command", reader.ReadBytes(ResultLimit), ResultLimit);
        int resultLength = Check("bytes of a result", reader.ReadInt32(), 0, ResultLimit - 1);
        int resultAt = Check("position in a result", reader.ReadInt32(), 0, phase == Phase.Result ? resultLength - 1 : resultLength);
        byte[] result = StateCheck.Length(SectionName, "result", reader.ReadBytes(ResultLimit), ResultLimit);
        byte?[] senses = [.. Enumerable.Range(0, 4).Select(_ => reader.ReadBool() ? (byte?)reader.ReadByte() : Skip(reader))];
        int position = Check("position", reader.ReadInt32(), 0, FormatLimit);
        int length = Check("length", reader.ReadInt32(), phase is Phase.DataIn or Phase.DataOut ? position + 1 : 0, FormatLimit);
        int sectorsLeft = kind == Work.Format ? Check("sectors", reader.ReadInt32(), 1, 255) : reader.ReadInt32();
        byte[] buffer = StateCheck.Length(SectionName, "buffer", reader.ReadBytes(FormatLimit), FormatLimit);
        long work = reader.ReadInt64(), seek = reader.ReadInt64();
        _medium.HoldForRestore();
        for (int i = 0; i < DriveCount; i++)
        {
            if (_drives[i] is FloppyDrive drive)
                (drive.Cylinder, drive.IsChanged) = drives[i];
        }

        (_output, _tape, _rate, _seeking, _specify1, _specify2, _configuration, _precompensation, _perpendicular) =
            (registers[0], registers[1], (byte)(registers[2] & 3), (byte)(registers[3] & 15), registers[4], registers[5], registers[6], registers[7], registers[8]);
        (_cylinder, _head, _sector, _size, _eot, _options, _status1, _status2) =
            (registers[9], registers[10], registers[11], registers[12], registers[13], registers[14], registers[15], registers[16]);
        (_interrupt, _isLocked, _isResetting, _isTerminal, bool usesMedium) = (flags[0], flags[1], flags[2], flags[3], flags[4]);
        (_phase, _kind, _unit, _commandLength, _resultLength, _resultAt) = (phase, kind, unit, commandLength, resultLength, resultAt);
        (_position, _length, _sectorsLeft) = (position, length, sectorsLeft);
        command.CopyTo(_command, 0);
        result.CopyTo(_result, 0);
        senses.CopyTo(_senses, 0);
        buffer.CopyTo(_buffer, 0);
        Set(_work, work);
        Set(_seek, seek);
        UpdateLine();
        if (usesMedium)
            BeginMedium();

        static void Set(Machine.Time.IGuestTimer timer, long deadline)
        {
            if (deadline < 0)
                timer.Disarm();
            else
                timer.Arm(deadline);
        }
    }

    private static byte? Skip(StateReader reader)
    {
        _ = reader.ReadByte();
        return null;
    }

    private int Check(string field, int value, int least, int most) => (int)StateCheck.Range(SectionName, field, value, least, most);
}
