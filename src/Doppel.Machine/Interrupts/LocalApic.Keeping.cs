using Doppel.Machine.Cpu;

namespace Doppel.Machine.Interrupts;

/// <content>
/// A local APIC that somebody else keeps. This object then has its base, the levels of its inputs and the 8259s behind LINT0;
/// its registers are only what was last read. Whether LINT0 lets the 8259s through is for the keeper to say.
/// </content>
public sealed partial class LocalApic
{
    private IApicKeeper? _keeper;

    /// <inheritdoc/>
    public void Refresh()
    {
        lock (_lock)
        {
            if (_keeper is not null)
                Fetch(_keeper);
        }
    }

    /// <summary>Gives the registers to a keeper. The vCPU stands still.</summary>
    internal void HandOver(IApicKeeper keeper)
    {
        lock (_lock)
        {
            ExpireTimer();
            keeper.Write(_index, Describe());
            _timer.Suspend();
            _keeper = keeper;
            Update();
        }
    }

    /// <summary>Takes them back. The vCPU stands still.</summary>
    internal void TakeBack()
    {
        lock (_lock)
        {
            if (_keeper is null)
                return;
            Fetch(_keeper);
            _keeper = null;
            _timer.Schedule();
            Update();
        }
    }

    private KeptApic Describe()
    {
        var kept = new KeptApic { Base = _base, TscDeadline = _timer.TscDeadline };
        kept[ApicRegister.Id] = (uint)_id << 24;
        kept[ApicRegister.Version] = VersionRegister;
        kept[ApicRegister.TaskPriority] = _taskPriority;
        kept[ApicRegister.LogicalDestination] = IsX2Apic ? X2LogicalId : _logicalDestination;
        kept[ApicRegister.DestinationFormat] = _destinationFormat;
        kept[ApicRegister.SpuriousVector] = _spurious;
        kept[ApicRegister.ErrorStatus] = _error;
        kept[ApicRegister.InterruptCommand] = (uint)_command;
        kept[ApicRegister.InterruptCommandHigh] = (uint)(_command >> 32);
        for (int i = 0; i < _lvt.Length; i++)
            kept[ApicRegister.LvtTimer + (i << 4)] = _lvt[i];
        for (int i = 0; i < 8; i++)
        {
            kept[ApicRegister.InService + (i << 4)] = _service[i];
            kept[ApicRegister.TriggerMode + (i << 4)] = _triggerMode[i];
            kept[ApicRegister.Request + (i << 4)] = _request[i];
        }

        _timer.Give(kept);
        return kept;
    }

    private void Fetch(IApicKeeper keeper)
    {
        KeptApic kept = keeper.Read(_index);
        if (!IsX2Apic)
        {
            _id = (byte)(kept[ApicRegister.Id] >> 24);
            _logicalDestination = kept[ApicRegister.LogicalDestination] & 0xFF00_0000;
            _destinationFormat = kept[ApicRegister.DestinationFormat] | 0x0FFF_FFFF;
        }

        _taskPriority = kept[ApicRegister.TaskPriority] & 0xFF;
        _spurious = kept[ApicRegister.SpuriousVector] & SpuriousWritable;
        _error = kept[ApicRegister.ErrorStatus] & 0xFF;
        _command = (kept[ApicRegister.InterruptCommand] & ~(1u << 12)) | ((ulong)kept[ApicRegister.InterruptCommandHigh] << 32);
        for (int i = 0; i < _lvt.Length; i++)
            _lvt[i] = kept[ApicRegister.LvtTimer + (i << 4)] & LvtWritable((LvtIndex)i);
        for (int i = 0; i < 8; i++)
        {
            // A keeper may accept vectors below 16, which don't exist.
            uint known = i == 0 ? 0xFFFF_0000 : uint.MaxValue;
            _service[i] = kept[ApicRegister.InService + (i << 4)] & known;
            _triggerMode[i] = kept[ApicRegister.TriggerMode + (i << 4)];
            _request[i] = kept[ApicRegister.Request + (i << 4)] & known;
        }

        byte vector = (byte)_lvt[(int)LvtIndex.Timer];
        _timer.Take(kept, TimerModeOf(_lvt[(int)LvtIndex.Timer]), _request.Contains(vector) || _service.Contains(vector));
        if (kept.HasInit)
            _target.Signal(PendingEvents.Init);
        if (kept.StartUp is not byte start)
            return;
        Volatile.Write(ref _sipiVector, start);
        _target.Signal(PendingEvents.Sipi);
    }
}
