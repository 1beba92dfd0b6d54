using System.Text;
using System.Text.RegularExpressions;
using Doppel.Devices.Console;

namespace Doppel.Vmm.Consoles;

/// <summary>
/// A serial line that also looks for the last words of a Linux kernel: a line of its log that begins "Kernel panic - not
/// syncing". Passes everything through unchanged.
/// </summary>
internal sealed partial class PanicWatch : IConsoleBackend
{
    private const int LongestLine = 512;
    private readonly IConsoleBackend _inner;
    private readonly byte[] _line = new byte[LongestLine];
    private int _length;

    internal PanicWatch(IConsoleBackend inner) => _inner = inner;

    /// <inheritdoc/>
    public event Action? InputAvailable
    {
        add => _inner.InputAvailable += value;
        remove => _inner.InputAvailable -= value;
    }

    /// <inheritdoc/>
    public event Action? OutputDrained
    {
        add => _inner.OutputDrained += value;
        remove => _inner.OutputDrained -= value;
    }

    /// <summary>The kernel has stopped for good after a panic; it will not reset the machine. Raised with the I/O lock held.</summary>
    internal event Action? Ended;

    /// <summary>The reason that the kernel gave; null while there was no panic. Set with the I/O lock held.</summary>
    internal string? Reason { get; private set; }

    /// <inheritdoc/>
    public bool CanAcceptOutput => _inner.CanAcceptOutput;

    /// <inheritdoc/>
    public int Read(Span<byte> buffer) => _inner.Read(buffer);

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> data)
    {
        _inner.Write(data);
        foreach (byte b in data)
        {
            if (b == '\n')
            {
                Examine();
                _length = 0;
            }
            else if (_length < LongestLine)
            {
                _line[_length++] = b;
            }
        }
    }

    [GeneratedRegex(@"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? Kernel panic - not syncing: (.*?)\s*$")]
    private static partial Regex PanicLine();

    [GeneratedRegex(@"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ---\[ end Kernel panic - not syncing")]
    private static partial Regex EndLine();

    private void Examine()
    {
        if (_line.AsSpan(0, _length).IndexOf("Kernel panic - not syncing"u8) < 0)
            return;
        string text = Encoding.UTF8.GetString(_line, 0, _length);
        if (PanicLine().Match(text) is { Success: true } panic)
            Reason ??= panic.Groups[1].Value;
        else if (Reason is not null && EndLine().IsMatch(text))
            Ended?.Invoke();
    }
}
