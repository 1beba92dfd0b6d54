using System.Globalization;
using Doppel.Vmm;
using Doppel.Vmm.Control;

namespace Doppel.Cli.Commands.Machines;

/// <summary>The machines of this user that run, found by their control sockets.</summary>
internal static class RunningMachines
{
    private static readonly TimeSpan AnswerTime = TimeSpan.FromSeconds(5);

    /// <summary>The statistics of all, and their sockets.</summary>
    internal static async Task<List<(MachineStatistics Statistics, string Socket)>> ListAsync(CancellationToken cancel)
    {
        var all = new List<(MachineStatistics, string)>();
        foreach (string socket in ControlDirectory.ForUser().List())
        {
            using var time = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            time.CancelAfter(AnswerTime);
            try
            {
                using ControlClient client = await ControlClient.ConnectAsync(socket, time.Token).ConfigureAwait(false);
                all.Add((await client.GetStatisticsAsync(time.Token).ConfigureAwait(false), socket));
            }
            catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
            {
                Talk.Error($"{socket}: no answer within {AnswerTime.TotalSeconds} seconds");
            }
            catch (IOException)
            {
                // It has ended meanwhile.
            }
        }

        return all;
    }

    /// <summary>Their names, for completion.</summary>
    internal static IEnumerable<string> Names() => ListAsync(CancellationToken.None).GetAwaiter().GetResult().Select(found => found.Statistics.Name).Distinct();

    /// <summary>True when a machine has that name or process number.</summary>
    internal static bool Is(MachineStatistics statistics, string machine) =>
        statistics.Name == machine || statistics.ProcessId.ToString(CultureInfo.InvariantCulture) == machine;

    /// <summary>The one machine of a name or process number; null when none runs.</summary>
    /// <exception cref="CliException">Several have the name.</exception>
    internal static async Task<(MachineStatistics Statistics, string Socket)?> FindAsync(string machine, CancellationToken cancel)
    {
        List<(MachineStatistics Statistics, string Socket)> found = [.. (await ListAsync(cancel).ConfigureAwait(false)).Where(each => Is(each.Statistics, machine))];
        if (found.Count > 1)
            throw new CliException(ExitCode.Usage, $"{machine}: {found.Count} machines have that name; one of the process numbers {string.Join(", ", found.Select(each => each.Statistics.ProcessId))} would be right");
        return found.Count == 0 ? null : found[0];
    }

    /// <summary>Asks a running machine.</summary>
    /// <exception cref="CliException">None of that name runs, or it refuses.</exception>
    internal static async Task<(MachineStatistics Statistics, ControlReply Reply)> AskAsync(string machine, ControlRequest request, CancellationToken cancel)
    {
        if (await FindAsync(machine, cancel).ConfigureAwait(false) is not (MachineStatistics statistics, string socket))
            throw new CliException(ExitCode.NoMachine, $"{machine}: no machine of this user with that name or process number is running; \"doppel stats\" shows all");
        return (statistics, await AskAsync(statistics.Name, socket, request, cancel).ConfigureAwait(false));
    }

    /// <summary>Asks the machine at a socket.</summary>
    /// <exception cref="CliException">It refuses.</exception>
    internal static async Task<ControlReply> AskAsync(string name, string socket, ControlRequest request, CancellationToken cancel)
    {
        try
        {
            using ControlClient client = await ControlClient.ConnectAsync(socket, cancel).ConfigureAwait(false);
            return await client.AskAsync(request, cancel).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            throw new CliException(ExitCode.Host, $"{name}: {e.Message}", e);
        }
    }
}
