using Doppel.Api;
using Doppel.Host.Terminals;
using Doppel.Vmm.Control;

namespace Doppel.Cli.Commands.Machines;

/// <summary>How far an operation is, on standard error: a line that is overwritten, on a terminal only.</summary>
internal sealed class OperationLine : IDisposable
{
    private readonly bool _isTerminal = HostTerminal.IsTerminal(HostTerminal.StandardError);
    private OperationProgress? _last;

    /// <summary>Shows it.</summary>
    internal void Show(Operation operation)
    {
        if (!_isTerminal || operation.Progress is not OperationProgress now || now == _last)
            return;
        string share = now.Total == 0 ? " ..." : $" {Math.Min(100, 100 * now.Done / now.Total),3} %";
        string rest = now.RemainingSeconds is double seconds ? $", {Math.Ceiling(seconds)} s to go" : "";
        Console.Error.Write($"\r\e[K{now.Phase}{share}{rest}{(now.Detail is null ? "" : ", " + now.Detail)}");
        _last = now;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_last is not null)
            Console.Error.Write("\r\e[K");
    }
}
