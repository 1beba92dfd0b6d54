using System.Runtime.InteropServices;

namespace Doppel.Cli;

/// <summary>Turns SIGINT, SIGTERM and SIGHUP into a cancellation, so that a command can tidy up before it ends.</summary>
internal sealed class Interruption : IDisposable
{
    private readonly CancellationTokenSource _source = new();
    private readonly List<PosixSignalRegistration> _registrations = [];
    private volatile int _signal;

    internal Interruption()
    {
        Register(PosixSignal.SIGINT, 2);
        Register(PosixSignal.SIGTERM, 15);
        Register(PosixSignal.SIGHUP, 1);
    }

    /// <summary>Cancelled by the first signal.</summary>
    internal CancellationToken Token => _source.Token;

    /// <summary>The exit code of a command that was interrupted.</summary>
    internal int ExitCode => Cli.ExitCode.Signal + _signal;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations)
            registration.Dispose();
        _source.Dispose();
    }

    private void Register(PosixSignal signal, int number) => _registrations.Add(PosixSignalRegistration.Create(signal, context =>
    {
        context.Cancel = true;
        _signal = number;
        _source.Cancel();
    }));
}
