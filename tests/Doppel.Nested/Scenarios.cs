using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Doppel.Machine.Cpu.Statistics;
using Doppel.Vmm;
using Doppel.Vmm.Images;
using Doppel.Vmm.Snapshots;

namespace Doppel.Nested;

/// <summary>What is tried, each with a line that says what was seen.</summary>
internal sealed class Scenarios(GuestImage image)
{
    internal IReadOnlyList<(string Name, Func<Task<string>> Run)> All =>
    [
        ("boot, 1 vCPU, kvm", () => BootAsync(EngineNames.Kvm, 1)),
        ("boot, 2 vCPUs, kvm", () => BootAsync(EngineNames.Kvm, 2)),
        ("boot, 1 vCPU, translator", () => BootAsync(EngineNames.Translator, 1)),
        ("boot, 1 vCPU, auto", () => BootAsync(EngineNames.Auto, 1)),
        ("virtio disk and network, kvm", DevicesAsync),
        ("snapshot kvm to translator", () => SnapshotAsync(EngineNames.Kvm, EngineNames.Translator)),
        ("snapshot translator to kvm", () => SnapshotAsync(EngineNames.Translator, EngineNames.Kvm)),
        ("live switches under load", SwitchAsync),
        ("live switches, 2 vCPUs", SwitchTwoAsync),
    ];

    private async Task<string> BootAsync(string engine, int cpus)
    {
        long begin = Stopwatch.GetTimestamp();
        await using NestedGuest guest = await NestedGuest.BootAsync(NestedGuest.Describe(image, engine, cpus));
        double boot = Stopwatch.GetElapsedTime(begin).TotalSeconds;
        MachineStatistics booted = guest.Machine.GetStatistics();
        if (engine == EngineNames.Auto && booted.Engine != EngineNames.Kvm)
            throw new NestedException($"auto took {booted.Engine}: {guest.Machine.EngineReason}");
        await guest.ExpectAsync("nproc", cpus.ToString(CultureInfo.InvariantCulture));
        begin = Stopwatch.GetTimestamp();
        await guest.ExpectAsync("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo $i", "20000");
        double loop = Stopwatch.GetElapsedTime(begin).TotalSeconds;
        begin = Stopwatch.GetTimestamp();
        await guest.ExpectAsync("for i in $(seq 30); do /bin/busybox true; done; echo done", "done");
        double forks = Stopwatch.GetElapsedTime(begin).TotalSeconds;
        guest.Machine.Console.WriteLine("poweroff -f");
        VmExit exit = await guest.Machine.WaitAsync();
        if (exit.Kind != VmExitKind.PowerOff)
            throw new NestedException($"poweroff ended with {exit.Kind}: {exit.Message}");
        return string.Create(CultureInfo.InvariantCulture, $"shell after {boot:0.0} s, 20,000 turns of a shell loop {loop:0.00} s, 30 processes {forks:0.00} s; at the shell {ExitsOf(booted.Total)}");
    }

    private async Task<string> DevicesAsync()
    {
        const int Mebibytes = 8;
        string path = Path.Combine(Path.GetTempPath(), "nested.img");
        byte[] content = RandomNumberGenerator.GetBytes(Mebibytes << 20);
        await File.WriteAllBytesAsync(path, content);
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        Task serving = ServeAsync(server, content);
        int port = ((IPEndPoint)server.LocalEndpoint).Port;
        MachineSpec spec = NestedGuest.Describe(image, EngineNames.Kvm, 1) with
        {
            Disks = [new DiskSpec { Path = path }],
            Networks = [new NetworkSpec()],
        };
        string sum = Convert.ToHexStringLower(SHA256.HashData(content));
        await using NestedGuest guest = await NestedGuest.BootAsync(spec);
        await guest.ExpectAsync("sha256sum < /dev/vda | cut -d' ' -f1", sum);
        await guest.ExpectAsync("dd if=/dev/vda of=/dev/vda bs=1M skip=1 count=1 oflag=direct iflag=direct 2>/dev/null; echo $?", "0");
        content.AsSpan(1 << 20, 1 << 20).CopyTo(content);
        string written = Convert.ToHexStringLower(SHA256.HashData(content));
        await guest.ExpectAsync("blockdev --flushbufs /dev/vda; sha256sum < /dev/vda | cut -d' ' -f1", written);
        await guest.ExpectAsync("for i in $(seq 300); do ip -4 addr show eth0 2>/dev/null | grep -q inet && break; sleep 0.1; done; ping -c 2 10.0.2.2 | grep -c ' 0% packet loss'", "1");
        await guest.ExpectAsync($"wget -q -O - http://10.0.2.2:{port}/ | sha256sum | cut -d' ' -f1", written);
        await serving;
        return string.Create(CultureInfo.InvariantCulture, $"{Mebibytes} MiB read, 1 MiB written and read again, {Mebibytes} MiB fetched by HTTP; {ExitsOf(guest.Machine.GetStatistics().Total)}");
    }

    private async Task<string> SnapshotAsync(string from, string to)
    {
        string folder = Directory.CreateTempSubdirectory("nested-").FullName;
        var store = new SnapshotStore(folder);
        SaveResult first;
        await using (NestedGuest guest = await NestedGuest.BootAsync(NestedGuest.Describe(image, from, 1)))
        {
            _ = await guest.RunAsync("x=before; (i=0; while true; do i=$((i+1)); echo $i > /tmp/count; done) &");
            _ = await guest.RunAsync("dd if=/dev/urandom of=/tmp/data bs=64k count=32 2>/dev/null; sha256sum < /tmp/data > /tmp/sum");
            _ = await guest.Machine.SaveAsync(store, new SaveOptions { Name = "one" });
            // The second is the difference that the log of writes tells.
            _ = await guest.RunAsync("x=after; dd if=/dev/urandom of=/tmp/data bs=64k count=32 2>/dev/null; sha256sum < /tmp/data > /tmp/sum");
            first = await guest.Machine.SaveAsync(store, new SaveOptions { Name = "two" });
        }

        foreach ((string name, string expected) in new[] { ("one", "before"), ("two", "after") })
        {
            using SnapshotReader snapshot = SnapshotReader.Open(store.Find(name));
            await using var guest = new NestedGuest(VirtualMachine.Restore(snapshot, spec => spec with { Engine = to }));
            guest.Machine.Start();
            guest.Machine.Console.WriteLine("");
            await guest.WaitForPromptAsync();
            await guest.ExpectAsync("echo $x", expected);
            await guest.ExpectAsync("sha256sum < /tmp/data | cmp - /tmp/sum && echo same", "same");
            await guest.ExpectAsync("a=$(cat /tmp/count); while [ \"$(cat /tmp/count)\" = \"$a\" ]; do sleep 0.1; done; echo counts", "counts");
        }

        Directory.Delete(folder, recursive: true);
        return string.Create(CultureInfo.InvariantCulture, $"a whole one and a difference of {first.Manifest.Pages} pages, each goes on with its data; stood still for {first.Stopped.TotalMilliseconds:0} ms");
    }

    private Task<string> SwitchAsync() => SwitchAsync(1, [EngineNames.Translator, EngineNames.Kvm, EngineNames.Interpreter, EngineNames.Kvm, EngineNames.Translator, EngineNames.Kvm]);

    private Task<string> SwitchTwoAsync() => SwitchAsync(2, [EngineNames.Translator, EngineNames.Kvm]);

    private async Task<string> SwitchAsync(int cpus, string[] engines)
    {
        await using NestedGuest guest = await NestedGuest.BootAsync(NestedGuest.Describe(image, EngineNames.Kvm, cpus));
        // Memory, processes and floating point, and a check of all.
        for (int cpu = 0; cpu < cpus; cpu++)
            _ = await guest.RunAsync($"(while true; do dd if=/dev/urandom of=/tmp/d{cpu} bs=16k count=4; sha256sum /tmp/d{cpu} > /tmp/s{cpu}; sha256sum -c /tmp/s{cpu} && awk 'BEGIN {{ x = 0; for (i = 1; i < 2000; i++) x += 1/i; exit !(x > 8.177 && x < 8.178) }}' && echo o''k-{cpu}- > /dev/console || echo BA''D > /dev/console; done) > /dev/null 2>&1 &");
        var text = new StringBuilder();
        foreach (string engine in engines)
        {
            for (int cpu = 0; cpu < cpus; cpu++)
                _ = await guest.ReadUntilAsync($"ok-{cpu}-");
            await guest.Machine.ChangeEngineAsync(engine);
            text.Append(CultureInfo.InvariantCulture, $"{(text.Length == 0 ? "" : ", ")}to {engine} {guest.Machine.GetStatistics().SwitchSeconds * 1e3:0} ms");
            if (guest.Machine.GetStatistics().Engine != engine)
                throw new NestedException($"the machine runs on {guest.Machine.GetStatistics().Engine}, not {engine}");
            for (int i = 0; i < 2; i++)
                _ = await guest.ReadUntilAsync("ok-0-");
        }

        if (guest.Machine.Console.Transcript.Contains("BAD", StringComparison.Ordinal))
            throw new NestedException("a check failed in the guest");
        return text.ToString();
    }

    private static async Task ServeAsync(TcpListener server, byte[] content)
    {
        using TcpClient client = await server.AcceptTcpClientAsync();
        NetworkStream stream = client.GetStream();
        byte[] request = new byte[4096];
        _ = await stream.ReadAsync(request);
        await stream.WriteAsync(Encoding.ASCII.GetBytes($"HTTP/1.0 200 OK\r\nContent-Length: {content.Length}\r\n\r\n"));
        await stream.WriteAsync(content);
    }

    private static string ExitsOf(EngineStatistics statistics) => statistics.Exits.Count == 0
        ? $"{statistics.Instructions} instructions"
        : string.Join(", ", statistics.Exits.Select(exit => string.Create(CultureInfo.InvariantCulture, $"{exit.Count} {exit.Reason} ({exit.Seconds * 1e6 / exit.Count:0} µs)")));
}
