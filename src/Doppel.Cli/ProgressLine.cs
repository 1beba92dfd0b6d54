using Doppel.Host.Terminals;
using Doppel.Vmm.Images;

namespace Doppel.Cli;

/// <summary>Progress on standard error: one line that is overwritten on a terminal, a line for each step elsewhere.</summary>
internal sealed class ProgressLine : IProgress<ImageProgress>, IDisposable
{
    private readonly Lock _lock = new();
    private readonly bool _isTerminal = HostTerminal.IsTerminal(HostTerminal.StandardError);
    private ImageProgress _last;

    /// <inheritdoc/>
    public void Report(ImageProgress value)
    {
        lock (_lock)
        {
            if (value == _last)
                return;
            if (_isTerminal)
                Console.Error.Write($"\r\e[K{value.Step}{(value.Percent is int percent ? $" {percent,3} %" : " ...")}");
            else if (value.Step != _last.Step)
                Talk.Line(value.Step);
            _last = value;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_isTerminal && _last.Step is not null)
            Console.Error.Write("\r\e[K");
    }
}
