namespace Doppel.Bench;

/// <summary>
/// Two network namespaces, each with a tap device for a machine, behind one bridge of the host: two hosts on one Ethernet. Needs
/// root and Debian's iproute2.
/// </summary>
internal sealed class BenchNetwork : IDisposable
{
    /// <summary>The tap device in each namespace.</summary>
    public const string Tap = "tap0";

    private const string Bridge = "doppelbr";

    private BenchNetwork(string[] namespaces) => Namespaces = namespaces;

    /// <summary>The namespaces' names.</summary>
    public IReadOnlyList<string> Namespaces { get; }

    /// <summary>The hosts' addresses, one in each namespace.</summary>
    public IReadOnlyList<string> Addresses { get; } = ["10.77.0.11", "10.77.0.12"];

    /// <summary>Makes it. Throws <see cref="BenchException"/> without the rights to.</summary>
    public static async Task<BenchNetwork> CreateAsync(CancellationToken cancel)
    {
        var network = new BenchNetwork([$"doppel-a{Environment.ProcessId}", $"doppel-b{Environment.ProcessId}"]);
        try
        {
            await IpAsync($"link add {Bridge} type bridge", cancel);
            await IpAsync($"link set {Bridge} up", cancel);
            await IpAsync($"addr add 10.77.0.1/24 dev {Bridge}", cancel);
            for (int i = 0; i < 2; i++)
            {
                string name = network.Namespaces[i];
                await IpAsync($"netns add {name}", cancel);
                await IpAsync($"link add doppelv{i} type veth peer name eth0 netns {name}", cancel);
                await IpAsync($"link set doppelv{i} master {Bridge} up", cancel);
                foreach (string command in new[] { "link add br0 type bridge", $"tuntap add {Tap} mode tap", "link set eth0 master br0 up", $"link set {Tap} master br0 up", "link set br0 up", $"addr add {network.Addresses[i]}/24 dev br0", "link set lo up" })
                {
                    await IpAsync($"-n {name} {command}", cancel);
                }
            }

            return network;
        }
        catch
        {
            network.Dispose();
            throw;
        }
    }

    /// <summary>Removes it.</summary>
    public void Dispose()
    {
        foreach (string command in Namespaces.Select(name => $"netns del {name}").Append($"link del {Bridge}"))
        {
            try
            {
                IpAsync(command, CancellationToken.None).GetAwaiter().GetResult();
            }
            catch (BenchException)
            {
                // It was not made.
            }
        }
    }

    private static Task IpAsync(string arguments, CancellationToken cancel) => Tool.RunAsync("ip", arguments.Split(' '), cancel);
}
