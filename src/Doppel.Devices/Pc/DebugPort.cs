using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>A port for messages, as emulators have it at E9h and for firmware at 402h: each byte written goes to a sink; a read answers E9h, by which a guest finds the port.</summary>
public sealed class DebugPort : IDevice
{
    /// <summary>The port.</summary>
    public const ushort Port = 0xE9;

    /// <summary>The port to which SeaBIOS and OVMF write their log.</summary>
    public const ushort FirmwarePort = 0x402;

    private readonly IoRange[] _ports;

    /// <summary>Creates the port.</summary>
    /// <param name="sink">Receives each byte; must not block.</param>
    /// <param name="port">Where it is.</param>
    public DebugPort(Action<byte> sink, ushort port = Port)
    {
        ArgumentNullException.ThrowIfNull(sink);
        SectionName = port == Port ? "debug-port" : "firmware-log";
        _ports = [new IoRange(port, 1, new BytePorts("debug", 1, _ => 0xE9, (_, v) => sink(v)))];
    }

    /// <inheritdoc/>
    public string SectionName { get; }

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
