using System.Text;
using Doppel.Devices.Chipset;
using Doppel.Devices.Pc;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.System;
using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Firmware;

namespace Doppel.Vmm.Execution;

/// <summary>
/// What hangs the board together. Without firmware: bridges that only say that there are buses, and registers at fixed
/// places. With firmware: an i440FX and a PIIX3 that the firmware sets up, as QEMU's machine "pc" has them.
/// </summary>
internal sealed partial class PcMachine
{
    // A PIIX3 counts its links from slot 1 on.
    private const int Piix3FirstLink = 3;
    private const ulong LowestPciWindow = 0x8000_0000;
    private readonly List<(BootDevice Kind, string Path)> _bootPaths = [];

    // What the tables say of the machine; with firmware it may change until that has placed everything.
    private MachineLayout Layout
    {
        get
        {
            VirtualCpu first = Cpus[0];
            var layout = new MachineLayout
            {
                CpuCount = Cpus.Count,
                CpuSignature = first.Model.Signature,
                CpuFeatures = Cpuid.Query(first, 1, 0).Edx,
                CpuName = first.Model.BrandString,
                CpuMegahertz = (int)(Clock.TscFrequency / 1_000_000),
                HasKeyboardController = true,
                HasVga = _display is not null,
                SerialPorts = _spec.SerialPorts,
                HasParallelPort = _hasParallelPort,
                HasFloppy = _floppies is not null,
                EcamBase = HasFirmware ? null : PcMemoryMap.PciEcam,
                VirtioMmioDevices = _virtioMmioDevices,
            };
            if (!HasFirmware)
                return layout;
            ushort acpi = PowerManagement.Base ?? PcPorts.Pm1Event;
            return layout with
            {
                HasHpet = true,
                HasGeneration = false,
                PmBase = acpi,
                Gpe0 = (ushort)(acpi + AcpiPm.Piix4GeneralEvent),
                FirstPciLink = Piix3FirstLink,
                // Firmware gives registers what RAM leaves free.
                PciWindow = Math.Max(LowestPciWindow, (Memory.LowRamSize + 0xFFFF) & ~0xFFFFUL),
                LinkIrq = link => link < 2 ? 10 : 11,
            };
        }
    }

    private bool HasFirmware => _spec.Firmware != FirmwareKind.None;

    private void AddBridges(ResetControlRegister resetControl)
    {
        _ = Add(new PciHostBridge(_pci, resetControl));
        Mmio.Map(PcMemoryMap.PciEcam, PciEcam.Length, new PciEcam(_pci));
        _pci.Add(PciIsaBridge.DefaultAddress, new PciIsaBridge(hasFunctions: HasIde || HasTablet));
    }

    private void AddChipset(ResetControlRegister resetControl, PirqRouter router, MachineBoot boot, MachineConnections connections)
    {
        SystemRom rom = Add(new SystemRom(Memory, boot.Firmware?.Rom ?? []));
        if (boot.Variables is VariableStore variables)
            _ = Add(new CfiFlash(Memory, GuestMemory.HighRamStart - FirmwareSearch.UefiLength, variables.Content, (offset, bytes) => Keep(variables, offset, bytes)));
        CoprocessorError coprocessor = Add(new CoprocessorError(_wires.Line(PcPorts.CoprocessorIrq)));
        foreach (VirtualCpu cpu in Cpus)
        {
            cpu.FerrRaised += () =>
            {
                lock (IoLock)
                    coprocessor.Raise();
            };
        }

        ShadowMemory shadow = _shadow = Add(new ShadowMemory(Memory, () => rom.Image));
        _ = Add(new PciHostBridge(_pci, resetControl, shadow));
        // Function 1 is the IDE controller, 2 a USB controller, 3 power management.
        _pci.Add(PciIsaBridge.DefaultAddress, new PciIsaBridge(router, hasFunctions: true));
        _pci.Add(Piix4PowerManagement.Address, new Piix4PowerManagement(PowerManagement, Ports, Mmio));
        FirmwareConfiguration items = WithMachineSize(Add(new FirmwareConfiguration(Memory)));
        _ = Add(new DebugPort(connections.FirmwareLog ?? (_ => { }), DebugPort.FirmwarePort));
        if (boot.Firmware is not null)
            FirmwareItems.Add(items, boot, _spec, Memory, CommandLine, () => Layout);
        if (boot.Firmware is not null && _spec.BootOrder.Count != 0)
            _ = items.AddFile("bootorder", MakeBootOrder);
    }

    /// <summary>Notes that firmware can boot from the device that is put into the next slot. Before it is.</summary>
    /// <param name="kind">Its kind.</param>
    /// <param name="unit">The unit behind it, as firmware's paths name it; empty for the device itself.</param>
    private void AddBootPath(BootDevice kind, string unit) => _bootPaths.Add((kind, $"/pci@i0cf8/device@{_nextSlot:x}{unit}"));

    private void Keep(VariableStore variables, int offset, ReadOnlyMemory<byte> bytes)
    {
        try
        {
            variables.Write(offset, bytes);
        }
        catch (IOException e)
        {
            End(new EndRequest(VmExitKind.InternalError, $"UEFI's variables can't be kept: {e.Message}") { Error = e });
        }
    }

    // Where an AT's BIOS looks: three kinds of devices in 3Dh and 38h (SeaBIOS: 1 floppy, 2 disk, 3 CD, 4 network).
    private void SetBootOrder(Mc146818 cmos)
    {
        const int Flags2 = 0x3D, Flags1 = 0x38, NoFloppyCheck = 1, CpuCount = 0x5F;
        int order = 0, place = 0;
        foreach (BootDevice device in _spec.BootOrder.Count == 0 ? [BootDevice.Disk, BootDevice.Cd, BootDevice.Floppy] : _spec.BootOrder.Take(3))
        {
            int code = device switch { BootDevice.Floppy => 1, BootDevice.Disk => 2, BootDevice.Cd => 3, _ => 4 };
            order |= code << (4 * place++);
        }

        cmos[Flags2] = (byte)order;
        cmos[Flags1] = (byte)(((order >> 4) & 0xF0) | NoFloppyCheck);
        cmos[CpuCount] = (byte)(Cpus.Count - 1);
    }

    // Firmware's paths in the order that is wished; nothing behind them is booted from.
    private byte[] MakeBootOrder()
    {
        var text = new StringBuilder();
        foreach (BootDevice device in _spec.BootOrder)
        {
            foreach ((_, string path) in _bootPaths.Where(path => path.Kind == device))
                _ = text.Append(path).Append('\n');
        }

        return Encoding.ASCII.GetBytes(text.Append("HALT\0").ToString());
    }

    private FirmwareConfiguration WithMachineSize(FirmwareConfiguration items) => items
        .Add(FirmwareConfiguration.CpuCount, (ushort)Cpus.Count)
        .Add(FirmwareConfiguration.MaximumCpuCount, (ushort)Cpus.Count)
        .Add(FirmwareConfiguration.MemorySize, BitConverter.GetBytes(Memory.RamSize));
}
