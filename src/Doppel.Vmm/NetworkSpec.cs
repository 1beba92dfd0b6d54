using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;
using Doppel.Devices.Network;
using Doppel.Devices.Virtio;
using Doppel.Host.Network;
using Doppel.Vmm.Limits;

namespace Doppel.Vmm;

/// <summary>A network card of a machine.</summary>
public sealed record NetworkSpec
{
    /// <summary>What <see cref="TryParse"/> takes.</summary>
    public const string Choices = "user|tap=NAME|switch=NAME[,model=virtio|e1000|rtl8139|ne2k][,mac=ADDRESS][,mtu=N][,queues=N][,boot=FILE][,bps=SIZE]";

    /// <summary>Longest name of a switch, whose sockets' paths must stay short.</summary>
    public const int MaximumSwitchName = 24;

    /// <summary>What its cable leads to.</summary>
    public NetworkKind Kind { get; init; } = NetworkKind.User;

    /// <summary>Name of the tap interface or of the switch (letters, digits, dots, dashes and underscores); empty for user-mode NAT.</summary>
    public string Name { get; init; } = "";

    /// <summary>What kind of card it is.</summary>
    public NetworkModel Model { get; init; }

    /// <summary>Its address; null for one that depends on the machine's name and the card's number only, or on a switch, if that one is taken, on a counter as well.</summary>
    public MacAddress? Mac { get; init; }

    /// <summary>Largest packet, <see cref="VirtioNet.MinimumMtu"/> to <see cref="VirtioNet.MaximumMtu"/> bytes; null for the usual 1500, which the guest may change.</summary>
    public int? Mtu { get; init; }

    /// <summary>Number of pairs of queues, 1 to <see cref="VirtioNet.MaximumPairs"/>; null for one for each vCPU, up to 4.</summary>
    public int? Queues { get; init; }

    /// <summary>File of the host that guests boot from this network: DHCP names it, and TFTP gives it and its folder's other files; user-mode NAT only. Null for none.</summary>
    public string? BootFile { get; init; }

    /// <summary>Most bytes a second of frames, either way for itself, <see cref="DeviceLimits.SmallestBytes"/> and more; 0 for no limit.</summary>
    public ulong BytesPerSecond { get; init; }

    /// <summary>Ports of the host that lead to ports of the guest; user-mode NAT only.</summary>
    public IReadOnlyList<PortForward> Forwards { get; init; } = [];

    /// <summary>Reads what a user writes.</summary>
    /// <param name="text">The text.</param>
    /// <param name="network">The network card.</param>
    /// <param name="wrong">The word that can't be, when the text is wrong.</param>
    public static bool TryParse(string text, [NotNullWhen(true)] out NetworkSpec? network, out string wrong)
    {
        ArgumentNullException.ThrowIfNull(text);
        network = null;
        string[] words = text.Split(',');
        wrong = words[0];
        string[] kind = words[0].Split('=', 2);
        NetworkSpec? found = (kind[0], kind.ElementAtOrDefault(1)) switch
        {
            ("user", null) => new NetworkSpec(),
            ("tap", string name) when IsName(name, TapDevice.MaximumName) => new NetworkSpec { Kind = NetworkKind.Tap, Name = name },
            ("switch", string name) when IsName(name, MaximumSwitchName) => new NetworkSpec { Kind = NetworkKind.Switch, Name = name },
            _ => null,
        };
        foreach (string word in words.Skip(1))
        {
            if (found is null)
                return false;
            wrong = word;
            string[] parts = word.Split('=', 2);
            found = (parts[0], parts.ElementAtOrDefault(1)) switch
            {
                ("model", "virtio") => found with { Model = NetworkModel.Virtio },
                ("model", "e1000") => found with { Model = NetworkModel.E1000 },
                ("model", "rtl8139") => found with { Model = NetworkModel.Rtl8139 },
                ("model", "ne2k") => found with { Model = NetworkModel.Ne2000 },
                ("mac", string mac) when MacAddress.TryParse(mac, out MacAddress address) => found with { Mac = address },
                ("mtu", string mtu) when ReadNumber(mtu, VirtioNet.MinimumMtu, VirtioNet.MaximumMtu) is int bytes => found with { Mtu = bytes },
                ("boot", { Length: > 0 } file) => found with { BootFile = file },
                ("bps", string rate) when DeviceLimits.TryBytes(rate, out ulong bytes) => found with { BytesPerSecond = bytes },
                ("queues", string queues) when ReadNumber(queues, 1, VirtioNet.MaximumPairs) is int pairs => found with { Queues = pairs },
                _ => null,
            };
        }

        network = found;
        return found is not null;
    }

    /// <summary>The card as a user writes it.</summary>
    public override string ToString()
    {
        var text = new StringBuilder(Kind switch
        {
            NetworkKind.Tap => $"tap={Name}",
            NetworkKind.Switch => $"switch={Name}",
            _ => "user",
        });
        if (Model != NetworkModel.Virtio)
            _ = text.Append(",model=").Append(Model switch { NetworkModel.E1000 => "e1000", NetworkModel.Rtl8139 => "rtl8139", _ => "ne2k" });
        if (Mac is MacAddress mac)
            _ = text.Append(CultureInfo.InvariantCulture, $",mac={mac}");
        if (Mtu is int mtu)
            _ = text.Append(CultureInfo.InvariantCulture, $",mtu={mtu}");
        if (Queues is int queues)
            _ = text.Append(CultureInfo.InvariantCulture, $",queues={queues}");
        if (BootFile is string file)
            _ = text.Append(",boot=").Append(file);
        if (BytesPerSecond != 0)
            _ = text.Append(CultureInfo.InvariantCulture, $",bps={BytesPerSecond >> 10}K");
        return text.ToString();
    }

    /// <summary>Checks what can be checked without opening anything.</summary>
    /// <exception cref="SpecException">A value can't be.</exception>
    internal void Validate()
    {
        int longest = Kind == NetworkKind.Tap ? TapDevice.MaximumName : MaximumSwitchName;
        bool isNamed = Kind == NetworkKind.User ? Name.Length == 0 : IsName(Name, longest);
        if (!isNamed
            || Mac is { IsMulticast: true } or { Value: 0 }
            || Mtu is < VirtioNet.MinimumMtu or > VirtioNet.MaximumMtu
            || !DeviceLimits.IsBytes(BytesPerSecond)
            || Queues is < 1 or > VirtioNet.MaximumPairs
            || (Model != NetworkModel.Virtio && (Queues is not null || Mtu is not null)))
            throw new SpecException("net", $"--net {this}: {Choices} would be right");
        if (BootFile is not null && (Kind != NetworkKind.User || !File.Exists(BootFile)))
            throw new SpecException("net", $"--net {this}: boot={BootFile} takes an existing file, and --net user");
        if (Forwards.Count != 0 && Kind != NetworkKind.User)
            throw new SpecException("publish", $"-p {Forwards[0]}: only --net user has ports of the host; --net {this} has not");
    }

    private static bool IsName(string name, int longest) =>
        name.Length >= 1 && name.Length <= longest && name[0] != '.' && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_');

    private static int? ReadNumber(string text, int least, int most) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number >= least && number <= most ? number : null;
}
