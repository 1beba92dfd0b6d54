using Doppel.Devices.Console;
using Doppel.Devices.Display;
using Doppel.Devices.Input;
using Doppel.Devices.Pc;
using Doppel.Devices.Virtio;
using Doppel.Machine.Trace;
using Doppel.Vmm.Trace;

namespace Doppel.Vmm;

/// <summary>What a machine is connected to. None of it is disposed by the machine.</summary>
public sealed record MachineConnections
{
    /// <summary>The first serial port (3F8h); null gives the machine a <see cref="VirtualMachine.Console"/>.</summary>
    public IConsoleBackend? Serial1 { get; init; }

    /// <summary>The second serial port (2F8h); null for nobody at the far end.</summary>
    public IConsoleBackend? Serial2 { get; init; }

    /// <summary>The third serial port (3E8h), of a machine with as many (<see cref="MachineSpec.SerialPorts"/>); null for nobody at the far end.</summary>
    public IConsoleBackend? Serial3 { get; init; }

    /// <summary>The fourth serial port (2E8h), of a machine with as many; null for nobody at the far end.</summary>
    public IConsoleBackend? Serial4 { get; init; }

    /// <summary>What the parallel port's printer prints on; null for the file of <see cref="MachineSpec.Parallel"/>, and for no port if that names none.</summary>
    public IConsoleBackend? Parallel { get; init; }

    /// <summary>Told of each tone of the PC's speaker that has ended, with the I/O lock held; null for nobody. <see cref="VirtualMachine.WaitForTonesAsync"/> tells of them, too.</summary>
    public Action<SpeakerTone>? Speaker { get; init; }

    /// <summary>Receives what the guest writes to port E9h, with the I/O lock held; null discards it.</summary>
    public Action<byte>? DebugPort { get; init; }

    /// <summary>Receives firmware's log (port 402h), with the I/O lock held; null discards it.</summary>
    public Action<byte>? FirmwareLog { get; init; }

    /// <summary>Receives traced events; null for none.</summary>
    public ITraceSink? Trace { get; init; }

    /// <summary>What is traced.</summary>
    public TraceKinds TraceKinds { get; init; }

    /// <summary>Told, in one line, why the machine has paused by itself; it goes on with <see cref="VirtualMachine.Resume"/>, and when the host was full by itself as soon as there is room. Any thread.</summary>
    public Action<string>? Paused { get; init; }

    /// <summary>Told that the machine goes on by itself after <see cref="Paused"/>. Any thread.</summary>
    public Action? Resumed { get; init; }

    /// <summary>Ports of a virtio console, at most <see cref="VirtioConsole.MaximumPorts"/>; none gives the machine no such device.</summary>
    public IReadOnlyList<VirtioConsolePort> ConsolePorts { get; init; } = [];

    /// <summary>Where the machine's display adapter shows its picture; null gives the machine a <see cref="VirtualMachine.Display"/> of its own.</summary>
    public GuestDisplay? Display { get; init; }

    /// <summary>What the machine's keyboard and pointer get their input from; null gives the machine a <see cref="VirtualMachine.Input"/> of its own.</summary>
    public GuestInput? Input { get; init; }
}
