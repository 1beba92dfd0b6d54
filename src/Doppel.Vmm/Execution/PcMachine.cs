using Doppel.Devices;
using Doppel.Devices.Chipset;
using Doppel.Devices.Console;
using Doppel.Devices.Pc;
using Doppel.Devices.Pci;
using Doppel.Devices.SharedFolders;
using Doppel.Devices.Storage;
using Doppel.Devices.Virtio;
using Doppel.Devices.Vsock;
using Doppel.Host.Processor;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Interrupts;
using Doppel.Machine.Memory;
using Doppel.Machine.State;
using Doppel.Machine.Time;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Consoles;
using Doppel.Vmm.Firmware;
using Doppel.Vmm.Snapshots;
using Doppel.Vmm.Trace;

namespace Doppel.Vmm.Execution;

/// <summary>
/// The PC from power-on to its next reset: memory, buses, devices, vCPUs, with a kernel loaded. A reset makes a new
/// one. What devices ask of the machine arrives as one <see cref="EndRequest"/>, the first wins.
/// </summary>
internal sealed partial class PcMachine : IDisposable
{
    private readonly List<IDevice> _devices = [];
    private readonly List<IDisposable> _owned = [];
    private readonly List<IBackgroundDevice> _workers = [];
    private readonly List<SeededRandom> _random = [];
    private readonly MachineSpec _spec;
    private readonly PanicWatch? _panicWatch;
    // 0 is the host bridge, 1 the ISA bridge with its functions, and 2 is left to a display, which guests look for there.
    private byte _nextSlot = 3;
    private PciBus _pci = null!;
    private IsaInterrupts _wires = null!;
    private WiredOr[] _virtioWires = [];
    private int _virtioMmioDevices;
    private EndRequest? _end;
    private bool _changesEngine;

    // Without kernel and firmware, nothing is set up as firmware would: a saved state follows.
    internal PcMachine(MachineSpec spec, MachineConnections connections, IConsoleBackend serial, MachineBoot boot, IReadOnlyList<MachineDisk>? disks = null, IReadOnlyList<MachineNetwork>? networks = null)
    {
        _spec = spec;
        try
        {
            Memory = Own(new GuestMemory(spec.Memory));
            Ports = new IoBus("port", 0x10000, IoLock);
            Mmio = new IoBus("mmio", 1UL << 52, IoLock);
            var physical = new PhysicalAddressSpace(Memory, Mmio);
            Clock = spec.Clock == ClockKind.Host
                ? Own(new HostClock(IoLock, spec.TscFrequency ?? MachineSpec.DefaultTscFrequency, onFault: e => End(new EndRequest(VmExitKind.InternalError, $"a device's timer failed: {e.Message}") { Error = e })))
                : new InstructionClock(IoLock);
            CpuModel model = CpuModels.Find(spec.CpuModel);
            var bus = new ApicBus();
            var options = new LocalApicOptions
            {
                HasX2Apic = model.Has(CpuFeature.X2Apic),
                HasTscDeadline = model.Has(CpuFeature.TscDeadline),
                PhysicalAddressBits = model.PhysicalAddressBits,
            };
            var cpus = new List<VirtualCpu>();
            for (int i = 0; i < spec.Cpus; i++)
            {
                VirtualCpu cpu = Own(new VirtualCpu(i, model, physical, Ports, Clock, spec.TlbSpaces) { CpuCount = spec.Cpus });
                cpu.Apic = Own(new LocalApic(i, cpu, bus, Clock, options));
                if ((spec.RandomSeed ?? (Clock.IsDeterministic ? 0 : null)) is ulong seed)
                    cpu.NextRandom = AddRandom($"random{i}", seed + (ulong)i).Next;
                cpus.Add(cpu);
            }

            Cpus = cpus;
            Turns = new TurnState(spec.Cpus);

            if (spec.WatchForPanic)
            {
                _panicWatch = new PanicWatch(serial);
                _panicWatch.Ended += () => End(Crash());
                serial = _panicWatch;
            }

            // Nothing reaches a device from outside before firmware has set it up.
            lock (IoLock)
            {
                AddDevices(connections, serial, bus, bus.LocalApics[0], physical, boot, disks ?? [], networks ?? []);
                if (boot.Kernel is not null && !HasFirmware)
                    Boot(boot.Kernel, boot.Initrd);
                if (!boot.IsForState && (boot.Kernel is not null || boot.Firmware is not null))
                    PollSerial();
            }

            DirtyPages = new DirtyPageLog(this);

            SetTrace(connections);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The machine's I/O lock.</summary>
    internal Lock IoLock { get; } = new();

    internal GuestMemory Memory { get; }

    internal IoBus Ports { get; }

    internal IoBus Mmio { get; }

    internal IGuestClock Clock { get; }

    private DevicePlatform Platform => new(Memory, IoLock, e => End(new EndRequest(VmExitKind.InternalError, e.Message) { Error = e }))
    {
        IsDeterministic = Clock.IsDeterministic,
    };

    /// <summary>The vCPUs; the first is the bootstrap processor.</summary>
    internal IReadOnlyList<VirtualCpu> Cpus { get; }

    /// <summary>Whose turn it is, on deterministic time.</summary>
    internal TurnState Turns { get; }

    /// <summary>What has been written to memory, for snapshots.</summary>
    internal DirtyPageLog DirtyPages { get; private set; }

    /// <summary>The power button and S5.</summary>
    internal AcpiPm PowerManagement { get; private set; } = null!;

    /// <summary>The memory balloon; null when the machine has none.</summary>
    internal VirtioBalloon? Balloon { get; private set; }

    /// <summary>
    /// The sections of a saved machine, in the order in which they are restored: time before the timers that count it, a
    /// device before the interrupt controllers that its lines lead to, each controller before the one that it feeds.
    /// </summary>
    internal IReadOnlyList<IStateful> Sections { get; private set; } = [];

    /// <summary>The sections of the devices and interrupt controllers. Saved with the I/O lock held.</summary>
    internal IEnumerable<IStateful> Parts => Sections.Where(part => part is not (CpuStateSection or IGuestClock or TurnState));

    /// <summary>Why this boot ends; null while it goes on. Any thread.</summary>
    internal EndRequest? EndReason => Volatile.Read(ref _end);

    /// <summary>True while the vCPUs are to leave their engines for others. Any thread.</summary>
    internal bool ChangesEngine
    {
        get => Volatile.Read(ref _changesEngine);
        set => Volatile.Write(ref _changesEngine, value);
    }

    /// <summary>True when the vCPUs' loops are to end: the boot does, or the engines change.</summary>
    internal bool IsOver => EndReason is not null || ChangesEngine;

    /// <summary>Called once <see cref="EndReason"/> is set. Any thread, with any lock held.</summary>
    internal Action? Ended { get; set; }

    /// <summary>Ends this boot, unless something else has. Any thread; the vCPUs leave their engines soon after.</summary>
    internal void End(EndRequest request)
    {
        if (Interlocked.CompareExchange(ref _end, request, null) is not null)
            return;
        Kick();
        Ended?.Invoke();
    }

    /// <summary>Ends this boot because a vCPU shut down. The vCPU's thread.</summary>
    internal void EndByTripleFault(VirtualCpu cpu)
    {
        CpuLocation location = cpu.GetLocation();
        End(new EndRequest(VmExitKind.TripleFault, $"the guest's processor shut down after a triple fault: {location}") { Location = location });
    }

    /// <summary>Ends this boot because an engine threw what no guest may cause. The vCPU's thread.</summary>
    internal void EndByEngineFailure(VirtualCpu cpu, IExecutionEngine engine, Exception error)
    {
        CpuLocation location = cpu.GetLocation();
        End(new EndRequest(VmExitKind.InternalError, $"the {engine.Name} failed at {location}: {error.Message}") { Error = error, Location = location });
    }

    /// <summary>Told that the host has no room for what the guest writes; the machine should pause until there is. Any thread, no lock held.</summary>
    internal Action<StorageFullException>? StorageFull { get; set; }

    /// <summary>
    /// Makes devices that work beside the vCPUs stand still, so that guest memory does: completes when no back end works for
    /// one any more. The vCPUs stand still already.
    /// </summary>
    internal Task HoldDevicesAsync() => Task.WhenAll(_workers.Select(worker => worker.HoldAsync()));

    /// <summary>Lets them go on, also after a restore.</summary>
    internal void ReleaseDevices()
    {
        foreach (IBackgroundDevice worker in _workers)
            worker.Release();
    }

    /// <summary>
    /// Takes over memory and state of a snapshot. The machine was made without a kernel and has not run; its devices are held
    /// until <see cref="ReleaseDevices"/>. It is of no use after an exception.
    /// </summary>
    /// <exception cref="SnapshotException">The snapshot doesn't fit, or is damaged; the section is named.</exception>
    internal void Restore(SnapshotReader snapshot)
    {
        snapshot.ShowMemory(Memory);
        MachineSections.Restore(this, snapshot.Sections, SectionUpgrades.Known);
        DirtyPages = new DirtyPageLog(this, snapshot.Manifest.Id, snapshot.Written);
        WorkingSet.BeginPrefetch(snapshot.Folder, Memory);
        lock (IoLock)
            PollSerial();
    }

    /// <summary>Takes over the state of a machine whose memory is in place already, otherwise as from a snapshot.</summary>
    /// <exception cref="SnapshotException">It doesn't fit, or is damaged; the section is named.</exception>
    internal void Restore(IReadOnlyList<SavedSection> sections)
    {
        MachineSections.Restore(this, sections, SectionUpgrades.Known);
        // What arrived is what differs from a new machine.
        _ = DirtyPages.Take();
        lock (IoLock)
            PollSerial();
    }

    /// <summary>Shows the guest a generation identifier. Any thread.</summary>
    /// <param name="identifier">The identifier.</param>
    /// <param name="notifies">True to tell the guest that it has changed.</param>
    internal void ShowGeneration(Guid identifier, bool notifies)
    {
        // The page is firmware's there.
        if (HasFirmware)
            return;
        lock (IoLock)
        {
            _ = Memory.TryWrite(PcMemoryMap.GenerationId, identifier.ToByteArray());
            if (notifies)
                PowerManagement.RaiseGeneralEvent(PcPorts.GenerationEvent);
        }
    }

    /// <summary>Makes every vCPU leave its engine. Any thread.</summary>
    internal void Kick()
    {
        foreach (VirtualCpu cpu in Cpus)
            cpu.Signal(PendingEvents.Kick);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        for (int i = _owned.Count - 1; i >= 0; i--)
            _owned[i].Dispose();
        _owned.Clear();
    }

    private void AddDevices(MachineConnections connections, IConsoleBackend serial, ApicBus bus, LocalApic apic, PhysicalAddressSpace physical, MachineBoot boot, IReadOnlyList<MachineDisk> disks, IReadOnlyList<MachineNetwork> networks)
    {
        var ioApic = new IoApic(bus);
        Mmio.Map(PcMemoryMap.IoApic, GuestMemory.PageSize, ioApic);
        PicPair pic = Add(new PicPair(apic.Lint0));
        apic.ExternalSource = pic;
        PirqRouter? router = null;
        IsaInterrupts wires = HasFirmware ? new IsaInterrupts(pic.Line, ioApic.Pin, out router) : new IsaInterrupts(pic.Line, ioApic.Pin);
        _wires = wires;
        // Kernels that are started directly find better timers; conformance kernels look for it where it always is.
        Hpet? hpet = HasFirmware || _spec.TestDevices ? Add(new Hpet(Clock, wires.Line)) : null;
        IInterruptLine timerLine = wires.Line(PcPorts.TimerIrq), rtcLine = wires.Line(PcPorts.RtcIrq);
        Pit8254 pit = Add(new Pit8254(Clock, hpet?.Replace(timerLine) ?? timerLine));
        _ = Add(new SystemControlPortB(Clock, pit, new PcSpeaker(Clock, connections.Speaker ?? (_ => { }))));
        var power = new AcpiPm(Clock, wires.Line(PcPorts.SciIrq), () => End(new EndRequest(VmExitKind.PowerOff, "the guest powered off")), isRelocatable: HasFirmware);
        IInterruptLine rtcOutput = hpet?.Replace(rtcLine) ?? rtcLine;
        Mc146818 rtc = Add(new Mc146818(Clock, new CallbackLine(level =>
        {
            rtcOutput.Set(level);
            power.RtcInput.Set(level);
        })));
        rtc.SetMemorySize(Memory.LowRamSize, Memory.HighRamSize);
        if (HasFirmware)
            SetBootOrder(rtc);
        AddSerialPorts([serial, connections.Serial2, connections.Serial3, connections.Serial4]);
        AddParallelPort(connections);
        var a20 = new A20Gate(physical.SetA20);
        _ = Add(new I8042(wires.Line(PcPorts.KeyboardIrq), wires.Line(12), a20, () => Reset("the keyboard controller"), AddKeyboard(connections), AddMouse(connections)));
        _ = Add(new PortNinetyTwo(a20, () => Reset("port 92h")));
        var resetControl = new ResetControlRegister(() => Reset("port CF9h"), () => Reset("port CF9h"));
        _devices.Add(resetControl);
        // Behind the clock, whose line sets its status, also when both are restored.
        PowerManagement = Add(power);
        var pci = new PciBus(wires.Line, HasFirmware ? Piix3FirstLink : 0);
        _pci = pci;
        if (HasFirmware)
            AddChipset(resetControl, router!, boot, connections);
        else
            AddBridges(resetControl);
        _virtioWires = [.. Enumerable.Range(PcPorts.VirtioMmioFirstGsi, PcPorts.VirtioMmioGsiCount).Select(gsi => new WiredOr(wires.Line(gsi)))];
        AddDisplay(connections, physical, bus);
        AddTablet(connections);
        AddDisks(disks, bus);
        AddIde(disks, wires);
        AddAhci(disks, bus);
        AddNetworks(networks, bus, boot);
        if (connections.ConsolePorts.Count != 0)
            AddVirtio(new VirtioConsole("virtio-console0", connections.ConsolePorts, Platform), VirtioConsole.PciClass, bus);
        AddVolumes(bus);
        if (_spec.Vsock is VsockSpec vsock)
            AddVirtio(new VirtioVsock("virtio-vsock0", vsock.Cid, new VsockListener(vsock.Path), Platform), VirtioVsock.PciClass, bus);
        if (_spec.Entropy)
            AddVirtio(new VirtioRandom("virtio-rng0", MakeEntropy(), Platform), VirtioRandom.PciClass, bus);
        if (_spec.Balloon)
        {
            Balloon = new VirtioBalloon("virtio-balloon0", Platform);
            AddVirtio(Balloon, VirtioBalloon.PciClass, bus);
        }

        AddVirtioInput(connections, bus);
        _ = Add(new DebugPort(connections.DebugPort ?? (_ => { })));
        AddFloppies(disks, wires, Add(new HostPorts()), rtc);
        if (_spec.TestDevices)
        {
            _ = Add(new PcTestDev(wires.Line));
            _ = Add(new IsaDebugExit(status => End(new EndRequest(VmExitKind.DebugExit, $"the guest ended the machine with status {status}") { DebugStatus = status })));
            if (!HasFirmware)
                _ = Add(WithMachineSize(new FirmwareConfiguration()));
        }

        IEnumerable<IStateful> parts = _devices.Concat<IStateful>(pci.Functions.Select(found => found.Function)).Distinct();
        Sections =
        [
            (IStateful)Clock,
            .. Clock.IsDeterministic ? [Turns] : Array.Empty<IStateful>(),
            .. _random,
            .. Cpus.Select(cpu => new CpuStateSection(cpu)),
            .. parts.Where(part => part != pic),
            pic,
            ioApic,
            .. Cpus.Select(cpu => (IStateful)cpu.Apic),
        ];
    }

    private void AddVolumes(ApicBus messages)
    {
        for (int i = 0; i < _spec.Volumes.Count; i++)
        {
            var server = new FuseServer(_spec.Volumes[i].HostPath, _spec.Volumes[i].IsReadOnly);
            AddVirtio(new VirtioFs($"virtio-fs{i}", VolumeSpec.Tag(i), server, Platform), VirtioFs.PciClass, messages);
        }
    }

    // The stream of a seeded machine is its own: vCPUs have the seeds from the machine's upwards.
    private Action<Span<byte>> MakeEntropy()
    {
        if ((_spec.RandomSeed ?? (Clock.IsDeterministic ? 0 : null)) is not ulong seed)
            return HostRandom.Fill;
        SeededRandom random = AddRandom("random-entropy", ~seed);
        return bytes =>
        {
            for (int i = 0; i < bytes.Length; i++)
                bytes[i] = (byte)random.Next();
        };
    }

    private SeededRandom AddRandom(string name, ulong seed)
    {
        var random = new SeededRandom(name, seed);
        _random.Add(random);
        return random;
    }

    private void AddVirtio(VirtioDevice device, uint pciClass, ApicBus messages, byte[]? rom = null)
    {
        if (_spec.VirtioTransport == VirtioTransport.Pci)
        {
            var function = new VirtioPciTransport(device, pciClass, Mmio, Ports, messages);
            if (rom is not null)
                function.AddRom(rom);
            AddFunction(function);
            return;
        }

        int number = _virtioMmioDevices++;
        _ = Add(new VirtioMmioTransport(device, PcMemoryMap.VirtioMmio + ((ulong)number * VirtioMmioTransport.Length), _virtioWires[number % _virtioWires.Length].AddInput()));
        _workers.Add(device);
    }

    private void AddFunction<T>(T function)
        where T : PciFunction, IBackgroundDevice, IDisposable
    {
        _pci.Add(new PciAddress(0, _nextSlot++, 0), AddWorker(function));
    }

    private T AddWorker<T>(T function)
        where T : PciFunction, IBackgroundDevice, IDisposable
    {
        _workers.Add(Own(function));
        return function;
    }

    private void SetTrace(MachineConnections connections)
    {
        if (connections.Trace is null)
            return;
        const TraceKinds CpuKinds = TraceKinds.Instructions | TraceKinds.Exceptions | TraceKinds.Interrupts | TraceKinds.Translations;
        if ((connections.TraceKinds & TraceKinds.Ports) != 0)
            Ports.Trace = connections.Trace;
        if ((connections.TraceKinds & TraceKinds.Mmio) != 0)
            Mmio.Trace = connections.Trace;
        if ((connections.TraceKinds & CpuKinds) == 0)
            return;
        foreach (VirtualCpu cpu in Cpus)
            cpu.Trace = connections.Trace;
    }

    private void Boot(IBootLoader kernel, BootFile? initrd)
    {
        VirtualCpu first = Cpus[0];
        LegacyBios.Install(Memory, Ports, _spec.SerialPorts, _hasParallelPort);
        PciSetup.Assign(_pci, Ports);
        SetTextMode();
        FirmwareAddresses tables = FirmwareTables.Write(Memory, Layout);
        // Before the kernel, which may be loaded over what a BIOS leaves in low memory.
        if (kernel is MultibootLoader)
            LegacyBios.Install(Memory, Ports, _spec.SerialPorts, _hasParallelPort);
        CpuEntry entry = kernel.Load(Memory, new BootRequest
        {
            CommandLine = CommandLine,
            Initrd = initrd,
            MemoryMap = MemoryMap.ForPc(Memory),
            RsdpAddress = tables.Rsdp,
            HasTextScreen = _display is not null,
        });
        first.Enter(entry);
        foreach (VirtualCpu cpu in Cpus.Skip(1))
            cpu.EnterWaiting();
    }

    private string CommandLine => string.Join(' ', _spec.Volumes.Select((volume, i) => volume.KernelParameter(i)).Prepend(_spec.CommandLine));

    private void Reset(string by)
    {
        // A kernel that was told to reset after a panic has said its last words by now.
        End(_panicWatch?.Reason is null ? new EndRequest(VmExitKind.Reset, $"the guest reset the machine through {by}") : Crash());
    }

    private EndRequest Crash() =>
        new(VmExitKind.GuestCrash, $"the guest's kernel crashed: {_panicWatch!.Reason} (at {Cpus[0].GetLocation()})") { Location = Cpus[0].GetLocation() };

    private T Add<T>(T device)
        where T : IDevice
    {
        Ports.Map(device.Ports);
        Mmio.Map(device.Memory);
        _devices.Add(device);
        if (device is IDisposable disposable)
            _owned.Add(disposable);
        return device;
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Add(part);
        return part;
    }
}
