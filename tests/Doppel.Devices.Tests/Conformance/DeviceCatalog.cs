using Doppel.Devices.Chipset;
using Doppel.Devices.Console;
using Doppel.Devices.Display.Svga;
using Doppel.Devices.Display.Vga;
using Doppel.Devices.Floppy;
using Doppel.Devices.Input;
using Doppel.Devices.Nvme;
using Doppel.Devices.Pc;
using Doppel.Devices.Pci;
using Doppel.Devices.Tests.Pci;
using Doppel.Devices.Tests.Virtio;
using Doppel.Devices.Usb;
using Doppel.Devices.Virtio;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Tests.Conformance;

/// <summary>Every device of the project, each made anew with its own clock and wires.</summary>
public static class DeviceCatalog
{
    // One for all: random accesses to registers bring no driver up, so that nothing reaches it.
    private static readonly GuestMemory Memory = new(1 << 20);

    private static readonly Dictionary<string, Func<DeviceUnderTest>> Makers = new()
    {
        ["pic"] = MakePic,
        ["pit"] = () => WithLine((clock, line) => new Pit8254(clock, line)),
        ["port61"] = MakePort61,
        ["rtc"] = () => WithLine((clock, line) => new Mc146818(clock, line)),
        ["uart"] = MakeUart,
        ["parallel"] = () => WithLine((_, line) => new ParallelPort("parallel0", PcPorts.Parallel1, line, NullConsole.Instance, new Lock())),
        ["i8042"] = () => MakeI8042(null),
        ["i8042-keyboard"] = () => MakeI8042(clock => new Ps2Keyboard(clock)),
        ["port92"] = () => Plain(new PortNinetyTwo(new A20Gate(_ => { }), () => { })),
        ["acpi-pm"] = MakeAcpi,
        ["reset-control"] = MakeResetControl,
        ["debug-port"] = () => Plain(new DebugPort(_ => { })),
        ["isa-debug-exit"] = () => Plain(new IsaDebugExit(_ => { })),
        ["pc-testdev"] = () => Plain(new PcTestDev(_ => DisconnectedLine.Instance)),
        ["dma"] = MakeDma,
        ["floppy"] = MakeFloppy,
        ["host-ports"] = () => Plain(new HostPorts()),
        ["fw-cfg"] = () => Plain(new FirmwareConfiguration().Add(FirmwareConfiguration.CpuCount, 4)),
        ["fw-cfg-dma"] = () => Plain(new FirmwareConfiguration(Memory).AddWritableFile("opt/test", new byte[16], _ => { })),
        ["firmware-log"] = () => Plain(new DebugPort(_ => { }, DebugPort.FirmwarePort)),
        ["shadow-memory"] = () => Plain(new ShadowMemory(new GuestMemory(1 << 20), () => new byte[0x20000])),
        ["hpet"] = MakeHpet,
        ["flash"] = () => Plain(new CfiFlash(new GuestMemory(1 << 20), 0xFFC0_0000, new byte[0x4000], (_, _) => { })),
        ["coprocessor"] = MakeCoprocessor,
        ["pci-host-440fx"] = Make440Fx,
        ["piix4-pm"] = MakePiix4,
        ["pci-host"] = () => Plain(new PciHostBridge(new PciBus())),
        ["pci-isa"] = MakePciIsa,
        ["pci-function"] = MakePciFunction,
        ["pci-messages"] = MakePciMessages,
        ["virtio-pci"] = MakeVirtioPci,
        ["virtio-mmio"] = MakeVirtioMmio,
        ["nvme"] = MakeNvme,
        ["std-vga"] = MakeStandardVga,
        ["vga"] = MakeVga,
        ["virtio-vga"] = MakeVirtioVga,
        ["vmware-svga"] = MakeVmwareSvga,
        ["uhci"] = MakeUhci,
    };

    public static TheoryData<string> Names => new(Makers.Keys);

    public static DeviceUnderTest Make(string name) => Makers[name]();

    private static DeviceUnderTest Plain(IDevice device) => new() { Device = device, Clock = new FakeClock() };

    private static DeviceUnderTest WithLine(Func<FakeClock, FakeLine, IDevice> make)
    {
        var clock = new FakeClock();
        var line = new FakeLine();
        return new DeviceUnderTest { Device = make(clock, line), Clock = clock, Lines = [line] };
    }

    private static DeviceUnderTest MakePic()
    {
        var line = new FakeLine();
        var pic = new PicPair(line);
        return new DeviceUnderTest
        {
            Device = pic,
            Clock = new FakeClock(),
            Lines = [line],
            Stimulate = n =>
            {
                if (n % 3 == 0)
                    pic.Acknowledge();
                else
                    pic.Line(n / 3 % 16).Set((n & 64) != 0);
            },
        };
    }

    private static DeviceUnderTest MakePort61()
    {
        var clock = new FakeClock();
        return new DeviceUnderTest { Device = new SystemControlPortB(clock, new Pit8254(clock, new FakeLine())), Clock = clock };
    }

    private static DeviceUnderTest MakeUart()
    {
        var clock = new FakeClock();
        var line = new FakeLine();
        var console = new MemoryConsole();
        return new DeviceUnderTest
        {
            Device = new Uart16550("serial0", PcPorts.Serial1, clock, line, console, new Lock()),
            Clock = clock,
            Lines = [line],
            Stimulate = n =>
            {
                // What the UART does not take is dropped, since the back end's queue is not the UART's state.
                console.Send([(byte)n]);
                console.Read(new byte[1]);
            },
        };
    }

    private static DeviceUnderTest MakeI8042(Func<FakeClock, Ps2Keyboard>? makeKeyboard)
    {
        FakeLine first = new(), second = new();
        var clock = new FakeClock();
        Ps2Keyboard? keyboard = makeKeyboard?.Invoke(clock);
        Ps2Mouse? mouse = keyboard is null ? null : new Ps2Mouse();
        var device = new I8042(first, second, new A20Gate(_ => { }), () => { }, keyboard, mouse);
        return new DeviceUnderTest
        {
            Device = device,
            Clock = clock,
            Lines = [first, second],
            Stimulate = n =>
            {
                keyboard?.TrySend([(byte)n]);
                keyboard?.SetKey(new KeyCode((byte)(n >> 4)), (n & 1) != 0);
                if ((n & 2) != 0)
                    mouse?.Move(new PointerChange(0, 0, (n >> 2) - 200, 100 - (n & 0xFF), (n & 7) - 3, (PointerButtons)(n & 31)));
                device.Poll();
            },
        };
    }

    private static DeviceUnderTest MakeAcpi()
    {
        var clock = new FakeClock();
        var line = new FakeLine();
        var acpi = new AcpiPm(clock, line, () => { });
        return new DeviceUnderTest
        {
            Device = acpi,
            Clock = clock,
            Lines = [line],
            Stimulate = n =>
            {
                if ((n & 1) != 0)
                    acpi.PressPowerButton();
                else
                    acpi.RaiseGeneralEvent((n >> 1) & 15);
            },
        };
    }

    private static DeviceUnderTest MakeResetControl()
    {
        var device = new ResetControlRegister(() => { }, () => { });
        return new DeviceUnderTest { Device = device, Clock = new FakeClock(), Extra = [new IoRange(PcPorts.ResetControl, 1, device)] };
    }

    private static DeviceUnderTest MakeHpet()
    {
        var clock = new FakeClock();
        FakeLine[] lines = [.. Enumerable.Range(0, 26).Select(_ => new FakeLine())];
        var hpet = new Hpet(clock, i => lines[i]);
        _ = hpet.Replace(lines[24]);
        _ = hpet.Replace(lines[25]);
        return new DeviceUnderTest
        {
            Device = hpet,
            Clock = clock,
            Lines = [.. lines],
        };
    }

    private static DeviceUnderTest MakeCoprocessor()
    {
        var line = new FakeLine();
        var device = new CoprocessorError(line);
        return new DeviceUnderTest { Device = device, Clock = new FakeClock(), Lines = [line], Stimulate = _ => device.Raise() };
    }

    private static DeviceUnderTest Make440Fx()
    {
        var bus = new PciBus();
        var device = new PciHostBridge(bus, null, new ShadowMemory(new GuestMemory(1 << 20), () => new byte[0x20000]));
        return new DeviceUnderTest { Device = device, Clock = new FakeClock(), Extra = [new IoRange(0, 256, new PciEcam(bus))] };
    }

    private static DeviceUnderTest MakePiix4()
    {
        var clock = new FakeClock();
        var gate = new Lock();
        var ports = new IoBus("port", 65536, gate);
        var device = new Piix4PowerManagement(new AcpiPm(clock, new FakeLine(), () => { }, isRelocatable: true), ports, new IoBus("mmio", 1UL << 36, gate));
        DeviceUnderTest test = OnPci(device);
        const int SmbusBase = 0x90, SmbusConfiguration = 0xD2, Smbus = 0x700;
        device.WriteConfig(SmbusBase, 4, Smbus);
        device.WriteConfig(SmbusConfiguration, 1, 1);
        test.Extra.Add(new IoRange(Smbus, 16, new BusWindow(ports, Smbus)));
        return test;
    }

    private static DeviceUnderTest MakeDma()
    {
        var memory = new GuestMemory(1 << 20);
        var device = new DmaPair(memory, port => (byte)(port & 3));
        return new DeviceUnderTest
        {
            Device = device,
            Clock = new FakeClock(),
            Stimulate = n =>
            {
                int number = n % 7;
                IDmaChannel channel = device.Channel(number < 4 ? number : number + 1);
                channel.SetRequest((n & 0x400) != 0);
                _ = channel.Transfer(new byte[2 * (n & 0x1FF)], (n & 0x8000) != 0, out _);
            },
        };
    }

    private static DeviceUnderTest MakeFloppy()
    {
        var clock = new FakeClock();
        var line = new FakeLine();
        var dma = new DmaPair(Memory, _ => 0);
        return new DeviceUnderTest
        {
            Device = new FloppyController([null, null], Platform(new Lock()), clock, dma.Channel(DmaPair.FloppyChannel), line),
            Clock = clock,
            Lines = [line],
        };
    }

    /// <summary>What is on a bus at some place, wherever that comes from.</summary>
    private sealed class BusWindow(IoBus bus, ulong start) : IIoRegion
    {
        public string Name => "window";

        public ulong Read(ulong offset, int size) => bus.Read(start + offset, size);

        public void Write(ulong offset, int size, ulong value) => bus.Write(start + offset, size, value);
    }

    private static DeviceUnderTest MakePciIsa()
    {
        var bus = new PciBus();
        var device = new PciIsaBridge(new PirqRouter(_ => new FakeLine()), hasFunctions: true);
        bus.Add(default, device);
        return new DeviceUnderTest { Device = device, Clock = new FakeClock(), Extra = [new IoRange(0, PciEcam.Length, new PciEcam(bus))] };
    }

    private static DeviceUnderTest MakePciFunction()
    {
        var line = new FakeLine();
        var bus = new PciBus(_ => line);
        var gate = new Lock();
        var device = new SamplePciFunction(new IoBus("port", 65536, gate), new IoBus("mmio", 1UL << 36, gate));
        bus.Add(new PciAddress(0, 0, 0), device);
        return new DeviceUnderTest
        {
            Device = device,
            Clock = new FakeClock(),
            Lines = [line],
            Extra = [new IoRange(0, 4096, new PciEcam(bus))],
            Stimulate = n => device.SetInterrupt((n & 1) != 0),
        };
    }

    private static DeviceUnderTest MakePciMessages()
    {
        var line = new FakeLine();
        var bus = new PciBus(_ => line);
        var gate = new Lock();
        var memory = new IoBus("mmio", 1UL << 36, gate);
        var device = new MessageFunction(new IoBus("port", 65536, gate), memory, new MessageRecorder());
        bus.Add(new PciAddress(0, 0, 0), device);
        PciBar table = device.Bars[0];
        return new DeviceUnderTest
        {
            Device = device,
            Clock = new FakeClock(),
            Lines = [line],
            Extra = [new IoRange(0, 4096, new PciEcam(bus)), new IoRange(0, table.Size, table.Region)],
            Stimulate = n =>
            {
                device.SetInterrupt((n & 1) != 0);
                device.SendMessage(n % 80);
            },
        };
    }

    private static DevicePlatform Platform(Lock gate) => new(Memory, gate, e => Assert.Fail(e.Message));

    private static DeviceUnderTest MakeVirtioPci()
    {
        var gate = new Lock();
        var device = new VirtioBlock("virtio-pci0", new MemoryBlockBackend(1 << 20), Platform(gate), queues: 2);
        return OnPci(new VirtioPciTransport(device, VirtioBlock.PciClass, new IoBus("mmio", 1UL << 36, gate), new IoBus("port", 65536, gate), new MessageRecorder()));
    }

    private static DeviceUnderTest MakeNvme()
    {
        var gate = new Lock();
        NvmeNamespace disk = new(new MemoryBlockBackend(1 << 20), Guid.Empty);
        return OnPci(new NvmeController("nvme0", [disk], Platform(gate), new IoBus("mmio", 1UL << 36, gate), new IoBus("port", 65536, gate), new MessageRecorder()));
    }

    private static DeviceUnderTest MakeVga()
    {
        var clock = new FakeClock();
        return new DeviceUnderTest { Device = new VgaController(new DeviceRam("test-vga", 4 << 20, null), clock), Clock = clock };
    }

    private static DeviceUnderTest MakeStandardVga()
    {
        var gate = new Lock();
        var clock = new FakeClock();
        var memory = new DeviceRam("test-vga", 4 << 20, null);
        return OnPci(new StandardVga(new VgaController(memory, clock), memory, new IoBus("mmio", 1UL << 36, gate), new IoBus("port", 65536, gate), new byte[40_000]), clock);
    }

    private static DeviceUnderTest MakeVirtioVga()
    {
        var gate = new Lock();
        var clock = new FakeClock();
        var memory = new DeviceRam("test-vga", 4 << 20, null);
        var gpu = new VirtioGpu("virtio-gpu0", Platform(gate));
        return OnPci(new VirtioVga(gpu, new VgaController(memory, clock), memory, new IoBus("mmio", 1UL << 36, gate), new IoBus("port", 65536, gate), new MessageRecorder(), new byte[40_000]), clock);
    }

    private static DeviceUnderTest MakeVmwareSvga()
    {
        var gate = new Lock();
        var clock = new FakeClock();
        var memory = new DeviceRam("test-vga", 4 << 20, null);
        return OnPci(new VmwareSvga(new VgaController(memory, clock), memory, clock, new IoBus("mmio", 1UL << 36, gate), new IoBus("port", 65536, gate), new byte[40_000]), clock);
    }

    private static DeviceUnderTest MakeUhci()
    {
        var gate = new Lock();
        var clock = new FakeClock();
        var tablet = new UsbTablet(clock);
        var device = new UhciController(tablet, Platform(gate), clock, new IoBus("port", 65536, gate), new IoBus("mmio", 1UL << 36, gate));
        DeviceUnderTest test = OnPci(device, clock);
        return new DeviceUnderTest
        {
            Device = device,
            Clock = clock,
            Lines = test.Lines,
            Extra = test.Extra,
            Stimulate = n => tablet.Move(new PointerChange(n & 0x7FFF, (n >> 1) & 0x7FFF, 0, 0, (n & 7) - 3, (PointerButtons)(n & 31))),
        };
    }

    private static DeviceUnderTest MakeVirtioMmio()
    {
        var line = new FakeLine();
        var device = new VirtioRandom("virtio-mmio0", bytes => bytes.Clear(), Platform(new Lock()));
        return new DeviceUnderTest { Device = new VirtioMmioTransport(device, 0xD000_0000, line), Clock = new FakeClock(), Lines = [line] };
    }

    private static DeviceUnderTest OnPci(PciFunction device, FakeClock? clock = null)
    {
        var line = new FakeLine();
        var bus = new PciBus(_ => line);
        bus.Add(new PciAddress(0, 0, 0), device);
        return new DeviceUnderTest
        {
            Device = device,
            Clock = clock ?? new FakeClock(),
            Lines = [line],
            Extra = [new IoRange(0, 4096, new PciEcam(bus)), .. device.Bars.Select(bar => new IoRange(0, bar.Size, bar.Region))],
        };
    }
}
