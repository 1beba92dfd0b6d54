using Doppel.Devices.Console;
using Doppel.Devices.Pc;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;

namespace Doppel.Vmm.Execution;

/// <content>The serial and parallel ports on the ISA bus.</content>
internal sealed partial class PcMachine
{
    private bool _hasParallelPort;

    private void AddSerialPorts(IReadOnlyList<IConsoleBackend?> backends)
    {
        var lines = new Dictionary<int, WiredOr>();
        for (int i = 0; i < _spec.SerialPorts; i++)
        {
            (ushort port, int irq) = PcPorts.SerialPorts[i];
            if (!lines.TryGetValue(irq, out WiredOr? line))
                lines.Add(irq, line = new WiredOr(_wires.Line(irq)));
            _ = Add(new Uart16550($"serial{i}", port, Clock, line.AddInput(), backends[i] ?? NullConsole.Instance, IoLock));
        }
    }

    private void AddParallelPort(MachineConnections connections)
    {
        _hasParallelPort = _spec.Parallel is not null || connections.Parallel is not null;
        if (_hasParallelPort)
            _ = Add(new ParallelPort("parallel0", PcPorts.Parallel1, _wires.Line(PcPorts.Parallel1Irq), connections.Parallel ?? NullConsole.Instance, IoLock));
    }

    // Input that came before the devices listened was not announced to them.
    private void PollSerial()
    {
        foreach (Uart16550 port in _devices.OfType<Uart16550>())
            port.Poll();
    }
}
