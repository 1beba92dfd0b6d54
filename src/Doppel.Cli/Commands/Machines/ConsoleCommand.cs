using System.CommandLine;
using Doppel.Api;
using Doppel.Cli.Terminals;
using Doppel.Host.Terminals;
using Doppel.Vmm;
using Doppel.Vmm.Control;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel console: the serial console of a machine in the background.</summary>
internal static class ConsoleCommand
{
    internal static Command Create()
    {
        Argument<string> machine = Daemon.Machine();
        var command = new ExampledCommand("console", "Make the terminal a machine's serial console, as often and as many as you like; Ctrl-A x leaves.", "doppel console web") { machine };
        command.SetAction((result, cancel) => RunAsync(result, result.GetRequiredValue(machine), cancel));
        return command;
    }

    private static async Task<int> RunAsync(ParseResult result, string name, CancellationToken cancel)
    {
        if (HostOptions.IsGiven(result))
        {
            using DaemonClient daemon = Daemon.Connect(result);
            await using Stream remote = await daemon.AttachConsoleAsync(name, cancel).ConfigureAwait(false);
            return await JoinAsync(remote, cancel).ConfigureAwait(false);
        }

        // The console is the worker's: it goes on without the daemon, and here nothing is gained by going through that.
        if (await RunningMachines.FindAsync(name, cancel).ConfigureAwait(false) is not (MachineStatistics, string socket))
            throw new CliException(ExitCode.NoMachine, $"{name}: no machine of that name runs; \"doppel start {name}\" starts one that is kept");
        ControlClient client;
        Stream console;
        try
        {
            client = await ControlClient.ConnectAsync(socket, cancel).ConfigureAwait(false);
            console = await client.AttachConsoleAsync(cancel).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            throw new CliException(ExitCode.Host, $"{name}: {e.Message}", e);
        }

        using (client)
            return await JoinAsync(console, cancel).ConfigureAwait(false);
    }

    private static async Task<int> JoinAsync(Stream console, CancellationToken cancel)
    {
        bool isTerminal = HostTerminal.IsTerminal(HostTerminal.StandardInput);
        var left = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using RawTerminal? raw = isTerminal ? RawTerminal.Enter(HostTerminal.StandardInput) : null;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => raw?.Dispose();
        using CancellationTokenRegistration interrupted = cancel.Register(() => left.TrySetResult());
        Stream input = StandardStreams.OpenInput();
        if (isTerminal)
        {
            input = new KeyFilterStream(input, new KeyFilter(key =>
            {
                if (key == KeyCommand.Leave)
                    _ = left.TrySetResult();
                else if (key == KeyCommand.Help)
                    Talk.Line("\nCtrl-A x leaves the console; the machine goes on", isRaw: true);
            }));
        }

        // The input may never end; the machine's does when it ends.
        _ = CopyAsync(input, console, () => { });
        Task output = CopyAsync(console, StandardStreams.OpenOutput(), () => left.TrySetResult());
        await left.Task.ConfigureAwait(false);
        return ExitCode.Success;
    }

    private static async Task CopyAsync(Stream from, Stream to, Action ended)
    {
        try
        {
            byte[] buffer = new byte[4096];
            while (await from.ReadAsync(buffer).ConfigureAwait(false) is int count && count != 0)
            {
                await to.WriteAsync(buffer.AsMemory(0, count)).ConfigureAwait(false);
                await to.FlushAsync().ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // The other end is gone.
        }

        ended();
    }
}
