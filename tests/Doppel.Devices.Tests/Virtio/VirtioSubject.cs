using Doppel.Devices.Display.Vga;
using Doppel.Devices.Virtio;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>A device of a kind with its memory, its transport and a driver.</summary>
public sealed class VirtioSubject : IDisposable
{
    public const ulong RamSize = 8 << 20;

    private VirtioSubject(VirtioDevice device, IVirtioAccess access, GuestMemory memory, Lock gate, ulong features, List<Exception> failures, object? backend)
    {
        Device = device;
        Access = access;
        Memory = memory;
        Gate = gate;
        Failures = failures;
        Backend = backend;
        Driver = new VirtioDriver(access, memory, features);
    }

    /// <summary>Kind of device, transport and queue layout, for the rows of the suite.</summary>
    public static TheoryData<string, string, string> All
    {
        get
        {
            var rows = new TheoryData<string, string, string>();
            foreach (string kind in VirtioKinds.Names)
            {
                foreach (string transport in (string[])["msix", "intx", "mmio"])
                {
                    foreach (string layout in (string[])["plain", "split", "packed"])
                        rows.Add(kind, transport, layout);
                }
            }

            return rows;
        }
    }

    public VirtioDevice Device { get; }

    public IVirtioAccess Access { get; }

    public GuestMemory Memory { get; }

    public Lock Gate { get; }

    public VirtioDriver Driver { get; }

    /// <summary>What the device reported as its own faults.</summary>
    public List<Exception> Failures { get; }

    /// <summary>The back end that the kind of device has.</summary>
    public object? Backend { get; }

    public static VirtioSubject Make(string kind, string transport, string layout, object? backend = null)
    {
        var memory = new GuestMemory(RamSize);
        var gate = new Lock();
        var failures = new List<Exception>();
        var platform = new DevicePlatform(memory, gate, e =>
        {
            lock (failures)
                failures.Add(e);
        });
        backend ??= VirtioKinds.MakeBackend(kind);
        VirtioDevice device = VirtioKinds.Make(kind, platform, backend);
        IVirtioAccess access = transport switch
        {
            "mmio" => new MmioAccess(device, gate),
            "vga" => new PciAccess(device, gate, make: (mmio, ports, messages) => MakeVga((VirtioGpu)device, mmio, ports, messages)),
            _ => new PciAccess(device, gate, useMsix: transport == "msix"),
        };
        ulong features = layout switch
        {
            "plain" => ~(VirtioFeature.PackedRing | VirtioFeature.EventIndex | VirtioFeature.IndirectDescriptors),
            "split" => ~VirtioFeature.PackedRing,
            _ => ulong.MaxValue,
        };
        return new VirtioSubject(device, access, memory, gate, features, failures, backend);
    }

    private static VirtioVga MakeVga(VirtioGpu gpu, IoBus mmio, IoBus ports, IMessageSink messages)
    {
        var memory = new DeviceRam("test-vga", 4 << 20, null);
        return new VirtioVga(gpu, new VgaController(memory, new FakeClock()), memory, mmio, ports, messages, new byte[40_000]);
    }

    public void Dispose()
    {
        Driver.Abandon();
        Device.Dispose();
        Memory.Dispose();
        Assert.Empty(Failures);
    }
}
