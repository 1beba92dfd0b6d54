using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>Port E9h as emulators have it: each byte written goes to a sink; a read answers E9h, by which a guest finds the port.</summary>
public sealed class DebugPort : IDevice
{
    /// <summary>The port.</summary>
    public const ushort Port = 0xE9;

    private readonly IoRange[] _ports;

    /// <summary>Creates the port.</summary>
    /// <param name="sink">Receives each byte; must not block.</param>
    public DebugPort(Action<byte> sink)
    {
        ArgumentNullException.ThrowIfNull(sink);
        _ports = [new IoRange(Port, 1, new BytePorts("debug", 1, _ => 0xE9, (_, v) => sink(v)))];
    }

    /// <inheritdoc/>
    public string SectionName => "debug-port";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <inheritdoc/>
    public void Reset()
    {
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version) => StateCheck.Version(SectionName, version, SectionVersion);
}
