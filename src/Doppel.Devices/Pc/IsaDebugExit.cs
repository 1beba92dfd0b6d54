using Doppel.Machine.Bus;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// QEMU's isa-debug-exit: a write ends the virtual machine with the exit code (value &lt;&lt; 1) | 1, by which test
/// kernels report. Reads answer 0.
/// </summary>
public sealed class IsaDebugExit : IDevice, IIoRegion
{
    /// <summary>First port unless another is asked for.</summary>
    public const ushort DefaultPort = 0xF4;

    private readonly Action<int> _exit;
    private readonly IoRange[] _ports;

    /// <summary>Creates the device.</summary>
    /// <param name="exit">Receives the exit code.</param>
    /// <param name="port">First port.</param>
    /// <param name="size">Number of ports: 1, 2 or 4.</param>
    public IsaDebugExit(Action<int> exit, ushort port = DefaultPort, int size = 4)
    {
        ArgumentNullException.ThrowIfNull(exit);
        _exit = exit;
        _ports = [new IoRange(port, (ulong)size, this)];
    }

    /// <inheritdoc/>
    public string Name => "isa-debug-exit";

    /// <inheritdoc/>
    public string SectionName => "isa-debug-exit";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <inheritdoc/>
    public ulong Read(ulong offset, int size) => 0;

    /// <inheritdoc/>
    public void Write(ulong offset, int size, ulong value) => _exit((int)((uint)value << 1) | 1);

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
