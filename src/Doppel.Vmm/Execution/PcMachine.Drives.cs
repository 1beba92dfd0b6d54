using Doppel.Devices.Ahci;
using Doppel.Devices.Ata;
using Doppel.Devices.Floppy;
using Doppel.Devices.Ide;
using Doppel.Devices.Nvme;
using Doppel.Devices.Pc;
using Doppel.Devices.Storage;
using Doppel.Devices.Virtio;
using Doppel.Machine.Interrupts;

namespace Doppel.Vmm.Execution;

/// <content>The disks and drives.</content>
internal sealed partial class PcMachine
{
    private readonly Dictionary<int, AtapiCdrom> _cdroms = [];
    private FloppyController? _floppies;

    private bool HasIde => HasFirmware || _spec.Disks.Any(disk => disk.Interface == DiskInterface.Ide);

    /// <summary>
    /// Puts another medium into a drive, or takes the medium out. The I/O lock is not held.
    /// </summary>
    /// <param name="disk">Number of the drive in <see cref="MachineSpec.Disks"/>.</param>
    /// <param name="medium">The medium; null for none.</param>
    /// <param name="isForced">True to take a medium that the guest has locked.</param>
    /// <returns>Completes when nothing uses the old medium any more. Null when the guest has locked the drive; it is told of the wish.</returns>
    internal Task? TryChangeMedium(int disk, IBlockBackend? medium, bool isForced)
    {
        lock (IoLock)
        {
            if (_spec.Disks[disk].Interface == DiskInterface.Floppy)
                return _floppies!.ChangeMedium(_spec.Disks.Take(disk).Count(each => each.Interface == DiskInterface.Floppy), medium);
            AtapiCdrom drive = _cdroms[disk];
            if (drive.IsLocked && !isForced)
            {
                drive.RequestEject();
                return null;
            }

            return drive.ChangeMedium(medium);
        }
    }

    private void AddDisks(IReadOnlyList<MachineDisk> disks, ApicBus messages)
    {
        const int MostQueues = 4;
        for (int i = 0; i < disks.Count; i++)
        {
            MachineDisk disk = disks[i];
            int queues = Math.Min(Cpus.Count, MostQueues);
            switch (disk.Spec.Interface)
            {
                case DiskInterface.Nvme:
                    AddBootPath(BootDevice.Disk, "");
                    AddFunction(new NvmeController($"nvme{i}", [new NvmeNamespace(disk.Backend, NvmeController.MakeIdentifier(IdentityOf(disk)))], Platform, Mmio, Ports, messages, queues, disk.Spec.Serial, e => StorageFull?.Invoke(e)));
                    break;
                case DiskInterface.Virtio:
                    AddBootPath(BootDevice.Disk, "");
                    AddVirtio(new VirtioBlock($"virtio-blk{i}", disk.Backend, Platform, queues, disk.Spec.Serial, e => StorageFull?.Invoke(e)), VirtioBlock.PciClass, messages);
                    break;
                default:
                    // Drives of controllers that have several.
                    break;
            }
        }
    }

    // The path keeps a disk's identity as long as nothing else does.
    private static string IdentityOf(MachineDisk disk) => disk.Spec.Serial.Length != 0 ? disk.Spec.Serial : disk.Spec.Identity ?? Path.GetFullPath(disk.Spec.Path);

    private void AddIde(IReadOnlyList<MachineDisk> disks, IsaInterrupts wires)
    {
        if (!HasIde)
            return;
        IReadOnlyList<int?> places = DrivePlaces.OfIde(_spec.Disks);
        AtaDevice?[] drives = [.. places.Select(i => i is int disk ? MakeDrive(disk, disks[disk]) : null)];
        var primary = new IdeChannel("ide0", drives[0], drives[1], wires.Line(IdeChannel.PrimaryIrq));
        var secondary = new IdeChannel("ide1", drives[2], drives[3], wires.Line(IdeChannel.SecondaryIrq), IdeChannel.SecondaryCommand, IdeChannel.SecondaryControl);
        foreach ((int place, int? number) in places.Index())
        {
            if (number is int disk)
                _bootPaths.Add((KindOf(disks[disk]), $"/pci@i0cf8/ide@1,1/drive@{place / 2}/disk@{place % 2}"));
        }

        PiixIde function = Own(new PiixIde("ide", primary, secondary, Memory, Ports, Mmio));
        _pci.Add(PiixIde.DefaultAddress, function);
        _workers.Add(function);
    }

    private void AddAhci(IReadOnlyList<MachineDisk> disks, ApicBus messages)
    {
        AtaDevice[] drives = [.. disks.Index().Where(disk => disk.Item.Spec.Interface == DiskInterface.Ahci).Select(disk => MakeDrive(disk.Index, disk.Item))];
        if (drives.Length == 0)
            return;
        foreach ((int port, MachineDisk disk) in disks.Where(disk => disk.Spec.Interface == DiskInterface.Ahci).Index())
            AddBootPath(KindOf(disk), $"/drive@{port}/disk@0");
        AddFunction(new AhciController("ahci", drives, Platform, Mmio, Ports, messages, e => StorageFull?.Invoke(e)));
    }

    private void AddFloppies(IReadOnlyList<MachineDisk> disks, IsaInterrupts wires, HostPorts pages, Mc146818 cmos)
    {
        MachineDisk[] drives = [.. disks.Where(disk => disk.Spec.Interface == DiskInterface.Floppy)];
        // Systems of their time look for the DMA controllers, whatever else there is.
        DmaPair? dma = HasFirmware || drives.Length != 0 ? Add(new DmaPair(Memory, pages.Page)) : null;
        if (drives.Length == 0)
            return;
        byte[] kinds = [.. drives.Select(disk => (FloppyGeometry.Find(disk.Backend.Length) ?? FloppyGeometry.Usual).DriveType)];
        cmos.SetFloppyDrives(kinds[0], kinds.ElementAtOrDefault(1));
        for (int i = 0; i < drives.Length; i++)
            _bootPaths.Add((BootDevice.Floppy, $"/pci@i0cf8/isa@1/fdc@03f0/floppy@{i}"));
        _floppies = Add(new FloppyController([.. drives.Select(disk => disk.HasMedium ? disk.Backend : null)], Platform, Clock, dma!.Channel(DmaPair.FloppyChannel), wires.Line(FloppyController.Irq), e => StorageFull?.Invoke(e)));
        _workers.Add(_floppies);
    }

    private static BootDevice KindOf(MachineDisk disk) => disk.Spec.IsCdrom ? BootDevice.Cd : BootDevice.Disk;

    private AtaDevice MakeDrive(int number, MachineDisk disk)
    {
        if (!disk.Spec.IsCdrom)
            return new AtaDisk($"disk{number}", disk.Backend, Platform, disk.Spec.Serial, e => StorageFull?.Invoke(e));
        var drive = new AtapiCdrom($"cdrom{number}", disk.HasMedium ? disk.Backend : null, Platform);
        _cdroms.Add(number, drive);
        return drive;
    }
}
