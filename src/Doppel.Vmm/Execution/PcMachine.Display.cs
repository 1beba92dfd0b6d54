using Doppel.Devices;
using Doppel.Devices.Chipset;
using Doppel.Devices.Display;
using Doppel.Devices.Display.Svga;
using Doppel.Devices.Display.Vga;
using Doppel.Devices.Pc;
using Doppel.Devices.Pci;
using Doppel.Devices.Usb;
using Doppel.Devices.Virtio;
using Doppel.Machine.Interrupts;
using Doppel.Machine.Memory;
using Doppel.Vmm.Firmware;

namespace Doppel.Vmm.Execution;

/// <content>The display adapter.</content>
internal sealed partial class PcMachine
{
    private const int VideoMemory = 16 << 20;
    private const string StandardRom = "vgabios-stdvga.bin", VirtioRom = "vgabios-virtio.bin", VmwareRom = "vgabios-vmware.bin";
    private static readonly PciAddress DisplayAddress = new(0, 2, 0);
    private IDisplayAdapter? _display;
    private ShadowMemory? _shadow;

    private void AddDisplay(MachineConnections connections, PhysicalAddressSpace physical, ApicBus messages)
    {
        if (_spec.DisplayAdapter == DisplayAdapterKind.None)
            return;
        Memory.RemoveRam(VgaController.WindowStart, VgaController.WindowLength);
        DeviceRam memory = Own(new DeviceRam("doppel-video", VideoMemory, physical));
        DeviceRam text = Own(new DeviceRam("doppel-text", VgaController.TextWindowLength, physical));
        var vga = new VgaController(memory, Clock, text);
        if (_shadow is not null)
            _shadow.VideoCovered += vga.SetCovered;
        IPciFunction adapter = _spec.DisplayAdapter switch
        {
            DisplayAdapterKind.Virtio => AddWorker(new VirtioVga(new VirtioGpu("virtio-gpu0", Platform), vga, memory, Mmio, Ports, messages, VgaBios.Read(VirtioRom))),
            DisplayAdapterKind.Vmware => Own(new VmwareSvga(vga, memory, Clock, Mmio, Ports, VgaBios.Read(VmwareRom))),
            _ => new StandardVga(vga, memory, Mmio, Ports, VgaBios.Read(StandardRom)),
        };
        _pci.Add(DisplayAddress, adapter);
        Ports.Map(adapter.Ports);
        Mmio.Map(adapter.Memory);
        _display = (IDisplayAdapter)adapter;
        if (connections.Display is GuestDisplay display)
            _ = Own(display.Attach(_display, IoLock));
    }

    // What the VGA BIOS does, for a kernel that is entered without firmware.
    private void SetTextMode()
    {
        if (_display is not null)
            TextModeSetup.Install(Ports, Mmio, Memory, VgaBios.FindFont(VgaBios.Read(StandardRom)));
    }

    private bool HasTablet => _spec.Pointer == PointerKind.Tablet && _spec.DisplayAdapter != DisplayAdapterKind.None;

    private void AddTablet(MachineConnections connections)
    {
        if (!HasTablet)
            return;
        var tablet = new UsbTablet(Clock);
        _pci.Add(UhciController.DefaultAddress, Own(new UhciController(tablet, Platform, Clock, Ports, Mmio)));
        if (connections.Input is { } input)
            _ = Own(input.Attach(tablet, IoLock));
    }

    // Behind the others: of several that their guest listens to, the last gets the input.
    private void AddVirtioInput(MachineConnections connections, ApicBus messages)
    {
        if (_spec.Keyboard == KeyboardKind.Virtio)
            AddVirtioInput(new VirtioKeyboard("virtio-keyboard0", Platform), VirtioKeyboard.PciClass, connections, messages);
        if (_spec.Pointer == PointerKind.Virtio && _spec.DisplayAdapter != DisplayAdapterKind.None)
            AddVirtioInput(new VirtioTablet("virtio-tablet0", Platform), VirtioTablet.PciClass, connections, messages);
    }

    private void AddVirtioInput(VirtioInput device, uint pciClass, MachineConnections connections, ApicBus messages)
    {
        AddVirtio(device, pciClass, messages);
        if (connections.Input is { } input)
            _ = Own(input.Attach(device, IoLock));
    }

    private Ps2Keyboard AddKeyboard(MachineConnections connections)
    {
        Ps2Keyboard keyboard = Own(new Ps2Keyboard(Clock));
        if (connections.Input is { } input)
            _ = Own(input.Attach(keyboard, IoLock));
        return keyboard;
    }

    // A machine that nobody looks at needs none, and its guest doesn't spend time on looking for one.
    private Ps2Mouse? AddMouse(MachineConnections connections)
    {
        if (_spec.DisplayAdapter == DisplayAdapterKind.None)
            return null;
        var mouse = new Ps2Mouse();
        if (connections.Input is { } input)
            _ = Own(input.Attach(mouse, IoLock));
        return mouse;
    }
}
