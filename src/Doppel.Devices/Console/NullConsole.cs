namespace Doppel.Devices.Console;

/// <summary>A serial line with nobody at the far end: output vanishes and no input comes.</summary>
public sealed class NullConsole : IConsoleBackend
{
    /// <summary>The only instance needed: there is no state.</summary>
    public static readonly NullConsole Instance = new();

    private NullConsole()
    {
    }

    /// <inheritdoc/>
    public event Action? InputAvailable
    {
        add { }
        remove { }
    }

    /// <inheritdoc/>
    public int Read(Span<byte> buffer) => 0;

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> data)
    {
    }
}
