using System.CommandLine;
using System.Globalization;
using Doppel.Cli.Terminals;
using Doppel.Devices.Network;
using Doppel.Engines.Kvm;
using Doppel.Host;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Models;
using Doppel.Vmm;
using Doppel.Vmm.Debugging;
using Doppel.Vmm.Images;
using Doppel.Vmm.Trace;

namespace Doppel.Cli.Commands;

/// <summary>The options of doppel run, and what they say.</summary>
internal sealed class RunOptions
{
    private readonly Option<string?> _kernel = new("--kernel", "-k") { Description = "Linux bzImage, ELF vmlinux with a PVH entry, or Multiboot image.", HelpName = "FILE" };
    private readonly Option<string?> _initrd = new("--initrd", "-i") { Description = "Initial RAM disk, or Multiboot module.", HelpName = "FILE" };
    private readonly FirmwareOptions _firmware = new();
    private readonly Option<string?> _firmwareLog = new("--firmware-log") { Description = "Write firmware's own log (port 402h) to a file.", HelpName = "FILE" };
    private readonly Option<string?> _append = new("--append", "-a") { Description = "Kernel command line; for an image, added to its own.", HelpName = "TEXT" };
    private readonly Option<string> _memory = new("--memory", "-m") { Description = "Size of RAM, for example 512M or 2G.", HelpName = "SIZE", DefaultValueFactory = _ => "512M" };
    private readonly Option<string[]> _disks = new("--disk") { Description = $"A disk: {DiskSpec.Choices}; may be repeated.", HelpName = "FILE[,...]", Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = false };
    private readonly Option<string[]> _cdroms = DriveOptions.CreateCdrom();
    private readonly Option<string[]> _floppies = DriveOptions.CreateFloppy();
    private readonly Option<bool> _ephemeral = new("--ephemeral") { Description = "Throw away at the end what the guest writes to its disks; the images stay as they are." };
    private readonly Option<string[]> _volumes = VolumeOption.Create();
    private readonly Option<string[]> _networks = new("--net") { Description = $"A network card: {NetworkSpec.Choices}, or none; may be repeated [default: user, where libslirp is installed].", HelpName = "NETWORK", Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = false };
    private readonly Option<string[]> _ports = new("--publish", "-p") { Description = $"Lead a port of the host to one of the guest: {PortForward.Choices}; may be repeated.", HelpName = "PORTS", Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = false };
    private readonly Option<string?> _vsock = VirtioOptions.CreateVsock();
    private readonly Option<string> _virtio = VirtioOptions.CreateTransport();
    private readonly DisplayOptions _display = new();
    private readonly Option<bool> _entropy = new("--rng") { Description = "Add a virtio entropy device." };
    private readonly Option<bool> _balloon = new("--balloon") { Description = "Add a virtio balloon: memory that the guest frees goes back to the host." };
    private readonly Option<bool> _overcommit = new("--overcommit") { Description = "Allow more RAM than the host has." };
    private readonly Option<string> _cpu = new("--cpu") { Description = "CPU model; \"doppel cpu ls\" lists them.", HelpName = "MODEL", DefaultValueFactory = _ => "x86-64-v2" };
    private readonly Option<int> _cpus = new("--cpus") { Description = $"Number of vCPUs, 1 to {MachineSpec.MaximumCpus}.", HelpName = "N", DefaultValueFactory = _ => 1 };
    private readonly CpuOptions _shares = new();
    private readonly Option<string> _engine = new("--engine") { Description = "Execution engine: interpreter, translator, kvm, or auto: kvm where it serves, else translator.", HelpName = "NAME", DefaultValueFactory = _ => EngineNames.Auto };
    private readonly Option<string?> _tscFrequency = new("--tsc-frequency") { Description = "Ticks of the guest's TSC in a second, or \"host\" for what this host's KVM can run without scaling [default: 1000000000, or under kvm what the host needs].", HelpName = "HZ" };
    private readonly Option<int> _tlbSpaces = new("--tlb-spaces") { Description = "Address spaces whose translations each vCPU's TLB keeps: 2, 4, 8 or 16; up to 450 KiB of host memory each.", HelpName = "N", DefaultValueFactory = _ => TlbSlot.MaximumCount };
    private readonly Option<string> _codeCache = new("--code-cache") { Description = "Most host memory for translated code, or with the interpreter for each vCPU's decoded instructions.", HelpName = "SIZE", DefaultValueFactory = _ => "32M" };
    private readonly Option<string[]> _serial = SerialTarget.CreateOption();
    private readonly Option<string?> _parallel = new("--parallel") { Description = "Add a parallel port (LPT1), and to a file what the guest prints.", HelpName = "FILE" };
    private readonly Option<string> _clock = new("--clock") { Description = "Source of time: host or instructions (deterministic).", HelpName = "SOURCE", DefaultValueFactory = _ => "host" };
    private readonly Option<bool> _testDevices = new("--testdev") { Description = "Add isa-debug-exit (port F4h), pc-testdev, fw_cfg and an HPET, for conformance kernels." };
    private readonly Option<bool> _noReboot = new("--no-reboot") { Description = "End when the guest resets the machine." };
    private readonly Option<bool> _noPanicWatch = new("--no-panic-watch") { Description = "Don't look for \"Kernel panic\" on the console." };
    private readonly Option<string?> _debugPort = new("--debug-port") { Description = "Write what the guest sends to port E9h to a file.", HelpName = "FILE" };
    private readonly Option<bool> _statistics = new("--stats") { Description = "At the end, say what the machine did: instructions, translation, TLB, exits, interrupts." };
    private readonly Option<string?> _statisticsFile = new("--stats-json") { Description = "At the end, write the same as JSON.", HelpName = "FILE" };
    private readonly Option<string?> _name = new("--name") { Description = "Name of the machine, for \"doppel stats\" [default: that of the image or the kernel's file].", HelpName = "NAME" };
    private readonly Option<string?> _trace = new("--trace") { Description = "Trace: instructions, exceptions, interrupts, ports, mmio, translation or all, separated by commas.", HelpName = "KINDS" };
    private readonly Option<string?> _gdb = new("--gdb") { Description = $"Let GDB debug the guest at {GdbEndpoint.Choices}.", HelpName = "ADDRESS" };
    private readonly Option<string?> _traceFile = new("--trace-file") { Description = "Where the trace goes [default: standard error].", HelpName = "FILE" };

    /// <summary>The image, and what its guest is told.</summary>
    internal GuestOptions GuestImage { get; } = new();

    internal RunOptions()
    {
        Once(_memory);
        Once(_cpu);
        Once(_cpus);
        Once(_engine);
        Once(_codeCache);
        Once(_tlbSpaces);
        Once(_clock);
        Once(_gdb);
        _engine.CompletionSources.Add([.. EngineNames.Choices]);
        _cpu.CompletionSources.Add(_ => CpuModels.All.Select(m => m.Name));
        _networks.CompletionSources.Add("user", "none", "tap=", "switch=");
        _clock.CompletionSources.Add("host", "instructions");
        _trace.CompletionSources.Add("instructions", "exceptions", "interrupts", "ports", "mmio", "translation", "all");
    }

    /// <summary>The options in the order of the help.</summary>
    internal IEnumerable<Option> All =>
    [
        _name, _kernel, _initrd, _append, .. _firmware.All, .. GuestImage.All, _disks, _cdroms, _floppies, _ephemeral, _volumes, _networks, _ports, _vsock, _virtio, .. _display.All, _memory, _overcommit, _balloon, _entropy, _cpu, _cpus, .. _shares.All, _engine, _tscFrequency, _codeCache, _tlbSpaces, _serial, _parallel, _clock,
        _testDevices, _noReboot, _noPanicWatch, _debugPort, _firmwareLog, _gdb, _statistics, _statisticsFile, _trace, _traceFile,
    ];

    /// <summary>Those that say what the guest is.</summary>
    internal IEnumerable<Option> Guest => [_kernel, _initrd, _append, _memory, _overcommit, _cpu, _cpus, _testDevices, _noPanicWatch];

    /// <summary>True when a kernel is given.</summary>
    internal bool HasKernel(ParseResult result) => result.GetValue(_kernel) is not null;

    /// <summary>Reads and checks <see cref="Guest"/>; a missing default guest is made.</summary>
    /// <exception cref="CliException">A value is wrong; the message names the option and what would be right.</exception>
    internal MachineSpec ReadGuest(ParseResult result)
    {
        string? kernel = result.GetValue(_kernel);
        string? append = result.GetValue(_append);
        string memoryText = result.GetRequiredValue(_memory);
        if (!MemorySize.TryParse(memoryText, out ulong memory))
            throw Wrong("--memory", memoryText, "a size such as 512M or 2G");
        if (kernel is null && result.GetValue(_initrd) is not null)
            throw new CliException(ExitCode.Usage, "--initrd needs --kernel FILE");
        return new MachineSpec
        {
            Kernel = kernel ?? "",
            Initrd = result.GetValue(_initrd),
            CommandLine = append ?? "",
            Memory = memory,
            Cpus = result.GetRequiredValue(_cpus),
            CpuCap = _shares.Cap(result),
            CpuWeight = _shares.Weight(result),
            Overcommit = result.GetValue(_overcommit),
            CpuModel = result.GetRequiredValue(_cpu),
            TestDevices = result.GetValue(_testDevices),
            WatchForPanic = !result.GetValue(_noPanicWatch),
        };
    }

    /// <summary>Checks a specification and gives it an image's guest if it has no kernel.</summary>
    internal PreparedGuest Complete(ParseResult result, MachineSpec spec)
    {
        // Everything else is checked before an image is fetched for a minute.
        spec.Validate();
        FirmwareOptions.Fetch(spec);
        if (spec.Kernel.Length == 0 && (spec.Firmware == FirmwareKind.None || result.GetValue(GuestImage.Image) is not null))
            return GuestImage.Prepare(result, spec, result.GetValue(_ephemeral));
        if (GuestImage.All.FirstOrDefault(o => result.GetResult(o) is { Implicit: false }) is Option wrong)
            throw new CliException(ExitCode.Usage, $"{wrong.Name} is for a guest of an image; without --kernel it would be right");
        return new PreparedGuest(spec, null);
    }

    /// <summary>Reads and checks them; a missing default guest is made.</summary>
    /// <exception cref="CliException">A value is wrong; the message names the option and what would be right.</exception>
    internal RunRequest Read(ParseResult result)
    {
        IReadOnlyList<SerialTarget> serials = SerialTarget.Read(result.GetValue(_serial));
        string clockText = result.GetRequiredValue(_clock);
        ClockKind clock = clockText switch
        {
            "host" => ClockKind.Host,
            "instructions" => ClockKind.Instructions,
            _ => throw Wrong("--clock", clockText, "host or instructions"),
        };
        string codeCacheText = result.GetRequiredValue(_codeCache);
        if (!MemorySize.TryParse(codeCacheText, out ulong codeCache))
            throw Wrong("--code-cache", codeCacheText, "a size such as 32M");
        TraceKinds trace = TraceKinds.None;
        if (result.GetValue(_trace) is string traceText && !TextTrace.TryParseKinds(traceText, out trace, out string? unknown))
            throw Wrong("--trace", unknown!, "instructions, exceptions, interrupts, ports, mmio, translation or all");
        if (result.GetValue(_traceFile) is not null && trace == TraceKinds.None)
            throw new CliException(ExitCode.Usage, "--trace-file needs --trace KINDS");
        GdbEndpoint? gdb = null;
        if (result.GetValue(_gdb) is string gdbText && (gdb = GdbEndpoint.Parse(gdbText)) is null)
            throw Wrong("--gdb", gdbText, GdbEndpoint.Choices);
        string? image = result.GetResult(GuestImage.Image) is null ? null : result.GetValue(GuestImage.Image);
        if (image is not null && result.GetValue(_kernel) is not null)
            throw new CliException(ExitCode.Usage, $"{image}: an image has a kernel of its own; it or --kernel would be right");
        MachineSpec spec = ReadGuest(result) with
        {
            Entropy = result.GetValue(_entropy),
            Balloon = result.GetValue(_balloon),
            Disks = [.. (result.GetValue(_disks) ?? []).Select(d => ParseDisk(d, result.GetValue(_ephemeral))), .. DriveOptions.ReadCdroms(result.GetValue(_cdroms)), .. DriveOptions.ReadFloppies(result.GetValue(_floppies))],
            Volumes = VolumeOption.Read(result.GetValue(_volumes)),
            Networks = ReadNetworks(result.GetValue(_networks) ?? [], result.GetValue(_ports) ?? [], clock),
            Vsock = VirtioOptions.ReadVsock(result.GetValue(_vsock)),
            VirtioTransport = VirtioOptions.ReadTransport(result.GetRequiredValue(_virtio)),
            Engine = result.GetRequiredValue(_engine),
            TscFrequency = ReadTscFrequency(result.GetValue(_tscFrequency)),
            CodeCache = codeCache,
            TlbSpaces = result.GetRequiredValue(_tlbSpaces),
            Clock = clock,
            SerialPorts = Math.Max(serials.Count, MachineSpec.SmallestSerialPorts),
            Parallel = result.GetValue(_parallel) is string printed ? (printed.Length == 0 ? printed : Path.GetFullPath(printed)) : null,
            RebootOnReset = !result.GetValue(_noReboot),
        };
        spec = _firmware.Enter(result, spec, image is not null);
        spec = spec with { Name = result.GetValue(_name) ?? DefaultName(result.GetValue(_kernel), image, spec.Firmware != FirmwareKind.None) };
        // Variables are kept for a machine that has a name of its own.
        if (spec.Firmware == FirmwareKind.Uefi && result.GetValue(_name) is not null && MachineSpecValidation.IsName(spec.Name))
            spec = spec with { FirmwareVariables = MachinePaths.VariablesIn(StateDirectory.ForUser().FolderOf(spec.Name)) };
        spec = _display.Enter(result, spec);
        // The terminal is one or the other.
        bool isTerminal = _display.IsTerminal(result);
        if (isTerminal && result.GetValue(_serial) is null or [])
            serials = [new SerialTarget(SerialKind.None, null)];
        if (isTerminal && serials.Any(serial => serial.Kind == SerialKind.Stdio))
            throw new CliException(ExitCode.Usage, "--display terminal and --serial stdio want the same terminal; --serial none, file:PATH or pty would be right");
        PreparedGuest guest = Complete(result, spec);
        return new RunRequest(guest.Spec, serials, trace, result.GetValue(_traceFile), result.GetValue(_debugPort), gdb, result.GetValue(_statistics), result.GetValue(_statisticsFile)) { TemporaryFile = guest.TemporarySeed, FirmwareLogFile = result.GetValue(_firmwareLog), ShowsScreen = isTerminal, TellsEngine = result.GetResult(_engine) is { Implicit: false } };
    }

    /// <summary>Those that make no sense for a machine in the background.</summary>
    internal IEnumerable<Option> Foreground => [_serial, _debugPort, _firmwareLog, _gdb, _statistics, _statisticsFile, _trace, _traceFile];

    private static ulong? ReadTscFrequency(string? text)
    {
        if (text is null)
            return null;
        if (text == "host")
        {
            try
            {
                return KvmMachine.FindTscFrequency();
            }
            catch (HostException e)
            {
                throw new CliException(ExitCode.Usage, $"--tsc-frequency host: this host's KVM doesn't tell its rate ({e.Message}); a number would be right");
            }
        }

        return ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ulong hertz) ? hertz : throw Wrong("--tsc-frequency", text, "a number of ticks a second, or host,");
    }

    private static string DefaultName(string? kernel, string? image, bool hasFirmware)
    {
        if (kernel is null && hasFirmware)
            return "machine";
        if (kernel is null)
            return image ?? BusyboxImageBuilder.ImageName;
        string name = new([.. Path.GetFileName(kernel).Select(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_' ? c : '_').Take(MachineSpec.MaximumName)]);
        return name.All(char.IsAsciiDigit) ? "machine" : name;
    }

    private static DiskSpec ParseDisk(string text, bool isEphemeral)
    {
        if (!DiskSpec.TryParse(text, out DiskSpec? disk, out string wrong))
            throw Wrong("--disk", wrong.Length == 0 ? text : $"{text}: {wrong}", DiskSpec.Choices);
        if (isEphemeral && disk.Overlay is not null)
            throw Wrong("--disk", text, "no overlay under --ephemeral");
        return disk with { IsEphemeral = disk.IsEphemeral || (isEphemeral && !disk.IsReadOnly) };
    }

    private static List<NetworkSpec> ReadNetworks(string[] texts, string[] ports, ClockKind clock)
    {
        var networks = new List<NetworkSpec>();
        if (texts is ["none"])
        {
            if (ports.Length != 0)
                throw new CliException(ExitCode.Usage, $"-p {ports[0]} needs --net user, not --net none");
            return networks;
        }

        foreach (string text in texts)
        {
            if (!NetworkSpec.TryParse(text, out NetworkSpec? network, out string wrong))
                throw Wrong("--net", wrong == text ? text : $"{text}: {wrong}", texts.Length == 1 ? $"{NetworkSpec.Choices}, or none," : NetworkSpec.Choices);
            networks.Add(network.BootFile is string file ? network with { BootFile = Path.GetFullPath(file) } : network);
        }

        // Nobody asked: then a machine that can't have a network has none.
        if (texts.Length == 0 && (ports.Length != 0 || (clock == ClockKind.Host && UserNetwork.IsAvailable)))
            networks.Add(new NetworkSpec());
        if (ports.Length == 0)
            return networks;
        int user = networks.FindIndex(network => network.Kind == NetworkKind.User);
        if (user < 0)
            throw new CliException(ExitCode.Usage, $"-p {ports[0]} needs --net user");
        networks[user] = networks[user] with { Forwards = [.. ports.Select(text => PortForward.TryParse(text) ?? throw Wrong("-p", text, PortForward.Choices))] };
        return networks;
    }

    private static CliException Wrong(string option, string given, string right) =>
        new(ExitCode.Usage, $"{option} {(given.Length == 0 ? "\"\"" : given)}: {right} would be right");

    private static void Once<T>(Option<T> option) => option.Validators.Add(result =>
    {
        if (result.IdentifierTokenCount > 1)
            result.AddError($"{option.Name} is given {result.IdentifierTokenCount} times");
    });
}
