using System.Diagnostics;
using System.Globalization;
using Doppel.Engines.Kvm;
using Doppel.Machine.Cpu.Models;
using Doppel.Vmm;

namespace Doppel.Nested;

/// <summary>Runs kernels of kvm-unit-tests on an engine and counts their assertions.</summary>
internal sealed class ConformanceKernels(string directory, string engine, TimeSpan limit)
{
    // What asks for hardware, for interfaces of a hypervisor that the machine doesn't have, or for nothing that can be counted.
    private static readonly string[] LeftOut =
    [
        "asyncpf", "cet", "dummy", "hypercall", "hyperv_clock", "hyperv_connections", "hyperv_stimer", "hyperv_synic", "intel-iommu", "kvmclock_test", "la57", "lam",
        "pks", "pmu", "pmu_lbr", "pmu_pebs", "s3", "sieve", "svm", "svm_npt", "tsx-ctrl", "vmexit", "vmware_backdoors", "vmx",
    ];

    // They run last: the one keeps QEMU 7.2's emulated host from doing anything else, the other ends QEMU itself.
    private static readonly string[] Last = ["access_test", "emulator"];

    private static readonly Dictionary<string, int> Processors = new() { ["apic"] = 2, ["ioapic"] = 4, ["smptest"] = 2, ["tsc_adjust"] = 2 };

    /// <summary>Runs each and gives a line of a table for it.</summary>
    internal async IAsyncEnumerable<string> RunAsync()
    {
        foreach (string kernel in Directory.EnumerateFiles(directory, "*.flat").OrderBy(kernel => Array.IndexOf(Last, Path.GetFileNameWithoutExtension(kernel))).ThenBy(kernel => kernel, StringComparer.Ordinal))
        {
            string file = Path.GetFileNameWithoutExtension(kernel);
            if (!LeftOut.Contains(file))
                yield return await RunAsync(file, kernel);
        }
    }

    private async Task<string> RunAsync(string file, string kernel)
    {
        long begin = Stopwatch.GetTimestamp();
        var spec = new MachineSpec
        {
            Kernel = kernel,
            Engine = engine,
            Cpus = Processors.GetValueOrDefault(file, 1),
            Memory = 256UL << 20,
            CpuModel = CpuModels.Version2Compat.Name,
            TscFrequency = engine == EngineNames.Kvm ? KvmMachine.FindTscFrequency() : null,
            TestDevices = true,
            RebootOnReset = false,
        };
        await using VirtualMachine machine = VirtualMachine.Create(spec);
        machine.Start();
        string end;
        try
        {
            VmExit exit = await machine.WaitAsync().WaitAsync(limit);
            end = exit.Kind == VmExitKind.DebugExit ? string.Create(CultureInfo.InvariantCulture, $"status {exit.DebugStatus}") : $"{exit.Kind}: {exit.Message}";
        }
        catch (TimeoutException)
        {
            end = string.Create(CultureInfo.InvariantCulture, $"not ended after {limit.TotalSeconds:0} s");
        }

        string[] lines = machine.Console.Transcript.Split('\n');
        foreach (string failure in lines.Where(line => line.StartsWith("FAIL", StringComparison.Ordinal)).Take(12))
            Console.Error.WriteLine($"{file}: {failure.TrimEnd()}");
        return string.Create(
            CultureInfo.InvariantCulture,
            $"| {file} | {Count(lines, "PASS")} | {Count(lines, "FAIL")} | {Count(lines, "SKIP")} | {end} | {Stopwatch.GetElapsedTime(begin).TotalSeconds:0} s |");
    }

    private static int Count(string[] lines, string start) => lines.Count(line => line.StartsWith(start, StringComparison.Ordinal));
}
