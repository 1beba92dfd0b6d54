using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Cli.Commands;

/// <summary>doppel disk check.</summary>
internal static class DiskCheckCommand
{
    internal static Command Create()
    {
        Argument<string> image = DiskCommand.Image();
        var repair = new Option<bool>("--repair") { Description = "Count clusters anew: gives leaked space back and mends wrong counts." };
        Option<bool> json = DiskCommand.Json();
        var command = new ExampledCommand(
            "check",
            "Look for contradictions in a qcow2 image. Exit code 0: none, 20: errors, 22: only space that nothing uses.",
            "doppel disk check disk.qcow2",
            "doppel disk check --repair disk.qcow2")
        { image, repair, json };
        command.SetAction(result =>
        {
            string path = result.GetRequiredValue(image);
            ImageInformation information = ImageInformation.Read(path, null, isShared: false);
            if (information.Format != DiskFormat.Qcow2.GetName())
                throw new CliException(ExitCode.Usage, $"{path}: images of the format {information.Format} have nothing to check; qcow2 has");
            Qcow2CheckResult found = Qcow2Maintenance.Check(path);
            if (result.GetValue(repair) && (found.ErrorCount > 0 || found.Leaks > 0 || found.IsMarkedDirty || found.IsMarkedCorrupt))
            {
                Talk.Line(string.Create(CultureInfo.InvariantCulture, $"{path}: {found.ErrorCount} errors and {found.Leaks} leaked clusters found; counting anew"));
                found = Qcow2Maintenance.Repair(path);
            }

            if (result.GetValue(json))
                Console.Out.Write(JsonSerializer.Serialize(found, DiskJson.Default.Qcow2CheckResult) + "\n");
            else
                Write(path, found);
            return found.ErrorCount > 0 ? ExitCode.DiskDamage : found.Leaks > 0 ? ExitCode.DiskLeak : ExitCode.Success;
        });
        return command;
    }

    private static void Write(string path, Qcow2CheckResult found)
    {
        foreach (string error in found.Errors)
            Console.Out.Write($"{path}: {error}\n");
        string verdict = found.ErrorCount > 0
            ? $"{found.ErrorCount} errors"
            : found.Leaks > 0 ? $"no error; {found.Leaks} clusters are counted and not used (wasted space, no harm)" : "no error";
        Console.Out.Write($"{path}: {verdict}\n");
        if (found.IsMarkedCorrupt)
            Console.Out.Write($"{path}: is marked as damaged\n");
        if (found.IsMarkedDirty)
            Console.Out.Write($"{path}: was not closed; it is counted anew when it is next written\n");
        Console.Out.Write(string.Create(
            CultureInfo.InvariantCulture,
            $"{path}: {found.AllocatedClusters} of {found.TotalClusters} clusters allocated, {found.CompressedClusters} compressed, {found.FragmentedClusters} fragmented; the last ends at {found.EndOffset}\n"));
    }
}
