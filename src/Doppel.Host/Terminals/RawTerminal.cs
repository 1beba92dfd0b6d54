namespace Doppel.Host.Terminals;

/// <summary>
/// Raw mode of a terminal: every key goes through unchanged and unechoed. Disposing restores what was before, once;
/// any thread may do it, also a signal's.
/// </summary>
public sealed unsafe class RawTerminal : IDisposable
{
    private readonly int _descriptor;
    private readonly Termios _saved;
    private int _restored;

    private RawTerminal(int descriptor, Termios saved)
    {
        _descriptor = descriptor;
        _saved = saved;
    }

    /// <summary>Enters raw mode.</summary>
    /// <exception cref="HostException">It isn't a terminal.</exception>
    public static RawTerminal Enter(int descriptor)
    {
        Termios attributes;
        _ = HostError.Check(TerminalCalls.GetAttributes(descriptor, &attributes), "tcgetattr", $"of descriptor {descriptor}");
        var raw = new RawTerminal(descriptor, attributes);
        raw.Apply();
        return raw;
    }

    /// <summary>Enters raw mode again, after the process was stopped and continued.</summary>
    public void Apply()
    {
        Termios raw = _saved;
        TerminalCalls.MakeRaw(&raw);
        _ = HostError.Check(TerminalCalls.SetAttributes(_descriptor, TerminalCalls.SetNow, &raw), "tcsetattr", $"of descriptor {_descriptor}");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _restored, 1) != 0)
            return;
        Termios saved = _saved;
        // The terminal may be gone by now; then there is nothing to restore.
        _ = TerminalCalls.SetAttributes(_descriptor, TerminalCalls.SetAfterDrain, &saved);
    }
}
