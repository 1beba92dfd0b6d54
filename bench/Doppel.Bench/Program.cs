using System.CommandLine;
using Doppel.Bench;

var rounds = new Option<int>("--rounds") { Description = "How often each contestant runs, in turn.", DefaultValueFactory = _ => 3 };
var engines = new Option<string>("--engines") { Description = "Engines of Doppel, with commas; 'none' for none.", DefaultValueFactory = _ => "interpreter" };
var rowNames = new Option<string>("--rows") { Description = "Rows to run, with commas: " + string.Join(',', Row.All.Select(r => r.Name)) + "; or, not among all, " + string.Join(',', Row.Network.Concat(Row.Switch).Concat(Row.Disk).Concat(Row.Fio).Append(Row.System).Concat(Row.Migration).Concat(Row.Screen).Concat(Row.Bios).Concat(Row.Life).Select(r => r.Name)) + " (net, switch, disk, fio, migrate, screen, bios and life for all that begin so)", DefaultValueFactory = _ => "all" };
var json = new Option<string?>("--json") { Description = "Also writes the results to this file." };
var peer = new Option<string>("--peer") { Description = "The other VMM: qemu or none.", DefaultValueFactory = _ => "qemu" };
var noNative = new Option<bool>("--no-native") { Description = "Leaves out the host itself." };
var kernel = new Option<string?>("--kernel") { Description = "The kernel to boot; without it, that of 'doppel image pull busybox'." };
var memory = new Option<string>("--memory") { Description = "Memory of each machine.", DefaultValueFactory = _ => "512M" };
var busybox = new Option<string>("--busybox") { Description = "A static busybox.", DefaultValueFactory = _ => "/usr/bin/busybox" };
var copies = new Option<int>("--copies") { Description = "Also runs each engine with so many vCPUs and as many copies of each program at once, and prints the throughput.", DefaultValueFactory = _ => 1 };
var machines = new Option<int?>("--machines") { Description = "Machines of life-many, 1 to 1000 [default: 100]." };
var scale = new Option<string[]>("--scale")
{
    Description = "ENGINE=FACTOR on the iterations (figures are per iteration, so they stay comparable); default 1, interpreter=0.05.",
    DefaultValueFactory = _ => [],
};
var rowTimeout = new Option<int>("--timeout") { Description = "Seconds after which a row is failed.", DefaultValueFactory = _ => 180 };
var bootTimeout = new Option<int>("--boot-timeout") { Description = "Seconds after which a boot is failed.", DefaultValueFactory = _ => 180 };

var root = new RootCommand("Runs the same guest programs on the host, under QEMU's TCG and under Doppel in turn, and prints medians and ratios.")
{
    rounds, engines, rowNames, json, peer, noNative, kernel, memory, busybox, copies, machines, scale, rowTimeout, bootTimeout,
};
root.SetAction(async (parsed, cancel) =>
{
    try
    {
        var options = new BenchOptions(
            parsed.GetValue(rounds),
            BenchOptions.List(parsed.GetValue(engines)!),
            BenchOptions.SelectRows(parsed.GetValue(rowNames)!),
            parsed.GetValue(json),
            parsed.GetValue(peer)!,
            !parsed.GetValue(noNative),
            parsed.GetValue(kernel),
            parsed.GetValue(memory)!,
            parsed.GetValue(busybox)!,
            parsed.GetValue(copies),
            BenchOptions.Scales(parsed.GetValue(scale)!),
            parsed.GetValue(machines) is int count ? (count is >= 1 and <= 1000 ? count : throw new BenchException($"--machines {count}: 1 to 1000 would be right")) : null,
            new Limits(TimeSpan.FromSeconds(parsed.GetValue(bootTimeout)), TimeSpan.FromSeconds(parsed.GetValue(rowTimeout))));
        return await BenchRun.RunAsync(options, cancel);
    }
    catch (BenchException e)
    {
        Console.Error.WriteLine("bench: " + e.Message);
        return 2;
    }
});
return await root.Parse(args).InvokeAsync();
