using System.Globalization;
using Doppel.Vmm;
using Doppel.Vmm.Images;

namespace Doppel.Guests;

/// <summary>Debian on several vCPUs, on each engine.</summary>
[Collection("Debian")]
public sealed class SmpTests
{
    private const string Prompt = "root@doppel:~# ";
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    [Theory]
    [InlineData(EngineNames.Interpreter, 2)]
    [InlineData(EngineNames.Interpreter, 4)]
    [InlineData(EngineNames.Translator, 2)]
    [InlineData(EngineNames.Translator, 4)]
    public async Task All_processors_are_started_and_work_together(string engine, int cpus)
    {
        await using VirtualMachine guest = await BootAsync(engine, cpus);
        Assert.Equal($"{cpus}", await RunAsync(guest, "grep -c ^processor /proc/cpuinfo"));
        Assert.Equal($"0-{cpus - 1}", await RunAsync(guest, "cat /sys/devices/system/cpu/online"));

        string jobs = string.Join(' ', Enumerable.Range(1, 2 * cpus));
        string answer = await RunAsync(guest, $"sh -c 'for i in {jobs}; do (n=0; while [ $n -lt 500 ]; do n=$((n+1)); done; echo $n > /tmp/job$i) & done; wait; cat /tmp/job* | grep -c 500'");
        Assert.Equal($"{2 * cpus}", answer);

        // Every processor has had timer interrupts, and has been asked for something by another.
        long[] timer = await CountAsync(guest, "LOC", cpus);
        Assert.All(timer, n => Assert.True(n > 0, "a processor had no timer interrupt"));
        long[] reschedule = await CountAsync(guest, "RES", cpus);
        long[] call = await CountAsync(guest, "CAL", cpus);
        Assert.All(reschedule.Zip(call, (r, c) => r + c), n => Assert.True(n > 0, "a processor had no interrupt from another"));

        guest.Console.WriteLine("poweroff");
        VmExit exit = await guest.WaitAsync().WaitAsync(Patience);
        Assert.Equal(VmExitKind.PowerOff, exit.Kind);
    }

    [Fact]
    public async Task Pause_stops_all_processors_and_resume_lets_all_go_on()
    {
        await using VirtualMachine guest = await BootAsync(EngineNames.Translator, 4);
        _ = await RunAsync(guest, "sh -c 'for i in 1 2 3; do (while :; do :; done) & done'");
        await guest.PauseAsync();
        ulong[] stopped = [.. (await guest.LocateCpusAsync()).Select(c => c.InstructionsRetired)];
        ulong[] still = [.. (await guest.LocateCpusAsync()).Select(c => c.InstructionsRetired)];
        Assert.Equal(4, stopped.Length);
        Assert.Equal(stopped, still);
        guest.Resume();
        Assert.Equal("on", await RunAsync(guest, "echo on"));
    }

    private static async Task<VirtualMachine> BootAsync(string engine, int cpus)
    {
        ImageStore store = ImageStore.ForUser();
        GuestImage image = store.Find(BusyboxImageBuilder.ImageName) ?? await new BusyboxImageBuilder(store).BuildAsync(
            directory => new AptPackageSource(Path.Combine(directory, "apt")), new Progress<ImageProgress>(), CancellationToken.None);
        VirtualMachine guest = VirtualMachine.Create(TestedMachine.Describe(image) with { Engine = engine, Cpus = cpus });
        guest.Start();
        _ = await guest.Console.ReadUntilAsync(Prompt, Patience);
        _ = await RunAsync(guest, "stty cols 1000");
        // On a busy host the kernel says how long a timer's interrupt took, in the middle of an answer.
        _ = await RunAsync(guest, "dmesg -n 1");
        return guest;
    }

    private static async Task<string> RunAsync(VirtualMachine guest, string command)
    {
        guest.Console.WriteLine(command);
        _ = await guest.Console.ReadUntilAsync("\n", Patience);
        string answer = await guest.Console.ReadUntilAsync(Prompt, Patience);
        return answer[..^Prompt.Length].Replace("\r", "", StringComparison.Ordinal).TrimEnd('\n');
    }

    private static async Task<long[]> CountAsync(VirtualMachine guest, string name, int cpus)
    {
        string line = await RunAsync(guest, $"grep {name}: /proc/interrupts");
        string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal($"{name}:", words[0]);
        return [.. words.Skip(1).Take(cpus).Select(w => long.Parse(w, CultureInfo.InvariantCulture))];
    }
}
