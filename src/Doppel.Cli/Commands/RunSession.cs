using System.Runtime.InteropServices;
using System.Text.Json;
using Doppel.Cli.Terminals;
using Doppel.Devices.Console;
using Doppel.Host.Terminals;
using Doppel.Machine.Cpu;
using Doppel.Vmm;
using Doppel.Vmm.Consoles;
using Doppel.Vmm.Control;
using Doppel.Vmm.Debugging;
using Doppel.Vmm.Snapshots;
using Doppel.Vmm.Trace;

namespace Doppel.Cli.Commands;

/// <summary>One doppel run: joins the machine with the terminal, signals and files, and waits for its end.</summary>
internal sealed class RunSession
{
    private readonly RunRequest _request;
    private readonly Lock _talkLock = new();
    private readonly List<IDisposable> _open = [];
    private readonly WindowSizeLine _windowSize = new();
    private readonly TaskCompletionSource<int> _leave = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private RawTerminal? _raw;
    private VirtualMachine? _machine;
    private bool _hasPaused;
    private bool _hasShutDown;

    internal RunSession(RunRequest request) => _request = request;

    /// <summary>Runs to the end.</summary>
    /// <returns>The exit code.</returns>
    internal int Run()
    {
        // Console output of the runtime must not interfere with what is restored here, whatever ends the process.
        AppDomain.CurrentDomain.ProcessExit += (_, _) => _raw?.Dispose();
        var signals = new List<PosixSignalRegistration>();
        try
        {
            return RunAsync(signals).GetAwaiter().GetResult();
        }
        finally
        {
            _raw?.Dispose();
            foreach (PosixSignalRegistration signal in signals)
                signal.Dispose();
        }
    }

    private async Task<int> RunAsync(List<PosixSignalRegistration> signals)
    {
        SerialLines serial = SerialLines.Open(_request.Serials, OpenInput, (kind, why) => Leave(kind == SerialKind.Stdio ? ExitCode.BrokenPipe : ExitCode.Host, why));
        try
        {
            using TextTrace? trace = OpenTrace();
            var connections = new MachineConnections
            {
                Serial1 = serial.End(1) ?? NullConsole.Instance,
                Serial2 = serial.End(2) ?? _windowSize,
                Serial3 = serial.End(3),
                Serial4 = serial.End(4),
                DebugPort = OpenSink(_request.DebugPortFile, "--debug-port"),
                FirmwareLog = OpenSink(_request.FirmwareLogFile, "--firmware-log"),
                Trace = trace,
                TraceKinds = _request.Trace,
                Paused = OnPaused,
                Resumed = OnResumed,
            };
            await using VirtualMachine machine = CreateMachine(connections);
            _machine = machine;
            if (_request.TellsEngine && machine.EngineReason is string reason)
                Talk.Line($"doppel: {reason}");
            HandleSignals(signals);
            await using GdbServer? gdb = await ServeGdbAsync(machine).ConfigureAwait(false);
            await using ControlServer? control = ServeControl(machine);
            EnterTerminal();
            if (machine.VncEndPoint is System.Net.IPEndPoint vnc)
                Talk.Line($"doppel: VNC clients can connect to {vnc} (display {vnc.Port - 5900}){(machine.VncFingerprint is string print ? $"; the certificate's SHA-256 is {print}" : "")}", isRaw: _raw is not null);
            using TerminalScreen? screen = ShowScreen(machine);
            machine.Start();
            _request.Started?.Invoke();
            Task<VmExit> end = machine.WaitAsync();
            if (await Task.WhenAny(end, _leave.Task).ConfigureAwait(false) != end)
            {
                screen?.Dispose();
                _ = await machine.StopAsync().ConfigureAwait(false);
                ReportStatistics(machine.GetStatistics());
                return await _leave.Task.ConfigureAwait(false);
            }

            await serial.DisposeAsync().ConfigureAwait(false);
            // What is said of the end belongs to the terminal as it was.
            screen?.Dispose();
            _raw?.Dispose();
            VmExit exit = await end.ConfigureAwait(false);
            ReportStatistics(machine.GetStatistics());
            return Report(exit);
        }
        finally
        {
            await serial.DisposeAsync().ConfigureAwait(false);
            foreach (IDisposable open in _open)
                open.Dispose();
        }
    }

    // A temporary seed is open from then on, and ends with the machine.
    private VirtualMachine CreateMachine(MachineConnections connections)
    {
        try
        {
            return _request.Snapshot is SnapshotReader snapshot
                ? VirtualMachine.Restore(snapshot, _ => _request.Spec, connections)
                : VirtualMachine.Create(_request.Spec, connections);
        }
        finally
        {
            if (_request.TemporaryFile is string seed)
                File.Delete(seed);
        }
    }

    private async Task<GdbServer?> ServeGdbAsync(VirtualMachine machine)
    {
        if (_request.Gdb is not GdbEndpoint endpoint)
            return null;
        GdbServer server;
        try
        {
            server = GdbServer.Start(machine.Debugger, endpoint);
        }
        catch (IOException e)
        {
            throw new CliException(ExitCode.Host, $"--gdb: {e.Message}", e);
        }

        if (endpoint.Wait)
            await machine.Debugger.StopAsync().ConfigureAwait(false);
        Talk.Line($"doppel: GDB can connect to {server.Address}{(endpoint.Wait ? "; the guest waits for it" : "")}");
        return server;
    }

    // A machine whose user can't be let in from outside is as good as any other.
    private static ControlServer? ServeControl(VirtualMachine machine)
    {
        try
        {
            return ControlServer.Start(machine, ControlDirectory.ForUser());
        }
        catch (IOException e)
        {
            Talk.Line($"doppel: \"doppel stats\" and others won't find this machine: {e.Message}");
            return null;
        }
    }

    private void ReportStatistics(MachineStatistics statistics)
    {
        if (_request.StatisticsFile is string path)
        {
            using FileStream file = CreateFile("--stats-json", path);
            JsonSerializer.Serialize(file, statistics, ControlJson.Indented.MachineStatistics);
            file.WriteByte((byte)'\n');
        }

        if (_request.Statistics)
            Talk.Line($"doppel: {StatisticsText.Summary(statistics)}\n{StatisticsText.Table(statistics)}");
    }

    private int Report(VmExit exit)
    {
        if (exit.Kind is not (VmExitKind.PowerOff or VmExitKind.DebugExit or VmExitKind.Suspended))
            Talk.Error(exit.Message);
        if (exit.Kind == VmExitKind.Suspended)
            Talk.Line($"doppel: {exit.Message}; \"doppel resume {_request.Spec.Name}\" lets it go on");
        if (exit.Kind == VmExitKind.InternalError)
            return ErrorReport.Report(exit.Error!);
        return ExitCode.Of(exit);
    }

    private Stream OpenInput()
    {
        Stream input = StandardStreams.OpenInput();
        return HostTerminal.IsTerminal(HostTerminal.StandardInput) ? new KeyFilterStream(input, new KeyFilter(OnKey)) : input;
    }

    private TextTrace? OpenTrace()
    {
        if (_request.Trace == TraceKinds.None)
            return null;
        Stream stream = _request.TraceFile is string path ? CreateFile("--trace-file", path) : StandardStreams.OpenError();
        // A reader of standard error sees each line at once; a file is for later.
        var writer = new StreamWriter(stream, bufferSize: 1 << 16) { AutoFlush = _request.TraceFile is null };
        _open.Add(writer);
        return new TextTrace(writer, _request.Trace);
    }

    private Action<byte>? OpenSink(string? path, string option)
    {
        if (path is null)
            return null;
        FileStream file = CreateFile(option, path);
        _open.Add(file);
        return file.WriteByte;
    }

    /// <summary>Opens a file that an option names, empty.</summary>
    /// <exception cref="CliException">It can't be written.</exception>
    internal static FileStream CreateFile(string option, string path)
    {
        try
        {
            return new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.Host, $"{option} {path}: the file can't be written: {e.Message}", e);
        }
    }

    private TerminalScreen? ShowScreen(VirtualMachine machine) =>
        _request.ShowsScreen ? TerminalScreen.Start(machine.Display!, machine.Input, StandardStreams.OpenOutput(), OpenInput()) : null;

    private void EnterTerminal()
    {
        if ((_request.Serials.All(serial => serial.Kind != SerialKind.Stdio) && !_request.ShowsScreen) || !HostTerminal.IsTerminal(HostTerminal.StandardInput))
            return;
        _raw = RawTerminal.Enter(HostTerminal.StandardInput);
        UpdateWindowSize();
    }

    private void UpdateWindowSize()
    {
        if (HostTerminal.GetSize(HostTerminal.StandardOutput) is TerminalSize size)
            _windowSize.SetSize(size.Rows, size.Columns);
    }

    private void HandleSignals(List<PosixSignalRegistration> signals)
    {
        (PosixSignal Signal, int Number)[] ends = [(PosixSignal.SIGHUP, 1), (PosixSignal.SIGINT, 2), (PosixSignal.SIGQUIT, 3), (PosixSignal.SIGTERM, 15)];
        foreach ((PosixSignal signal, int number) in ends)
        {
            signals.Add(PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true;
                if (signal is not (PosixSignal.SIGINT or PosixSignal.SIGTERM) || !ShutDown())
                    Leave(ExitCode.Signal + number, null);
            }));
        }

        signals.Add(PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => UpdateWindowSize()));
        signals.Add(PosixSignalRegistration.Create(PosixSignal.SIGCONT, _ =>
        {
            _raw?.Apply();
            UpdateWindowSize();
            GoOn();
        }));
    }

    private void OnKey(KeyCommand command)
    {
        switch (command)
        {
            case KeyCommand.Leave:
                Leave(ExitCode.Success, null);
                break;
            case KeyCommand.Resume:
                GoOn();
                break;
            case KeyCommand.PowerButton:
                Say(_machine?.PressPowerButton() == true ? "doppel: the guest shuts down" : "doppel: the guest doesn't listen to its power button");
                break;
            case KeyCommand.Help:
                Say(KeyFilter.Help);
                break;
            default:
                _ = ShowCpusAsync();
                break;
        }
    }

    // The first time a guest that listens to its power button shuts itself down; false when that can't be hoped for.
    private bool ShutDown()
    {
        if (Interlocked.Exchange(ref _hasShutDown, true) || _machine?.PressPowerButton() != true)
            return false;
        Say("doppel: the guest shuts down; once more ends it at once");
        return true;
    }

    private void OnPaused(string why)
    {
        _hasPaused = true;
        Say($"doppel: the machine has paused: {why}; it goes on when there is room, or by Ctrl-A r, SIGCONT or \"doppel resume {_request.Spec.Name}\"");
    }

    private void OnResumed()
    {
        _hasPaused = false;
        Say("doppel: the machine goes on");
    }

    private void GoOn()
    {
        if (Interlocked.Exchange(ref _hasPaused, false))
            _machine?.Resume();
    }

    private async Task ShowCpusAsync()
    {
        if (_machine is not VirtualMachine machine)
            return;
        foreach (CpuLocation location in await machine.LocateCpusAsync().ConfigureAwait(false))
            Say($"{location}; {location.InstructionsRetired} instructions");
    }

    private void Say(string text)
    {
        lock (_talkLock)
            Talk.Line("\n" + text, isRaw: true);
    }

    private void Leave(int exitCode, string? message)
    {
        if (!_leave.TrySetResult(exitCode))
            return;
        _raw?.Dispose();
        if (message is not null && exitCode != ExitCode.BrokenPipe)
            Talk.Error(message);
    }
}
