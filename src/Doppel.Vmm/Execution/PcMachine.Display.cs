using Doppel.Devices;
using Doppel.Devices.Chipset;
using Doppel.Devices.Display;
using Doppel.Devices.Display.Vga;
using Doppel.Devices.Pc;
using Doppel.Devices.Pci;
using Doppel.Devices.Usb;
using Doppel.Machine.Memory;
using Doppel.Vmm.Firmware;

namespace Doppel.Vmm.Execution;

/// <content>The display adapter.</content>
internal sealed partial class PcMachine
{
    private const int VideoMemory = 16 << 20;
    private const string StandardRom = "vgabios-stdvga.bin";
    private static readonly PciAddress DisplayAddress = new(0, 2, 0);
    private IDisplayAdapter? _display;
    private ShadowMemory? _shadow;

    private void AddDisplay(MachineConnections connections, PhysicalAddressSpace physical)
    {
        if (_spec.DisplayAdapter == DisplayAdapterKind.None)
            return;
        Memory.RemoveRam(VgaController.WindowStart, VgaController.WindowLength);
        DeviceRam memory = Own(new DeviceRam("doppel-video", VideoMemory, physical));
        DeviceRam text = Own(new DeviceRam("doppel-text", VgaController.TextWindowLength, physical));
        var vga = new VgaController(memory, Clock, text);
        if (_shadow is not null)
            _shadow.VideoCovered += vga.SetCovered;
        var adapter = new StandardVga(vga, memory, Mmio, Ports, VgaBios.Read(StandardRom));
        _pci.Add(DisplayAddress, adapter);
        Ports.Map(adapter.Ports);
        Mmio.Map(adapter.Memory);
        _display = adapter;
        if (connections.Display is GuestDisplay display)
            _ = Own(display.Attach(adapter, IoLock));
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
