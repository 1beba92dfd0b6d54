using Doppel.Devices.Console;
using Doppel.Vmm.Debugging;

namespace Doppel.Vmm.Tests.Debugging;

/// <summary>A machine with a <see cref="LoopGuest"/> and a server for debuggers, waiting for one.</summary>
internal sealed class DebuggedMachine : IAsyncDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-gdb").FullName;

    private DebuggedMachine(string engine, ClockKind clock, bool wait, int cpus)
    {
        Guest = LoopGuest.Create();
        string kernel = Path.Combine(_directory, "kernel");
        File.WriteAllBytes(kernel, Guest.Image);
        Machine = VirtualMachine.Create(
            new MachineSpec { Kernel = kernel, Engine = engine, Clock = clock, Memory = 16 << 20, Cpus = cpus },
            new MachineConnections { Serial1 = NullConsole.Instance });
        Server = GdbServer.Start(Machine.Debugger, GdbEndpoint.Parse($"unix:{Socket}")!);
        if (wait)
            Machine.Debugger.StopAsync().Wait();
        Machine.Start();
    }

    internal LoopGuest Guest { get; }

    internal VirtualMachine Machine { get; }

    internal GdbServer Server { get; }

    internal string Socket => Path.Combine(_directory, "gdb");

    internal static DebuggedMachine Start(string engine, ClockKind clock = ClockKind.Host, bool wait = true, int cpus = 1) =>
        new(engine, clock, wait, cpus);

    internal GdbClient Connect() => new(Server.Address, Machine.Debugger.HasAvx);

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        await Machine.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }
}
