using Doppel.Host.Kvm;
using Doppel.Machine.Cpu.System;

namespace Doppel.Engines.Kvm;

/// <content>What the guest does that isn't memory: ports, memory-mapped registers, MSRs.</content>
public sealed unsafe partial class KvmEngine
{
    private void AccessPorts()
    {
        _isIncomplete = true;
        KvmIoExit io = _run->Io;
        byte* data = (byte*)_run + io.DataOffset;
        for (uint i = 0; i < io.Count; i++, data += io.Size)
        {
            if (io.Direction == KvmIoExit.Out)
                _cpu.Ports.Write(io.Port, io.Size, ReadValue(data, io.Size));
            else
                WriteValue(data, io.Size, _cpu.Ports.Read(io.Port, io.Size));
        }
    }

    private void AccessMemory()
    {
        _isIncomplete = true;
        ulong address = _run->Mmio.Address;
        byte* data = _run->Mmio.Data;
        // An access across two pages may come in pieces of any length.
        for (int left = (int)_run->Mmio.Length; left > 0;)
        {
            int size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
            if (_run->Mmio.IsWrite != 0)
                _cpu.Physical.Write(address, size, ReadValue(data, size));
            else
                WriteValue(data, size, _cpu.Physical.Read(address, size));
            address += (uint)size;
            data += size;
            left -= size;
        }
    }

    private void ReadMsr()
    {
        _isIncomplete = true;
        bool exists = Msrs.TryRead(_cpu, _run->Msr.Index, out ulong value);
        if (exists && _run->Msr.Index == MsrIndex.Tsc)
            value = _kvm.ReadMsr(MsrIndex.Tsc);
        _run->Msr.Data = value;
        _run->Msr.Error = exists ? (byte)0 : (byte)1;
    }

    private void WriteMsr()
    {
        _isIncomplete = true;
        uint index = _run->Msr.Index;
        ulong value = _run->Msr.Data;
        // The deadline is in the guest's ticks, by which the machine's timers don't go.
        if (index == MsrIndex.TscDeadline && value != 0)
            value -= (ulong)_kvm.Drift;
        ulong apicBase = _cpu.Apic.ApicBase;
        // Another mode or place is a matter for this process's local APIC.
        if (index == MsrIndex.ApicBase && value != apicBase)
            _apics?.Hold(_cpu);
        bool isTaken = Msrs.TryWrite(_cpu, index, value);
        _run->Msr.Error = isTaken ? (byte)0 : (byte)1;
        if (!isTaken)
            return;
        if (index is MsrIndex.Tsc or MsrIndex.TscAdjust)
            _kvm.LoadTime();
        else if (_cpu.Apic.ApicBase != apicBase)
            Settle();
    }

    /// <summary>Lets the kernel finish the instruction for which it has left the guest, and nothing more.</summary>
    private void Complete()
    {
        while (_isIncomplete)
        {
            _run->ImmediateExit = 1;
            _isIncomplete = false;
            if (!_vcpu.Run())
                break;
            // The next piece of the same instruction.
            switch (_run->ExitReason)
            {
                case KvmExit.Io:
                    AccessPorts();
                    break;
                case KvmExit.Mmio:
                    AccessMemory();
                    break;
                case KvmExit.InternalError when _run->InternalError.Kind == KvmInternalError.Emulation:
                    break;
                default:
                    throw new KvmException($"KVM stopped with exit {(uint)_run->ExitReason} ({_run->ExitReason}) where it was to finish an instruction");
            }
        }

        _run->ImmediateExit = 0;
    }

    private static ulong ReadValue(byte* data, int size) => size switch
    {
        1 => *data,
        2 => *(ushort*)data,
        4 => *(uint*)data,
        _ => *(ulong*)data,
    };

    private static void WriteValue(byte* data, int size, ulong value)
    {
        switch (size)
        {
            case 1:
                *data = (byte)value;
                break;
            case 2:
                *(ushort*)data = (ushort)value;
                break;
            case 4:
                *(uint*)data = (uint)value;
                break;
            default:
                *(ulong*)data = value;
                break;
        }
    }
}
