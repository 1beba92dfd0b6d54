using Doppel.Cli.Terminals;
using Doppel.Vmm;
using Doppel.Vmm.Debugging;
using Doppel.Vmm.Snapshots;
using Doppel.Vmm.Trace;

namespace Doppel.Cli.Commands;

/// <summary>What doppel run was asked for.</summary>
/// <param name="Spec">The machine.</param>
/// <param name="Serials">Where its serial ports go, the first first.</param>
/// <param name="Trace">What is traced.</param>
/// <param name="TraceFile">Where to; null for standard error.</param>
/// <param name="DebugPortFile">Where port E9h goes; null for nowhere.</param>
/// <param name="Gdb">Where GDB is served; null for nowhere.</param>
/// <param name="Statistics">True to say at the end what the machine did.</param>
/// <param name="StatisticsFile">Where that goes as JSON; null for nowhere.</param>
internal sealed record RunRequest(
    MachineSpec Spec, IReadOnlyList<SerialTarget> Serials, TraceKinds Trace, string? TraceFile, string? DebugPortFile, GdbEndpoint? Gdb, bool Statistics, string? StatisticsFile)
{
    /// <summary>The snapshot from which the machine goes on; null to boot it.</summary>
    internal SnapshotReader? Snapshot { get; init; }

    /// <summary>Where firmware's log goes; null for nowhere.</summary>
    internal string? FirmwareLogFile { get; init; }

    /// <summary>Called when the machine runs; null for nothing.</summary>
    internal Action? Started { get; init; }

    /// <summary>True when the terminal shows the machine's screen.</summary>
    internal bool ShowsScreen { get; init; }

    /// <summary>True to say why the engine isn't KVM when it was to be the best that there is.</summary>
    internal bool TellsEngine { get; init; }

    /// <summary>A file that is deleted once the machine has opened it; null for none.</summary>
    internal string? TemporaryFile { get; init; }
}
