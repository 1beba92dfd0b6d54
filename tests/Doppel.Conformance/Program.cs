using System.CommandLine;
using Doppel.Conformance;

var directory = new Argument<string>("directory") { Description = "A built tree of kvm-unit-tests: x86/*.flat, x86/unittests.cfg, config.mak." };
var peer = new Option<string?>("--peer") { Description = "Runs another VMM in Doppel's place: qemu." };
var engine = new Option<string>("--engine") { Description = "Engine of Doppel.", DefaultValueFactory = _ => "interpreter" };
var entries = new Option<string>("--entries") { Description = "Only these entries or files, with commas.", DefaultValueFactory = _ => "" };
var maxProcessors = new Option<int>("--max-smp") { Description = "Most processors that an entry is given.", DefaultValueFactory = _ => 1 };
var timeout = new Option<int>("--timeout") { Description = "Seconds for an entry that does not say its own.", DefaultValueFactory = _ => 90 };
var all = new Option<bool>("--all") { Description = "Also what the group 'nodefault' leaves to be asked for." };
var json = new Option<string?>("--json") { Description = "Also writes the outcomes to this file." };

var command = new RootCommand("Runs the x86 kernels of kvm-unit-tests and counts their assertions.")
{
    directory, peer, engine, entries, maxProcessors, timeout, all, json,
};
command.SetAction(async (parsed, cancel) =>
{
    try
    {
        string? other = parsed.GetValue(peer);
        string root = ConformanceRun.FindRoot();
        Vmm vmm = other switch
        {
            null => Vmm.Doppel(Path.Combine(root, "doppel"), parsed.GetValue(engine)!, ConformanceRun.WriteEnvironment(root)),
            "qemu" => Vmm.Qemu(),
            _ => throw new ConformanceException($"--peer: '{other}' is not qemu"),
        };
        return await ConformanceRun.RunAsync(
            vmm,
            parsed.GetValue(directory)!,
            parsed.GetValue(entries)!.Split(',', StringSplitOptions.RemoveEmptyEntries),
            parsed.GetValue(maxProcessors),
            TimeSpan.FromSeconds(parsed.GetValue(timeout)),
            parsed.GetValue(all),
            parsed.GetValue(json),
            cancel);
    }
    catch (ConformanceException e)
    {
        Console.Error.WriteLine("conformance: " + e.Message);
        return 2;
    }
});
return await command.Parse(args).InvokeAsync();
