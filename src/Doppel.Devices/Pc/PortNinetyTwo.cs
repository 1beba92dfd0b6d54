using Doppel.Machine.Bus;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>System control port A (92h): bit 1 opens address line 20, a rise of bit 0 resets the CPUs (PS/2 technical reference).</summary>
public sealed class PortNinetyTwo : IDevice
{
    private readonly Action<bool> _a20;
    private readonly Action _reset;
    private readonly IoRange[] _ports;
    private byte _value;

    /// <summary>Creates the port.</summary>
    /// <param name="a20">Told bit 1 on every change.</param>
    /// <param name="reset">Called when the guest asks for a reset.</param>
    public PortNinetyTwo(Action<bool> a20, Action reset)
    {
        _a20 = a20;
        _reset = reset;
        _ports = [new IoRange(PcPorts.SystemControlA, 1, new BytePorts("port92", 1, _ => _value, (_, v) => Write(v)))];
    }

    /// <inheritdoc/>
    public string SectionName => "port92";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <inheritdoc/>
    public void Reset() => Write(0);

    /// <inheritdoc/>
    public void Save(StateWriter writer) => writer.Write(_value);

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        _value = (byte)StateCheck.Range(SectionName, "value", reader.ReadByte(), 0, 3);
        _a20((_value & 2) != 0);
    }

    private void Write(byte value)
    {
        byte before = _value;
        _value = (byte)(value & 3);
        if (((before ^ _value) & 2) != 0)
            _a20((_value & 2) != 0);
        if ((_value & 1) != 0 && (before & 1) == 0)
            _reset();
    }
}
