using Doppel.Devices.Storage;
using Doppel.Machine.State;

namespace Doppel.Devices.Ahci;

/// <content>Save and restore. Queued commands that the medium works on are saved as not yet begun.</content>
internal sealed partial class AhciPort
{
    /// <summary>Writes the state.</summary>
    internal void Save(StateWriter writer)
    {
        writer.Write(_list);
        writer.Write(_received);
        foreach (uint register in (uint[])[_interrupts, _enabled, _command, _taskFile, _signature, _sataControl, _sataError, _active, _issued, _taken])
            writer.Write(register);
        writer.Write(_isStopped);
        writer.Write(_isEnding);
        writer.Write(_reconnects);
        writer.Write(_current?.Slot ?? -1);
        writer.Write(_current?.Moved ?? 0);
        writer.Write(_current?.IsPacketSent ?? false);
        Queued[] queued = [.. _busy, .. _again];
        writer.Write(queued.Length);
        foreach (Queued each in queued)
        {
            writer.Write(each.Command.Slot);
            writer.Write(each.Tag);
            writer.Write(each.Lba);
            writer.Write(each.Count);
            writer.Write(each.Writes);
            writer.Write(each.IsForced);
        }

        writer.Write((int)(_drive?.Signature ?? 1));
        _drive?.Save(writer);
    }

    /// <summary>Reads and checks what <see cref="Save"/> wrote.</summary>
    /// <returns>Takes it over; memory is restored by then.</returns>
    internal Action ReadState(StateReader reader, string section)
    {
        ulong list = reader.ReadUInt64() & ~0x3FFUL, received = reader.ReadUInt64() & ~0xFFUL;
        uint[] registers = [.. Enumerable.Range(0, 10).Select(_ => reader.ReadUInt32())];
        bool isStopped = reader.ReadBool(), isEnding = reader.ReadBool(), reconnects = reader.ReadBool();
        int slot = (int)StateCheck.Range(section, "current command", reader.ReadInt32(), -1, 31);
        uint moved = reader.ReadUInt32();
        bool isPacketSent = reader.ReadBool();
        var queued = new List<(int Slot, int Tag, ulong Lba, int Count, bool Writes, bool IsForced)>();
        for (int left = (int)StateCheck.Range(section, "queued commands", reader.ReadInt32(), 0, 64); left > 0; left--)
        {
            queued.Add((
                (int)StateCheck.Range(section, "slot", reader.ReadInt32(), 0, 31), (int)StateCheck.Range(section, "tag", reader.ReadInt32(), 0, 31), reader.ReadUInt64(),
                (int)StateCheck.Range(section, "sectors", reader.ReadInt32(), 1, 65536), reader.ReadBool(), reader.ReadBool()));
        }

        int own = _drive?.Signature ?? (ushort)1;
        _ = StateCheck.Range(section, "kind of drive", reader.ReadInt32(), own, own);
        if (queued.Count != 0)
        {
            ulong sectors = (_drive as Ata.AtaDisk)?.Sectors ?? 0;
            if (queued.Any(each => each.Lba > sectors || (ulong)each.Count > sectors - each.Lba))
                throw new InvalidDataException($"section {section}: a queued command is about sectors that there aren't");
        }

        Action? drive = _drive?.ReadState(reader, section);
        return () =>
        {
            if (_busy.Count != 0)
                throw new InvalidOperationException($"{Name} can't be restored while its back end works for it");
            (_list, _received) = (list, received);
            (_interrupts, _enabled, _command, _taskFile, _signature) = (registers[0], registers[1] & ImplementedInterrupts, registers[2] & WritableCommand, registers[3], registers[4]);
            (_sataControl, _sataError, _active, _issued, _taken) = (registers[5], registers[6], registers[7], registers[8], registers[9]);
            (_isStopped, _isEnding, _reconnects, _isHeld) = (isStopped, isEnding, reconnects, true);
            _current = slot < 0 ? null : AhciCommand.Read(_memory, list, slot);
            _current?.IsPacketSent = isPacketSent;
            _current?.Skip(moved);
            _again.Clear();
            foreach ((int slot, int tag, ulong lba, int count, bool writes, bool isForced) each in queued)
            {
                if (AhciCommand.Read(_memory, list, each.slot) is not AhciCommand command || command.GetRegions((uint)each.count * IBlockBackend.SectorSize) is not List<(ulong, uint)> regions)
                    continue;
                _again.Add(new Queued(command, each.tag, each.lba, each.count, each.writes, each.isForced) { Regions = regions });
            }

            _isPumping = true;
            drive?.Invoke();
            _isPumping = false;
        };
    }
}
