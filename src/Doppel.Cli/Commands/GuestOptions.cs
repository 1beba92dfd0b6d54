using System.CommandLine;
using System.Net;
using System.Net.Sockets;
using Doppel.Devices.Network;
using Doppel.Devices.Storage.Images;
using Doppel.Vmm;
using Doppel.Vmm.Images;
using Doppel.Vmm.Machines;
using Doppel.Vmm.Seeds;
using Doppel.Vmm.Ssh;

namespace Doppel.Cli.Commands;

/// <summary>The argument and options of doppel run that are about the image and what its guest is told.</summary>
internal sealed class GuestOptions
{
    private readonly Option<string?> _cloudInit = new("--cloud-init") { Description = "User data for cloud-init, for an image with a disk.", HelpName = "FILE" };
    private readonly Option<string[]> _sshKeys = new("--ssh-key") { Description = "A public SSH key that opens the guest's accounts; may be repeated.", HelpName = "FILE", Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = false };
    private readonly Option<string?> _hostName = new("--hostname") { Description = "The guest's host name [default: by the machine's name].", HelpName = "NAME" };
    private readonly Option<string?> _user = new("--user") { Description = "A user to make beside root.", HelpName = "NAME" };
    private readonly Option<string?> _rootInterface = new("--root-if") { Description = "Controller of an image's root disk: nvme, or virtio, which needs the image's initial RAM disk [default: nvme].", HelpName = "NAME" };

    internal GuestOptions()
    {
        Image = new Argument<string?>("image") { Description = "An image: \"doppel image ls\" lists them; debian is made if it isn't there [default: busybox].", HelpName = "image", Arity = ArgumentArity.ZeroOrOne };
        // Else a misspelt option would be taken for an image.
        Image.Validators.Add(result =>
        {
            if (result.Tokens.FirstOrDefault(t => t.Value.StartsWith('-')) is { } token)
                result.AddError($"Unrecognized option '{token.Value}'");
        });
        Image.CompletionSources.Add(_ => ImageStore.ForUser().List().Select(i => i.Name).Append(DebianImageBuilder.ImageName).Distinct());
    }

    /// <summary>The image's name.</summary>
    internal Argument<string?> Image { get; }

    /// <summary>The options in the order of the help.</summary>
    internal IEnumerable<Option> All => [_cloudInit, _sshKeys, _hostName, _user, _rootInterface];

    /// <summary>Finds or makes the guest's image and, unless it is ephemeral, its machine; tells the guest its settings.</summary>
    /// <param name="result">The command line.</param>
    /// <param name="spec">The machine so far; without a kernel.</param>
    /// <param name="isEphemeral">True when nothing that the guest writes is kept.</param>
    internal PreparedGuest Prepare(ParseResult result, MachineSpec spec, bool isEphemeral)
    {
        string name = result.GetValue(Image) ?? BusyboxImageBuilder.ImageName;
        GuestSettings settings = ReadSettings(result, spec.Name);
        var store = MachineStore.ForUser();
        KeptMachine? machine = isEphemeral || name == BusyboxImageBuilder.ImageName ? null : store.Find(spec.Name);
        if (machine is not null && machine.Description.Image != name)
            throw new CliException(ExitCode.Usage, $"--name {spec.Name}: that machine was made from the image {machine.Description.Image}, not {name}; another name, or \"doppel machine rm {spec.Name}\", would be right");
        GuestImage? image = machine is null ? FindImage(name) : null;
        if (image is { DiskPath: null })
        {
            if (All.FirstOrDefault(o => result.GetResult(o) is { Implicit: false }) is Option wrong)
                throw new CliException(ExitCode.Usage, $"{wrong.Name}: the image {name} has no disk on which a setting could be kept; \"doppel run debian\" would be right");
            return new PreparedGuest(Join(spec, MachineSpec.ForImage(image)), null);
        }

        bool isNew = machine is null && !isEphemeral;
        if (isNew)
            machine = store.Create(spec.Name, image!);
        MachineSpec guest = machine is null ? MachineSpec.ForImage(image!) : MachineSpec.ForMachine(machine);
        if (machine is not null)
            Talk.Line($"doppel: {machine.Name}: {(isNew ? $"a new machine from the image {name}" : $"the disk of {machine.Description.Created.ToLocalTime():yyyy-MM-dd HH:mm}")}");
        string? alias = machine is null ? null : $"doppel-{machine.Description.Id:N}";
        (spec, settings) = AddSsh(spec, settings, store.State, alias);
        if (result.GetValue(_rootInterface) is string root)
            guest = UseRootInterface(guest, root, machine?.InitrdPath ?? image!.InitrdPath);
        string seed = machine?.SeedPath ?? Path.Combine(Overlays.TemporaryDirectory, $"doppel-seed-{Guid.NewGuid():N}.iso");
        NoCloudSeed.Write(seed, settings, machine?.Description.Id ?? Guid.NewGuid());
        guest = guest with
        {
            CommandLine = $"{guest.CommandLine} {NoCloudSeed.CommandLine(settings)}",
            Disks = [.. guest.Disks, new DiskSpec { Path = seed, Format = DiskFormat.Raw, IsReadOnly = true, IsTemporary = machine is null, Interface = DiskInterface.Nvme }],
        };
        return new PreparedGuest(Join(spec, guest), machine is null ? seed : null);
    }

    // A port of the host for "doppel ssh", and Doppel's own key, where the guest has a network that leads there.
    private static (MachineSpec Spec, GuestSettings Settings) AddSsh(MachineSpec spec, GuestSettings settings, StateDirectory state, string? alias)
    {
        int card = spec.Networks.ToList().FindIndex(n => n.Kind == NetworkKind.User);
        if (card < 0)
            return (spec, settings);
        const int SshPort = 22;
        int port;
        using (var probe = new TcpListener(IPAddress.Loopback, 0))
        {
            probe.Start();
            port = ((IPEndPoint)probe.LocalEndpoint).Port;
        }

        NetworkSpec[] networks = [.. spec.Networks];
        networks[card] = networks[card] with { Forwards = [.. networks[card].Forwards, new PortForward(IPAddress.Loopback, port, SshPort)] };
        SshIdentity? identity = SshIdentity.EnsureAsync(state).GetAwaiter().GetResult();
        return (
            spec with { Networks = networks, Ssh = new SshAccess(port, settings.User ?? "root", alias) },
            identity is null ? settings : settings with { Keys = [identity.PublicKey, .. settings.Keys] });
    }

    private GuestSettings ReadSettings(ParseResult result, string machine)
    {
        var settings = new GuestSettings
        {
            HostName = result.GetValue(_hostName) ?? GuestSettings.HostNameOf(machine),
            User = result.GetValue(_user),
            Keys = [.. (result.GetValue(_sshKeys) ?? []).SelectMany(GuestSettings.ReadKeys)],
            UserData = result.GetValue(_cloudInit) is string path ? GuestSettings.ReadUserData(path) : null,
        };
        settings.Validate();
        return settings;
    }

    private static GuestImage FindImage(string name)
    {
        ImageStore store = ImageStore.ForUser();
        return store.Find(name) ?? name switch
        {
            BusyboxImageBuilder.ImageName => ImageCommand.Pull(null, null, false, CancellationToken.None),
            DebianImageBuilder.ImageName => ImageBuildCommand.Build(new DebianImageOptions()),
            _ => throw new CliException(ExitCode.Usage, $"there is no image \"{name}\"; \"doppel image ls\" lists them, \"doppel image build debian --name {name}\" makes one"),
        };
    }

    // What the image says comes first: its root disk, and the beginning of the command line.
    private static MachineSpec Join(MachineSpec spec, MachineSpec guest) => spec with
    {
        Kernel = guest.Kernel,
        Initrd = guest.Initrd,
        CommandLine = spec.CommandLine.Length == 0 ? guest.CommandLine : $"{guest.CommandLine} {spec.CommandLine}",
        Disks = [.. guest.Disks, .. spec.Disks],
    };

    private static MachineSpec UseRootInterface(MachineSpec guest, string name, string initrd) => name switch
    {
        "nvme" => guest,
        "virtio" when File.Exists(initrd) => guest with { Initrd = initrd, Disks = [guest.Disks[0] with { Interface = DiskInterface.Virtio }] },
        "virtio" => throw new CliException(ExitCode.Usage, "--root-if virtio: the image has no initial RAM disk with the driver; nvme would be right"),
        _ => throw new CliException(ExitCode.Usage, $"--root-if {name}: nvme or virtio would be right"),
    };
}
