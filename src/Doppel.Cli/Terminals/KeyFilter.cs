namespace Doppel.Cli.Terminals;

/// <summary>
/// Looks for Doppel's own keys in what the user types: Ctrl-A and one more. Everything else goes to the guest. One
/// thread at a time.
/// </summary>
internal sealed class KeyFilter
{
    /// <summary>The list of keys.</summary>
    internal const string Help = """
        Ctrl-A x       leave: ends the machine at once
        Ctrl-A p       press the power button: a guest that listens shuts down
        Ctrl-A r       go on, after the machine has paused by itself
        Ctrl-A c       say what the processors are doing
        Ctrl-A h       this list
        Ctrl-A Ctrl-A  send Ctrl-A to the guest
        """;

    private const byte Escape = 1;
    private readonly Action<KeyCommand> _command;
    private bool _escaped;

    internal KeyFilter(Action<KeyCommand> command) => _command = command;

    /// <summary>Removes the keys in place.</summary>
    /// <returns>Number of bytes that are left for the guest.</returns>
    internal int Filter(Span<byte> typed)
    {
        int kept = 0;
        foreach (byte key in typed)
        {
            if (!_escaped)
            {
                if (key == Escape)
                    _escaped = true;
                else
                    typed[kept++] = key;
                continue;
            }

            _escaped = false;
            switch (key)
            {
                case Escape or (byte)'a':
                    typed[kept++] = Escape;
                    break;
                case (byte)'x':
                    _command(KeyCommand.Leave);
                    break;
                case (byte)'p':
                    _command(KeyCommand.PowerButton);
                    break;
                case (byte)'r':
                    _command(KeyCommand.Resume);
                    break;
                case (byte)'c':
                    _command(KeyCommand.ShowCpus);
                    break;
                default:
                    _command(KeyCommand.Help);
                    break;
            }
        }

        return kept;
    }
}
