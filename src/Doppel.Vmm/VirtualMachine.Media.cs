using Doppel.Devices.Storage.Images;
using Doppel.Vmm.Execution;
using Doppel.Vmm.Limits;

namespace Doppel.Vmm;

/// <content>Media that are changed while the machine runs.</content>
public sealed partial class VirtualMachine
{
    // The specification with the media that are in the drives now.
    private MachineSpec SpecWithMedia => Spec with { Disks = [.. _disks.Select(disk => disk.Spec)] };

    private static IEnumerable<DiskSpec> WithoutMedia(MachineSpec spec) => spec.Disks.Select(disk => (disk.IsRemovable ? disk with { Path = "" } : disk).WithoutLimits());

    /// <summary>Puts another medium into a drive, or takes it out; kept over resets. Completes when the old one's file is closed.</summary>
    /// <param name="drive">"cdrom0", "cdrom1" and so on, or "floppy0" and "floppy1".</param>
    /// <param name="path">The image; null to take the medium out.</param>
    /// <param name="isForced">True to do it though the guest has locked the drive.</param>
    /// <exception cref="SpecException">There is no such drive, or the guest has locked it, and is told that the medium is wanted.</exception>
    /// <exception cref="DiskImageException">The image can't be opened.</exception>
    public async Task ChangeMediumAsync(string drive, string? path, bool isForced = false)
    {
        await _saving.WaitAsync().ConfigureAwait(false);
        try
        {
            Dictionary<string, int> drives = NamesOfDrives();
            if (!drives.TryGetValue(drive, out int disk))
            {
                throw new SpecException("drive", drives.Count == 0
                    ? $"{drive}: the machine has no drives; \"doppel run --cdrom none\" would be right for an empty one"
                    : $"{drive}: the machine has no such drive; {string.Join(" or ", drives.Keys)} would be right");
            }

            await ChangeMediumAsync(disk, drive, path, isForced).ConfigureAwait(false);
        }
        finally
        {
            _ = _saving.Release();
        }
    }

    private Dictionary<string, int> NamesOfDrives()
    {
        int discs = 0, floppies = 0;
        return Spec.Disks.Index().Where(disk => disk.Item.IsRemovable).ToDictionary(disk => disk.Item.IsCdrom ? $"cdrom{discs++}" : $"floppy{floppies++}", disk => disk.Index);
    }

    private async Task ChangeMediumAsync(int disk, string name, string? path, bool isForced)
    {
        MachineDisk fresh = MachineDisk.Open(Spec.Disks[disk] with { Path = path ?? "" });
        MachineDisk unused = fresh;
        try
        {
            Task ended;
            lock (_lock)
            {
                if (_machine is not PcMachine machine || _state == VmState.Ended)
                    throw new SpecException("state", "the machine has ended; a running one would be right");
                ended = machine.TryChangeMedium(disk, fresh.HasMedium ? fresh.Backend : null, isForced)
                    ?? throw new SpecException("locked", $"{name}: the guest has locked the drive, and was told that its disc is wanted; \"umount\" or \"eject\" in the guest, or --force, would be right");
                (_disks, unused) = ([.. _disks.Select((old, i) => i == disk ? fresh : old)], _disks[disk]);
            }

            await ended.ConfigureAwait(false);
        }
        finally
        {
            await unused.Backend.DisposeAsync().ConfigureAwait(false);
        }
    }
}
