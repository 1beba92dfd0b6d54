using Doppel.Machine.State;

namespace Doppel.Machine.Interrupts;

/// <content>Save and restore.</content>
public sealed partial class LocalApic
{
    /// <inheritdoc/>
    public string SectionName => Name;

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        lock (_lock)
        {
            if (_keeper is not null)
                Fetch(_keeper);
            writer.Write(_base);
            writer.Write(_id);
            writer.Write(_taskPriority);
            writer.Write(_logicalDestination);
            writer.Write(_destinationFormat);
            writer.Write(_spurious);
            writer.Write(_command);
            writer.Write(_error);
            writer.Write(_newErrors);
            writer.Write(_sipiVector);
            writer.Write(_externalMessage);
            writer.Write(_levels[0]);
            writer.Write(_levels[1]);
            foreach (uint entry in _lvt)
                writer.Write(entry);
            _request.Save(writer);
            _service.Save(writer);
            _triggerMode.Save(writer);
            _timer.Save(writer);
        }
    }

    /// <inheritdoc/>
    /// <remarks>The clock and the vCPU's TSC offset are restored before.</remarks>
    public void Restore(StateReader reader, int version)
    {
        if (version != SectionVersion)
            throw new InvalidDataException($"{Name}: version {version} is unknown; {SectionVersion} is expected");
        ulong apicBase = reader.ReadUInt64();
        ulong known = ((1UL << _options.PhysicalAddressBits) - 1) & ~0xFFFUL | BaseBootstrap | BaseX2Apic | BaseEnabled;
        if ((apicBase & ~known) != 0 || (apicBase & (BaseX2Apic | BaseEnabled)) == BaseX2Apic)
            throw new InvalidDataException($"{Name}: APIC base is 0x{apicBase:x}, with reserved bits or x2APIC without enable");
        byte id = reader.ReadByte();
        uint taskPriority = Checked(reader.ReadUInt32(), 0xFF, "task priority");
        uint logicalDestination = Checked(reader.ReadUInt32(), 0xFF00_0000, "logical destination");
        uint destinationFormat = reader.ReadUInt32();
        uint spurious = Checked(reader.ReadUInt32(), SpuriousWritable, "spurious vector");
        ulong command = reader.ReadUInt64();
        uint error = Checked(reader.ReadUInt32(), 0xFF, "error status");
        uint newErrors = Checked(reader.ReadUInt32(), 0xFF, "new errors");
        byte sipiVector = reader.ReadByte();
        bool externalMessage = reader.ReadBool();
        bool level0 = reader.ReadBool(), level1 = reader.ReadBool();
        uint[] lvt = new uint[_lvt.Length];
        for (int i = 0; i < lvt.Length; i++)
            lvt[i] = Checked(reader.ReadUInt32(), LvtWritable((LvtIndex)i) | RemoteIrr, $"LVT entry {i}");
        VectorSet request = VectorSet.Read(reader), service = VectorSet.Read(reader), triggerMode = VectorSet.Read(reader);
        if (((request[0] | service[0]) & 0xFFFF) != 0)
            throw new InvalidDataException($"{Name}: a vector below 16 is requested or in service");
        Action restoreTimer = _timer.Prepare(reader, TimerModeOf(lvt[0]), Name);
        lock (_lock)
        {
            _base = apicBase;
            _id = id;
            _taskPriority = taskPriority;
            _logicalDestination = logicalDestination;
            _destinationFormat = destinationFormat;
            _spurious = spurious;
            _command = command;
            _error = error;
            _newErrors = newErrors;
            _sipiVector = sipiVector;
            _externalMessage = externalMessage;
            _levels[0] = level0;
            _levels[1] = level1;
            lvt.CopyTo(_lvt, 0);
            _request = request;
            _service = service;
            _triggerMode = triggerMode;
            restoreTimer();
            PlaceWindow();
            Update();
        }
    }

    private uint Checked(uint value, uint allowed, string field) =>
        (value & ~allowed) == 0 ? value : throw new InvalidDataException($"{Name}: {field} is 0x{value:x}; only the bits 0x{allowed:x} exist");
}
