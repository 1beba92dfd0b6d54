using Doppel.Api;
using Doppel.Vmm;
using Doppel.Vmm.Machines;

namespace Doppel.Daemon;

/// <content>Its name, and who depends on what is in its folder.</content>
internal sealed partial class ManagedMachine
{
    /// <summary>Takes another name. The caller has made sure that it is free.</summary>
    internal Task RenameAsync(string name, Action moved, CancellationToken cancel) => AloneAsync(
        () =>
        {
            if (Folder.LiveWorker is not null)
                throw new ApiException(409, $"{Name}: the machine runs; one that doesn't can be renamed");
            if (Folder.Handover is { IsAccepted: false } handover)
                throw new ApiException(409, $"{Name}: the machine is being moved to {handover.Request.Target}; when that has ended it can be renamed");
            if (Folder.Record is null)
                throw Gone();
            var next = new MachineFolder(_state, name);
            if (Directory.Exists(next.Path))
                throw new ApiException(409, $"{name}: there already is a machine of that name in {next.Path}");
            RefuseIfBehindOthers();
            string old = Name;
            MachineRename.Begin(Folder.Path, next.Path);
            Folder = next;
            moved();
            FinishRename(next);
            _events.Publish(name, "renamed", $"it was {old}");
            return Task.CompletedTask;
        },
        cancel);

    /// <summary>Does what is left of a renaming that was begun. Nobody uses the machine yet.</summary>
    /// <exception cref="IOException">The host refuses.</exception>
    internal static void FinishRename(MachineFolder folder)
    {
        if (MachineRename.Unfinished(folder.Path) is not string from)
            return;
        if (folder.Record is MachineRecord record)
        {
            folder.Record = record with
            {
                Spec = record.Spec.Moved(from, folder.Path) with { Name = folder.Name },
                Behind = record.Behind is null ? null : [.. record.Behind.Select(path => MachinePaths.PathMoved(path, from, folder.Path))],
            };
        }

        MachineRename.Complete(folder.Path);
    }

    // A clone reads what its original only reads, too.
    private void RefuseIfBehindOthers()
    {
        if (Folder.Record is MachineRecord record && record.Spec.Disks.Any(disk => MachinePaths.IsInside(disk.Overlay ?? disk.Path, Folder.Path)) && _registry.FindBehindOthers(this) is { Count: not 0 } others)
            throw Failed($"{Name}: {string.Join(", ", others)} {(others.Count == 1 ? "has" : "have")} images of it behind {(others.Count == 1 ? "its disk" : "their disks")}; removing {(others.Count == 1 ? "that" : "those")} first would be right");
    }
}
