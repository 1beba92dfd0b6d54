using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Doppel.Api;
using Doppel.Vmm;
using Doppel.Vmm.Readiness;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel ps: the machines that are kept.</summary>
internal static class ListCommand
{
    internal static Command Create()
    {
        var all = new Option<bool>("--all", "-a") { Description = "Also those that don't run." };
        var json = new Option<bool>("--json") { Description = "Print JSON." };
        var command = new ExampledCommand("ps", "List the machines in the background.", "doppel ps", "doppel ps --all") { all, json };
        command.SetAction(async (result, cancel) =>
        {
            using DaemonClient daemon = Daemon.Connect(result);
            IReadOnlyList<MachineView> machines = [.. (await daemon.ListAsync(cancel).ConfigureAwait(false)).Where(m => result.GetValue(all) || m.ProcessId is not null)];
            if (result.GetValue(json))
                Console.Out.Write(JsonSerializer.Serialize(machines, ApiJson.Default.IReadOnlyListMachineView) + "\n");
            else
                Table.Write(["NAME", "STATE", "BOOTED", "NETWORK", "SET-UP", "SINCE", "PID", "CPUS", "MEMORY", "ENGINE"], machines.Select(Row));
            return ExitCode.Success;
        });
        return command;
    }

    // A dash for what isn't so, or can't be seen from outside.
    private static string[] Readiness(MachineView machine) => machine.Readiness is not GuestReadiness readiness
        ? ["-", "-", "-"]
        : [readiness.Booted is null ? "-" : "yes", readiness.Address ?? "-", readiness.SetUp is not null ? "done" : readiness.IsSettingUp ? "under way" : "-"];

    private static string[] Row(MachineView machine)
    {
        string state = machine.State.ToString().ToLowerInvariant();
        if (machine is { State: MachineState.Exited, Exit: ExitRecord exit })
            state = string.Create(CultureInfo.InvariantCulture, $"{state} ({exit.Code})");
        DateTimeOffset since = machine.Started ?? machine.Exit?.Ended ?? machine.Created;
        return
        [
            machine.Name,
            state,
            .. Readiness(machine),
            since.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture),
            machine.ProcessId?.ToString(CultureInfo.InvariantCulture) ?? "-",
            machine.Spec.Cpus.ToString(CultureInfo.InvariantCulture),
            MemorySize.Format(machine.Spec.Memory),
            machine.Spec.Engine,
        ];
    }
}
