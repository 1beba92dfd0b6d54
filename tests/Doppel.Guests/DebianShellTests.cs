using System.Globalization;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Vmm;
using Xunit.Abstractions;

namespace Doppel.Guests;

/// <summary>Debian's own kernel, unmodified, at its shell.</summary>
[Collection("Debian")]
public sealed class DebianShellTests(BootedDebian booted, ITestOutputHelper output) : IClassFixture<BootedDebian>
{
    [Fact]
    public async Task The_shell_answers_commands()
    {
        Assert.Equal("42", await booted.Guest.RunAsync("echo $((6 * 7))"));
        Assert.Equal("root", await booted.Guest.RunAsync("whoami"));
        Assert.Matches(@"^Linux 6\.1\.0-\d+-cloud-amd64$", await booted.Guest.RunAsync("uname -sr"));
    }

    [Fact]
    public async Task Control_C_interrupts_a_program()
    {
        booted.Guest.Machine.Console.WriteLine("echo begins; sleep 100000");
        _ = await booted.Guest.Machine.Console.ReadUntilAsync("\nbegins", DebianGuest.Patience);
        booted.Guest.Machine.Console.Write("\u0003");
        _ = await booted.Guest.Machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience);
        Assert.Equal("alive", await booted.Guest.RunAsync("echo alive"));
    }

    [Fact]
    public async Task The_processor_is_the_model_that_was_asked_for()
    {
        string info = await booted.Guest.RunAsync("cat /proc/cpuinfo");
        string model = booted.Guest.Machine.Spec.CpuModel;
        Assert.Contains($"model name\t: Doppel virtual CPU {model}\n", info, StringComparison.Ordinal);
        Assert.Single(info.Split('\n'), l => l.StartsWith("processor", StringComparison.Ordinal));
        string[] flags = info.Split('\n').Single(l => l.StartsWith("flags", StringComparison.Ordinal)).Split(' ');
        foreach (string flag in (string[])["sse4_2", "popcnt", "cx16", "nx", "smep", "x2apic", "tsc_deadline_timer"])
            Assert.Contains(flag, flags);
        foreach ((string flag, CpuFeature feature) in new[] { ("smap", CpuFeature.Smap), ("pcid", CpuFeature.Pcid), ("xsave", CpuFeature.Xsave) })
            Assert.Equal(CpuModels.Find(model).Has(feature), flags.Contains(flag));
        Assert.DoesNotContain("avx2", flags);
        Assert.DoesNotContain("fpu_exception\t: no", info, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Interrupts_come_from_the_local_timer_and_the_serial_port()
    {
        Dictionary<string, long> before = Interrupts(await booted.Guest.RunAsync("cat /proc/interrupts"));
        _ = await booted.Guest.RunAsync("sleep 1");
        string text = await booted.Guest.RunAsync("cat /proc/interrupts");
        Dictionary<string, long> after = Interrupts(text);
        Assert.True(after["LOC"] > before["LOC"], text);
        Assert.True(after["4"] > before["4"], text);
        Assert.Contains("ttyS0", text, StringComparison.Ordinal);
        Assert.Equal(0, after["SPU"]);
        Assert.Equal(0, after["ERR"]);
        Assert.Equal(0, after["MIS"]);
    }

    [Fact]
    public async Task The_memory_is_what_was_asked_for()
    {
        string line = (await booted.Guest.RunAsync("cat /proc/meminfo")).Split('\n')[0];
        long kibibytes = long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
        Assert.InRange(kibibytes, 420 * 1024, 512 * 1024);
    }

    [Fact]
    public async Task The_kernel_has_no_complaint()
    {
        string log = await booted.Guest.RunAsync("dmesg -r");
        // Levels 0 to 3: emergency, alert, critical, error.
        Assert.DoesNotContain(log.Split('\n'), l => l.Length > 2 && l[0] == '<' && int.TryParse(l[1..l.IndexOf('>', StringComparison.Ordinal)], out int level) && (level & 7) < 4);
        Assert.DoesNotContain("WARNING", log, StringComparison.Ordinal);
        Assert.DoesNotContain("BUG", log, StringComparison.Ordinal);
        Assert.DoesNotContain("unstable", log, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public async Task The_clock_goes_at_the_hosts_rate_within_a_thousandth()
    {
        Assert.Equal("tsc", await booted.Guest.RunAsync("cat /sys/devices/system/clocksource/clocksource0/current_clocksource"));
        _ = await booted.Guest.RunAsync("t() { while read -r a b c d; do [ \"$a $b\" != 'now at' ] || { echo $c; break; }; done < /proc/timer_list; }");
        ClockReading first = await ReadClockAsync();
        _ = await booted.Guest.RunAsync("sleep 10");
        ClockReading second = await ReadClockAsync();
        double guest = (second.Guest - first.Guest) / 1e9;
        double slowest = guest / (second.HostLatest - first.HostEarliest);
        double fastest = guest / (second.HostEarliest - first.HostLatest);
        output.WriteLine($"{guest:0.0000} s of the guest; its rate is between {slowest:0.00000} and {fastest:0.00000} of the host's");
        Assert.True(guest >= 10);
        Assert.True(slowest <= 1.001, $"the guest's clock is at least {slowest:0.00000} times as fast as the host's");
        Assert.True(fastest >= 0.999, $"the guest's clock is at most {fastest:0.00000} times as fast as the host's");
    }

    [Fact]
    public async Task The_wall_clock_is_the_hosts()
    {
        string text = await booted.Guest.RunAsync("date -u +%s");
        long host = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        Assert.InRange(long.Parse(text, CultureInfo.InvariantCulture), host - 60, host + 60);
    }

    [Fact]
    public async Task Time_stands_still_while_the_machine_is_paused()
    {
        double before = await UptimeAsync();
        await booted.Guest.Machine.PauseAsync();
        Assert.Equal(VmState.Paused, booted.Guest.Machine.State);
        CpuLocation first = (await booted.Guest.Machine.LocateCpusAsync())[0];
        await Task.Delay(TimeSpan.FromSeconds(20));
        CpuLocation second = (await booted.Guest.Machine.LocateCpusAsync())[0];
        Assert.Equal(first, second);
        booted.Guest.Machine.Resume();
        Assert.InRange(await UptimeAsync() - before, 0, 15);
    }

    [Fact]
    public async Task Programs_compute_what_they_should()
    {
        Assert.Equal(
            "9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043  -",
            await booted.Guest.RunAsync("echo -n hello | sha512sum"));
        Assert.Equal("5050", await booted.Guest.RunAsync("i=0; s=0; while [ $i -lt 100 ]; do i=$((i+1)); s=$((s+i)); done; echo $s"));
        Assert.Equal("same", await booted.Guest.RunAsync("dd if=/dev/urandom of=/tmp/a bs=64k count=8 2>/dev/null; gzip -c /tmp/a | gunzip > /tmp/b; cmp /tmp/a /tmp/b && echo same"));
        Assert.Equal("20", await booted.Guest.RunAsync("for i in $(seq 20); do sh -c 'exit 0' && echo $i; done | wc -l"));
    }

    private static Dictionary<string, long> Interrupts(string text) => text.Split('\n').Skip(1)
        .Select(l => l.Split([' ', ':'], StringSplitOptions.RemoveEmptyEntries))
        .ToDictionary(p => p[0], p => long.Parse(p[1], CultureInfo.InvariantCulture));

    private async Task<double> UptimeAsync() =>
        double.Parse((await booted.Guest.RunAsync("cat /proc/uptime")).Split(' ')[0], CultureInfo.InvariantCulture);

    /// <summary>
    /// Reads the guest's clock ten times. Each time the guest reads it at some moment between two readings of the host's;
    /// together they leave the narrowest bounds for the host's time at the last one, in seconds.
    /// </summary>
    private async Task<ClockReading> ReadClockAsync()
    {
        double latestOffset = double.MinValue, earliestOffset = double.MaxValue;
        long last = 0;
        for (int i = 0; i < 10; i++)
        {
            double before = Now();
            last = long.Parse(await booted.Guest.RunAsync("t"), CultureInfo.InvariantCulture);
            latestOffset = Math.Max(latestOffset, before - (last / 1e9));
            earliestOffset = Math.Min(earliestOffset, Now() - (last / 1e9));
        }

        return new ClockReading(last, (last / 1e9) + latestOffset, (last / 1e9) + earliestOffset);
    }

    private static double Now() => System.Diagnostics.Stopwatch.GetElapsedTime(0).TotalSeconds;

    private readonly record struct ClockReading(long Guest, double HostEarliest, double HostLatest);
}
