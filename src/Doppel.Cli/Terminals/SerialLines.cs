using Doppel.Cli.Commands;
using Doppel.Devices.Console;
using Doppel.Host.Terminals;

namespace Doppel.Cli.Terminals;

/// <summary>The far ends of a machine's serial ports, as --serial names them. Disposing sends what is left of the output, and may be done twice.</summary>
internal sealed class SerialLines : IAsyncDisposable
{
    private readonly List<StreamConsole> _consoles = [];
    private readonly List<PseudoTerminal> _terminals = [];
    private readonly List<IConsoleBackend> _ends = [];

    private SerialLines()
    {
    }

    /// <summary>Opens them in the order of the ports; says where pseudo-terminals are.</summary>
    /// <param name="targets">What --serial names.</param>
    /// <param name="openInput">Opens what is typed at the terminal.</param>
    /// <param name="failed">Told that a port's output can't be written: the port's kind, and why. Any thread.</param>
    /// <exception cref="CliException">One can't be opened.</exception>
    internal static SerialLines Open(IReadOnlyList<SerialTarget> targets, Func<Stream> openInput, Action<SerialKind, string> failed)
    {
        var lines = new SerialLines();
        try
        {
            for (int i = 0; i < targets.Count; i++)
                lines.Add(targets[i], i + 1, openInput, failed);
            return lines;
        }
        catch
        {
            lines.DisposeAsync().AsTask().GetAwaiter().GetResult();
            throw;
        }
    }

    /// <summary>The far end of a port, from 1 on; null when --serial names none.</summary>
    internal IConsoleBackend? End(int port) => port <= _ends.Count ? _ends[port - 1] : null;

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        foreach (StreamConsole console in _consoles)
            await console.DisposeAsync().ConfigureAwait(false);
        foreach (PseudoTerminal terminal in _terminals)
            terminal.Dispose();
        _terminals.Clear();
    }

    private void Add(SerialTarget target, int port, Func<Stream> openInput, Action<SerialKind, string> failed)
    {
        string name = port == 1 ? "the serial port" : $"serial port {port}";
        StreamConsole? console = target.Kind switch
        {
            SerialKind.Stdio => new StreamConsole(StandardStreams.OpenOutput(), openInput(), leaveOpen: true),
            SerialKind.File => new StreamConsole(RunSession.CreateFile("--serial", target.Path!)),
            SerialKind.Pty => OpenPseudoTerminal(name),
            _ => null,
        };
        _ends.Add(console ?? (IConsoleBackend)NullConsole.Instance);
        if (console is null)
            return;
        console.Failed += e => failed(target.Kind, $"{name}: its output can't be written: {e.Message}");
        _consoles.Add(console);
    }

    private StreamConsole OpenPseudoTerminal(string name)
    {
        var terminal = new PseudoTerminal();
        _terminals.Add(terminal);
        Talk.Line($"doppel: {name} is {terminal.Path}");
        return new StreamConsole(terminal.Stream, terminal.Stream, leaveOpen: true);
    }
}
