using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// The coprocessor's error on interrupt 13 as an AT has it: FERR# of the processor sets a latch, a write to port F0h or F1h
/// clears it (IBM PC AT technical reference, "80287"; Intel SDM vol. 1, D.2).
/// </summary>
public sealed class CoprocessorError : IDevice
{
    /// <summary>First of its two ports.</summary>
    public const ushort Port = 0xF0;

    private readonly IInterruptLine _line;
    private readonly IoRange[] _ports;
    private bool _isLatched;

    /// <summary>Creates the latch, clear.</summary>
    /// <param name="line">Interrupt 13.</param>
    public CoprocessorError(IInterruptLine line)
    {
        ArgumentNullException.ThrowIfNull(line);
        _line = line;
        _ports = [new IoRange(Port, 2, new BytePorts("coprocessor", 2, _ => 0xFF, (_, _) => Set(false)))];
    }

    /// <inheritdoc/>
    public string SectionName => "coprocessor";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <summary>FERR#.</summary>
    public void Raise() => Set(true);

    /// <inheritdoc/>
    public void Reset() => Set(false);

    /// <inheritdoc/>
    public void Save(StateWriter writer) => writer.Write(_isLatched);

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        Set(reader.ReadBool());
    }

    private void Set(bool isLatched)
    {
        _isLatched = isLatched;
        _line.Set(isLatched);
    }
}
