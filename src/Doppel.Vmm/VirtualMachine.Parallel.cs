using Doppel.Devices.Console;
using Doppel.Host.Files;
using Doppel.Vmm.Execution;

namespace Doppel.Vmm;

/// <content>What the guest prints.</content>
public sealed partial class VirtualMachine
{
    private StreamConsole? _printer;

    // What an earlier machine has printed stays on its paper.
    private void OpenPrinter()
    {
        if (Spec.Parallel is not string path || _connections.Parallel is not null)
            return;
        try
        {
            _printer = new StreamConsole(HostFile.OpenToAppend(path));
        }
        catch (IOException e)
        {
            throw new SpecException("parallel", $"--parallel {path}: the file can't be written: {e.Message}");
        }

        _printer.Failed += e =>
        {
            var error = new IOException($"{path}: what the guest prints can't be written: {e.Message}", e);
            lock (_lock)
                _machine?.End(new EndRequest(VmExitKind.InternalError, error.Message) { Error = error });
        };
        _connections = _connections with { Parallel = _printer };
    }

    // Whoever hears of the machine's end finds the file whole.
    private void ClosePrinter() => _printer?.Dispose();

    /// <summary>Gives back what a machine holds that could not be made whole.</summary>
    private void Abandon()
    {
        _vnc?.DisposeAsync().AsTask().GetAwaiter().GetResult();
        ClosePrinter();
    }
}
