using System.Text;
using Doppel.Devices.Console;

namespace Doppel.Vmm.Readiness;

/// <summary>
/// A serial line that is also read for what tells how far the guest has come: a prompt for a login or of a shell, and cloud-init's
/// messages. Passes everything through unchanged.
/// </summary>
/// <param name="inner">The line.</param>
/// <param name="log">Where it is kept.</param>
internal sealed class ConsoleWatch(IConsoleBackend inner, ReadinessLog log) : IConsoleBackend
{
    private const int LongestLine = 512, LongestPrompt = 120;
    private const byte Escape = 0x1B;
    private readonly byte[] _line = new byte[LongestLine];
    private int _length;
    private EscapeState _escape;

    private enum EscapeState
    {
        None,
        Began,
        Sequence,
    }

    /// <inheritdoc/>
    public event Action? InputAvailable
    {
        add => inner.InputAvailable += value;
        remove => inner.InputAvailable -= value;
    }

    /// <inheritdoc/>
    public event Action? OutputDrained
    {
        add => inner.OutputDrained += value;
        remove => inner.OutputDrained -= value;
    }

    /// <inheritdoc/>
    public bool CanAcceptOutput => inner.CanAcceptOutput;

    /// <inheritdoc/>
    public int Read(Span<byte> buffer) => inner.Read(buffer);

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> data)
    {
        inner.Write(data);
        foreach (byte each in data)
            Take(each);
    }

    /// <summary>
    /// True for what stands before the cursor when somebody may type: "login: ", or what a shell shows, "# " or "$ " behind something of a user,
    /// host or directory, or alone. Not for a line of the kernel's log.
    /// </summary>
    internal static bool IsPrompt(string line)
    {
        if (line.Length is 0 or > LongestPrompt || line.StartsWith("[ ", StringComparison.Ordinal) || (line[0] == '[' && line.Length > 1 && char.IsAsciiDigit(line[1])))
            return false;
        if (line.EndsWith(" login: ", StringComparison.Ordinal))
            return !line.StartsWith("Last", StringComparison.Ordinal);
        if (!line.EndsWith("# ", StringComparison.Ordinal) && !line.EndsWith("$ ", StringComparison.Ordinal))
            return false;
        string before = line[..^2];
        return before.Length == 0 || (before.AsSpan().IndexOfAny('@', '/', '~') >= 0 && !before.Contains(": ", StringComparison.Ordinal)) || before.StartsWith("bash-", StringComparison.Ordinal) || before.StartsWith("sh-", StringComparison.Ordinal);
    }

    // Colours and questions for the window's size are no text (ECMA-48, 5.4).
    private void Take(byte each)
    {
        switch (_escape, each)
        {
            case (EscapeState.Began, (byte)'['):
                _escape = EscapeState.Sequence;
                return;
            case (EscapeState.Began, _):
                _escape = EscapeState.None;
                return;
            case (EscapeState.Sequence, >= 0x40 and <= 0x7E):
                _escape = EscapeState.None;
                return;
            case (EscapeState.Sequence, _):
                return;
            case (_, Escape):
                _escape = EscapeState.Began;
                return;
            case (_, (byte)'\n'):
                ReadMessage();
                _length = 0;
                return;
            case (_, (byte)'\r'):
                return;
            default:
                if (_length < LongestLine)
                    _line[_length++] = each;
                if (each == ' ' && _length <= LongestPrompt && log.Now.Booted is null && IsPrompt(Text()))
                    log.Boot();
                return;
        }
    }

    // cloud-init's documentation, "final_message": "Cloud-init v. VERSION finished at TIME. ..."; before that, "... running 'init' at ...".
    private void ReadMessage()
    {
        if (_line.AsSpan(0, _length).IndexOf("Cloud-init v. "u8) < 0)
            return;
        if (_line.AsSpan(0, _length).IndexOf(" finished at "u8) >= 0)
            log.EndSetUp();
        else
            log.BeginSetUp();
    }

    private string Text() => Encoding.UTF8.GetString(_line, 0, _length);
}
