namespace Doppel.Host.Terminals;

/// <summary>A terminal of the host, by its descriptor. Any thread.</summary>
public static unsafe class HostTerminal
{
    /// <summary>Descriptor of standard input.</summary>
    public const int StandardInput = 0;

    /// <summary>Descriptor of standard output.</summary>
    public const int StandardOutput = 1;

    /// <summary>Descriptor of standard error.</summary>
    public const int StandardError = 2;

    /// <summary>True when the descriptor is a terminal.</summary>
    public static bool IsTerminal(int descriptor) => TerminalCalls.IsATty(descriptor) == 1;

    /// <summary>The terminal's size; null when it isn't a terminal or doesn't know.</summary>
    public static TerminalSize? GetSize(int descriptor)
    {
        WindowSize size;
        if (TerminalCalls.Ioctl(descriptor, TerminalCalls.GetWindowSize, &size) != 0 || size.Rows == 0 || size.Columns == 0)
            return null;
        return new TerminalSize(size.Rows, size.Columns);
    }

    /// <summary>Sets the terminal's size, which its foreground programs are told of.</summary>
    /// <exception cref="HostException">It isn't a terminal.</exception>
    public static void SetSize(int descriptor, TerminalSize size)
    {
        var window = new WindowSize { Rows = (ushort)size.Rows, Columns = (ushort)size.Columns };
        _ = HostError.Check(TerminalCalls.Ioctl(descriptor, TerminalCalls.SetWindowSize, &window), "ioctl(TIOCSWINSZ)", $"on descriptor {descriptor}");
    }
}
