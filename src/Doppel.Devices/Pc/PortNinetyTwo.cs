using Doppel.Machine.Bus;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>System control port A (92h): bit 1 opens address line 20, a rise of bit 0 resets the CPUs (PS/2 technical reference).</summary>
public sealed class PortNinetyTwo : IDevice
{
    private const byte ResetBit = 1, A20Bit = 2;
    private readonly A20Gate _a20;
    private readonly Action _reset;
    private readonly IoRange[] _ports;
    private byte _value;

    /// <summary>Creates the port.</summary>
    /// <param name="a20">Address line 20.</param>
    /// <param name="reset">Called when the guest asks for a reset.</param>
    public PortNinetyTwo(A20Gate a20, Action reset)
    {
        ArgumentNullException.ThrowIfNull(a20);
        _a20 = a20;
        _reset = reset;
        _ports = [new IoRange(PcPorts.SystemControlA, 1, new BytePorts("port92", 1, _ => Value, (_, v) => Write(v)))];
    }

    /// <inheritdoc/>
    public string SectionName => "port92";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    private byte Value => (byte)(_value | (_a20.IsOpen ? A20Bit : 0));

    /// <inheritdoc/>
    public void Reset() => _value = 0;

    /// <inheritdoc/>
    public void Save(StateWriter writer) => writer.Write(Value);

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        byte value = (byte)StateCheck.Range(SectionName, "value", reader.ReadByte(), 0, 3);
        _value = (byte)(value & ResetBit);
        _a20.Set((value & A20Bit) != 0);
    }

    private void Write(byte value)
    {
        byte before = _value;
        _value = (byte)(value & ResetBit);
        _a20.Set((value & A20Bit) != 0);
        if ((_value & ~before) != 0)
            _reset();
    }
}
