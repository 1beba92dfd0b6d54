namespace Doppel.Machine.Interrupts;

/// <content>The registers, as a page (xAPIC) and as MSRs (x2APIC).</content>
public sealed partial class LocalApic
{
    private const uint FirstMsr = 0x800;
    private const uint HasDirectedEoi = 1 << 24;
    private const uint SuppressesBroadcast = 1 << 12;

    // KVM shows directed EOI with x2APIC and can't hide it, so all engines have it.
    private uint VersionRegister => 0x0005_0014 | (_options.HasX2Apic ? HasDirectedEoi : 0);

    private uint SpuriousWritable => 0x3FF | (_options.HasX2Apic ? SuppressesBroadcast : 0);

    /// <inheritdoc/>
    /// <remarks>Narrow reads return their part of the 32-bit register; hardware leaves them undefined.</remarks>
    public ulong Read(ulong offset, int size)
    {
        // Only the first four bytes of each 16 hold a register.
        int within = (int)(offset & 0xF);
        if (within > 3)
            return 0;
        uint value;
        lock (_lock)
        {
            if (!TryReadRegister((int)offset & 0xFF0, isMsr: false, out value))
                RecordError(ApicError.IllegalRegister);
        }

        ulong mask = size >= 4 ? uint.MaxValue : (1UL << (size * 8)) - 1;
        return (value >> (within * 8)) & mask;
    }

    /// <inheritdoc/>
    /// <remarks>Writes must be of 32 bits at a multiple of 16 (Intel SDM vol. 3, 11.4.1); others are dropped.</remarks>
    public void Write(ulong offset, int size, ulong value)
    {
        if (size < 4 || (offset & 0xF) != 0)
            return;
        int register = (int)offset & 0xFF0;
        switch (register)
        {
            case ApicRegister.Eoi:
                EndOfInterrupt();
                break;
            case ApicRegister.InterruptCommand:
                ulong command;
                lock (_lock)
                    command = _command = (_command & 0xFFFF_FFFF_0000_0000) | ((uint)value & ~(1u << 12));
                SendCommand(command, ApicMessage.WidenDestination((byte)(command >> 56)));
                break;
            case ApicRegister.InterruptCommandHigh:
                lock (_lock)
                    _command = (_command & uint.MaxValue) | (value & 0xFF00_0000) << 32;
                break;
            default:
                lock (_lock)
                {
                    if (!TryWriteRegister(register, (uint)value))
                        RecordError(ApicError.IllegalRegister);
                }

                break;
        }
    }

    /// <inheritdoc/>
    public bool TryReadMsr(uint index, out ulong value)
    {
        value = 0;
        if (index is < FirstMsr or > 0x8FF)
            return false;
        int register = (int)(index - FirstMsr) << 4;
        lock (_lock)
        {
            // A keeper has refused what comes here while there is one.
            if (!IsX2Apic || _keeper is not null)
                return false;
            switch (register)
            {
                case ApicRegister.Id:
                    value = (uint)_index;
                    return true;
                case ApicRegister.LogicalDestination:
                    value = X2LogicalId;
                    return true;
                case ApicRegister.InterruptCommand:
                    value = _command;
                    return true;
                case ApicRegister.ArbitrationPriority or ApicRegister.RemoteRead or ApicRegister.DestinationFormat
                    or ApicRegister.InterruptCommandHigh or ApicRegister.Eoi or ApicRegister.SelfIpi:
                    return false;
                default:
                    bool exists = TryReadRegister(register, isMsr: true, out uint narrow);
                    value = narrow;
                    return exists;
            }
        }
    }

    /// <inheritdoc/>
    public bool TryWriteMsr(uint index, ulong value)
    {
        if (index is < FirstMsr or > 0x8FF)
            return false;
        int register = (int)(index - FirstMsr) << 4;
        ulong reserved = ReservedBits(register);
        lock (_lock)
        {
            if (!IsX2Apic || _keeper is not null || (value & reserved) != 0)
                return false;
            if (register == ApicRegister.InterruptCommand)
                value = _command = value & ~(1UL << 12);
            else if (register is not (ApicRegister.Eoi or ApicRegister.SelfIpi))
                return TryWriteRegister(register, (uint)value);
        }

        switch (register)
        {
            case ApicRegister.Eoi:
                EndOfInterrupt();
                break;
            case ApicRegister.SelfIpi:
                SendCommand((byte)value | (1u << 18), 0);
                break;
            default:
                SendCommand(value, (uint)(value >> 32));
                break;
        }

        return true;
    }

    // Bits that raise #GP when an x2APIC MSR is written; all of them for one that is read-only or does not exist.
    private ulong ReservedBits(int register) => register switch
    {
        ApicRegister.TaskPriority => ~0xFFUL,
        ApicRegister.Eoi or ApicRegister.ErrorStatus => ulong.MaxValue,
        ApicRegister.SpuriousVector => ~(ulong)SpuriousWritable,
        ApicRegister.InterruptCommand => 0xFFF3_2000,
        ApicRegister.SelfIpi => ~0xFFUL,
        ApicRegister.InitialCount => ~(ulong)uint.MaxValue,
        ApicRegister.DivideConfiguration => ~0xBUL,
        >= ApicRegister.LvtTimer and <= ApicRegister.LvtError =>
            ~(ulong)(LvtWritable((LvtIndex)((register - ApicRegister.LvtTimer) >> 4)) | (1 << 12) | RemoteIrr),
        _ => 0,
    };

    private bool TryReadRegister(int register, bool isMsr, out uint value)
    {
        switch (register)
        {
            case ApicRegister.Id:
                value = (uint)_id << 24;
                break;
            case ApicRegister.Version:
                value = VersionRegister;
                break;
            case ApicRegister.TaskPriority:
                value = _taskPriority;
                break;
            case ApicRegister.ArbitrationPriority:
                value = ArbitrationPriority;
                break;
            case ApicRegister.ProcessorPriority:
                value = ProcessorPriority;
                break;
            case ApicRegister.Eoi or ApicRegister.RemoteRead:
                value = 0;
                break;
            case ApicRegister.LogicalDestination:
                value = _logicalDestination;
                break;
            case ApicRegister.DestinationFormat:
                value = _destinationFormat;
                break;
            case ApicRegister.SpuriousVector:
                value = _spurious;
                break;
            case >= ApicRegister.InService and < ApicRegister.TriggerMode:
                value = _service[(register >> 4) & 7];
                break;
            case >= ApicRegister.TriggerMode and < ApicRegister.Request:
                value = _triggerMode[(register >> 4) & 7];
                break;
            case >= ApicRegister.Request and < ApicRegister.ErrorStatus:
                value = _request[(register >> 4) & 7];
                break;
            case ApicRegister.ErrorStatus:
                value = _error;
                break;
            case ApicRegister.InterruptCommand when !isMsr:
                value = (uint)_command;
                break;
            case ApicRegister.InterruptCommandHigh:
                value = (uint)(_command >> 32);
                break;
            case >= ApicRegister.LvtTimer and <= ApicRegister.LvtError:
                value = _lvt[(register - ApicRegister.LvtTimer) >> 4];
                break;
            case ApicRegister.InitialCount:
                value = _timer.InitialCount;
                break;
            case ApicRegister.CurrentCount:
                value = _timer.CurrentCount;
                break;
            case ApicRegister.DivideConfiguration:
                value = _timer.DivideConfiguration;
                break;
            default:
                value = 0;
                return false;
        }

        return true;
    }

    // Everything but EOI, ICR and self IPI, whose effects reach beyond the lock. False: no such register in this mode.
    private bool TryWriteRegister(int register, uint value)
    {
        switch (register)
        {
            case ApicRegister.Id when !IsX2Apic:
                _id = (byte)(value >> 24);
                return true;
            case ApicRegister.TaskPriority:
                _taskPriority = value & 0xFF;
                Update();
                return true;
            case ApicRegister.LogicalDestination when !IsX2Apic:
                _logicalDestination = value & 0xFF00_0000;
                return true;
            case ApicRegister.DestinationFormat when !IsX2Apic:
                _destinationFormat = value | 0x0FFF_FFFF;
                return true;
            case ApicRegister.SpuriousVector:
                _spurious = value & SpuriousWritable;
                for (int i = 0; i < _lvt.Length && !IsSoftwareEnabled; i++)
                    _lvt[i] |= Masked;
                Update();
                return true;
            case ApicRegister.ErrorStatus:
                _error = _newErrors;
                _newErrors = 0;
                return true;
            case >= ApicRegister.LvtTimer and <= ApicRegister.LvtError:
                WriteLvt((LvtIndex)((register - ApicRegister.LvtTimer) >> 4), value);
                return true;
            case ApicRegister.InitialCount:
                ExpireTimer();
                _timer.SetInitialCount(value);
                return true;
            case ApicRegister.DivideConfiguration:
                ExpireTimer();
                _timer.SetDivide(value);
                return true;
            // Read-only registers ignore writes in a page; as MSRs they raise #GP.
            case ApicRegister.Version or ApicRegister.ProcessorPriority or ApicRegister.CurrentCount
                or (>= ApicRegister.InService and < ApicRegister.ErrorStatus):
            case ApicRegister.ArbitrationPriority or ApicRegister.RemoteRead:
                return !IsX2Apic;
            default:
                return false;
        }
    }

    private void WriteLvt(LvtIndex index, uint value)
    {
        if (index == LvtIndex.Timer)
            ExpireTimer();
        value = (value & LvtWritable(index)) | (_lvt[(int)index] & RemoteIrr);
        if (!IsSoftwareEnabled)
            value |= Masked;
        // Remote IRR belongs to a level-triggered fixed entry only.
        if ((value & LevelTriggered) == 0 || ModeOf(value) != ApicDeliveryMode.Fixed)
            value &= ~RemoteIrr;
        _lvt[(int)index] = value;
        if (index == LvtIndex.Timer)
            _timer.SetMode(TimerModeOf(value));
        else if (index == LvtIndex.Lint0 && _levels[0] && (value & LevelTriggered) != 0)
            DeliverInput(0);
        Update();
    }

    private static LocalApicTimer.TimerMode TimerModeOf(uint entry) => (LocalApicTimer.TimerMode)((entry >> 17) & 3);

    private uint LvtWritable(LvtIndex index) => index switch
    {
        LvtIndex.Timer => _options.HasTscDeadline ? 0x700FFu : 0x300FFu,
        LvtIndex.Thermal or LvtIndex.Performance => 0x107FF,
        LvtIndex.Lint0 or LvtIndex.Lint1 => 0x1A7FF,
        _ => 0x100FF,
    };

    private void ExpireTimer()
    {
        if (_timer.TakeExpiry())
            DeliverLocal(LvtIndex.Timer);
    }

    // The interrupt command register (Intel SDM vol. 3, 11.6.1 and 11.12.9). Without the lock: it ends in other APICs.
    private void SendCommand(ulong command, uint destination)
    {
        var mode = (ApicDeliveryMode)((command >> 8) & 7);
        byte vector = (byte)command;
        bool isLevel = (command & LevelTriggered) != 0, isAssert = (command & (1 << 14)) != 0;
        if (mode is ApicDeliveryMode.Reserved or ApicDeliveryMode.ExtInt)
            return;
        // INIT level de-assert only synchronises arbitration ids, which no longer exist.
        if (mode == ApicDeliveryMode.Init && isLevel && !isAssert)
            return;
        if (mode is ApicDeliveryMode.Fixed or ApicDeliveryMode.LowestPriority && vector < 16)
        {
            lock (_lock)
                RecordError(ApicError.SendIllegalVector);
            return;
        }

        bool isLogical = (command & (1 << 11)) != 0;
        switch ((command >> 18) & 3)
        {
            case 0:
                _ = _bus.Send(new ApicMessage(destination, isLogical, mode, vector, IsLevel: false));
                break;
            case 1:
                _ = Accept(mode, vector, isLevel: false);
                break;
            case 2:
                _ = _bus.Send(new ApicMessage(ApicMessage.Broadcast, false, mode, vector, IsLevel: false));
                break;
            default:
                _ = _bus.Send(new ApicMessage(ApicMessage.Broadcast, false, mode, vector, IsLevel: false), except: this);
                break;
        }
    }
}
