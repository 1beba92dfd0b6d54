using System.Diagnostics;
using System.Text.Json;
using Doppel.Api;
using Doppel.Devices.Storage.Images;
using Doppel.Host.Files;
using Doppel.Vmm;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Snapshots;

namespace Doppel.Daemon;

/// <summary>
/// Machines that come from other daemons. What a machine will be here is decided before its process begins, which may not
/// write that; what must outlive this daemon is in the machine's folder. Any thread.
/// </summary>
/// <param name="state">Where machines are.</param>
/// <param name="launcher">Starts their processes.</param>
/// <param name="machines">The machines that are here.</param>
/// <param name="ledger">What is kept for longer than a machine.</param>
internal sealed class MachineArrivals(StateDirectory state, WorkerLauncher launcher, MachineRegistry machines, MigrationLedger ledger) : IDisposable
{
    private static readonly TimeSpan Ending = TimeSpan.FromSeconds(3);
    private readonly SemaphoreSlim _gate = new(1);

    // By machine, those that are under way; behind the gate.
    private readonly Dictionary<string, Task> _followed = [];
    private readonly Lock _lock = new();

    /// <inheritdoc/>
    public void Dispose() => _gate.Dispose();

    /// <summary>Prepares for a machine.</summary>
    /// <returns>Where its process listens.</returns>
    /// <exception cref="ApiException">It can't come.</exception>
    /// <exception cref="SpecException">It can't be.</exception>
    internal async Task<MigrationAddress> PrepareAsync(ArrivalRequest request)
    {
        string name = request.Machine.Spec.Name;
        if (!MachineSpecValidation.IsName(name))
            throw new ApiException(400, $"\"{name}\" can't be a machine's name");
        request.Machine.Spec.Validate();
        await _gate.WaitAsync().ConfigureAwait(false);
        try
        {
            return await PrepareAsync(new MachineFolder(state, name), request).ConfigureAwait(false);
        }
        finally
        {
            _ = _gate.Release();
        }
    }

    /// <summary>Says whether a machine has arrived; one that has not never will.</summary>
    /// <exception cref="ApiException">Its process does not answer.</exception>
    internal async Task<bool> ResolveAsync(Guid id, CancellationToken cancel)
    {
        foreach (MachineFolder folder in Folders())
        {
            // In this order: what its process has decided is kept before it gives the folder back.
            if (folder.Arriving is ArrivingRecord arriving && arriving.Machine.Migration == id)
            {
                if (folder.IsHeld && arriving.Address is MigrationAddress address && await address.AskAsync(cancel).ConfigureAwait(false) is bool isAccepted)
                    return isAccepted;
                if (folder.IsHeld && folder.Accepted?.Id != id)
                    throw new ApiException(409, $"{folder.Name}: the process in which the machine arrives does not answer");
                return Conclude(folder);
            }

            if (folder.Record?.Migration == id)
                return true;
        }

        return ledger.HasArrived(id);
    }

    /// <summary>Takes over a machine whose process has accepted it, or removes what is left of one that did not come. Its process has decided.</summary>
    /// <returns>True when it is here.</returns>
    internal bool Conclude(MachineFolder folder)
    {
        lock (_lock)
        {
            if (folder.Arriving is not { Machine: { Migration: Guid id } machine })
                return folder.Record?.Migration is not null;
            if (folder.Accepted is not AcceptedRecord accepted || accepted.Id != id)
            {
                CleanUp(folder);
                return false;
            }

            ledger.KeepArrival(id, folder.Name);
            // What is left of its last life here.
            if (folder.Handover is HandoverRecord old)
                ledger.ForgetToken(old.Address.Id);
            folder.Handover = null;
            if (folder.Worker is null && folder.Exit?.Kind is null or VmExitKind.Migrated)
                folder.Exit = new ExitRecord("the machine's process was killed when it had just arrived", 137, DateTimeOffset.UtcNow);
            folder.IsStopAsked = false;
            MachineSpec spec = BootFileList.WithCopies(machine.Spec, accepted.Files, folder.ArrivedPath, id);
            spec = spec with
            {
                Networks = [.. spec.Networks.Select((network, i) => i < accepted.Addresses.Count ? network with { Mac = accepted.Addresses[i] } : network)],
                // What was ejected did not come along.
                Disks = [.. spec.Disks.Select(disk => disk.Path.StartsWith(folder.ArrivedPath + "/", StringComparison.Ordinal) && !File.Exists(disk.Path) ? disk with { Path = "" } : disk)],
            };
            folder.Record = machine with { Spec = spec };
            folder.Arriving = null;
            return true;
        }
    }

    /// <summary>True when a machine has arrived and can be taken over.</summary>
    internal static bool HasArrived(MachineFolder folder) => folder.IsArriving && folder.Accepted?.Id == folder.Arriving?.Machine.Migration && (folder.Worker is not null || !folder.IsHeld);

    /// <summary>Follows what another daemon has begun.</summary>
    internal void Adopt()
    {
        foreach (MachineFolder folder in Folders().Where(folder => folder.IsArriving))
            _ = ConcludeLaterAsync(folder);
    }

    private IEnumerable<MachineFolder> Folders()
    {
        string parent = Path.Combine(state.Path, "machines");
        return Directory.Exists(parent) ? Directory.GetDirectories(parent).Where(path => MachineSpecValidation.IsName(Path.GetFileName(path))).Select(path => new MachineFolder(path)) : [];
    }

    private async Task<MigrationAddress> PrepareAsync(MachineFolder folder, ArrivalRequest request)
    {
        string name = folder.Name;
        if (folder.Record is not null && folder.Exit?.Kind != VmExitKind.Migrated)
            throw new ApiException(409, $"{name}: there already is a machine of that name at the target; another name, or removing that one first, would be right");
        // One that was cancelled at its source may be just about to end.
        if (folder.IsHeld && _followed.TryGetValue(name, out Task? followed))
            await Task.WhenAny(followed, Task.Delay(Ending)).ConfigureAwait(false);
        if (folder.IsHeld)
            throw new ApiException(409, $"{name}: a machine of that name arrives at the target already");
        if (folder.IsArriving && Conclude(folder))
            throw new ApiException(409, $"{name}: a machine of that name has arrived at the target already");
        MachineRecord machine = Adapt(folder, request);
        IDisposable admitted = machines.Admit(machine.Spec);
        try
        {
            foreach (string path in (string[])[folder.Path, folder.ArrivedPath])
                _ = Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            folder.Arriving = new ArrivingRecord(machine);
            Process worker = launcher.StartArrival(folder, machine, request.PostCopy == true);
            Task<string> errors = worker.StandardError.ReadToEndAsync(CancellationToken.None);
            await worker.StandardInput.WriteAsync(JsonSerializer.Serialize(request with { Machine = machine }, ApiJson.Default.ArrivalRequest)).ConfigureAwait(false);
            worker.StandardInput.Close();
            string? line = await worker.StandardOutput.ReadLineAsync(CancellationToken.None).ConfigureAwait(false);
            if (line is null || !line.StartsWith('{'))
            {
                string said = (await errors.ConfigureAwait(false)).Trim();
                worker.Dispose();
                throw new ApiException(409, $"{name}: no machine can arrive: {said}");
            }

            MigrationAddress address = JsonSerializer.Deserialize(line, ApiJson.Default.MigrationAddress)!;
            folder.Arriving = new ArrivingRecord(machine) { Address = address };
            machines.Events.Publish(name, "arriving");
            foreach ((string other, Task ended) in _followed)
            {
                if (ended.IsCompleted)
                    _ = _followed.Remove(other);
            }

            _followed[name] = FollowAsync(folder, worker, errors, admitted);
            return address;
        }
        catch (Exception e)
        {
            admitted.Dispose();
            if (!folder.IsHeld)
                CleanUp(folder);
            if (e is IOException)
                throw new ApiException(500, $"{name}: {e.Message}");
            throw;
        }
    }

    // The machine as it will be here. What the other daemon says of files behind its images holds there.
    private static MachineRecord Adapt(MachineFolder folder, ArrivalRequest request)
    {
        MachineSpec spec = request.Machine.Spec.WithFullPaths("/").WithVariablesCopiedTo(folder.ArrivedPath, request.Id);
        spec = spec with
        {
            Engine = request.Engine ?? spec.Engine,
            Disks = [.. spec.Disks.Select((disk, i) => request.CopyDisks && disk.Path.Length != 0 ? disk.CopiedTo(folder.ArrivedPath, i, request.Id) : disk)],
        };
        try
        {
            IReadOnlyList<string> behind = request.CopyDisks ? [] : WorkerLauncher.FindBehind(spec);
            return request.Machine with { Spec = spec, Migration = request.Id, Behind = behind };
        }
        catch (Exception e) when (e is DiskImageException or IOException or UnauthorizedAccessException)
        {
            throw new ApiException(409, $"{folder.Name}: the target can't use the machine's disks: {e.Message}; the same storage under the same path, or --copy-disks, would be right");
        }
    }

    private async Task FollowAsync(MachineFolder folder, Process worker, Task<string> errors, IDisposable admitted)
    {
        using (worker)
        using (admitted)
        {
            if (await worker.StandardOutput.ReadLineAsync(CancellationToken.None).ConfigureAwait(false) == ManagedMachine.Ready)
            {
                _ = machines.Find(folder.Name);
                machines.Events.Publish(folder.Name, "arrived");
                machines.Reconsider();
                launcher.Spares.RefillLater();
                return;
            }

            string said = (await errors.ConfigureAwait(false)).Trim();
            await worker.WaitForExitAsync().ConfigureAwait(false);
            launcher.Spares.RefillLater();
            await ConcludeLaterAsync(folder, said).ConfigureAwait(false);
        }
    }

    private async Task ConcludeLaterAsync(MachineFolder folder, string said = "")
    {
        await Task.Factory.StartNew(() => FileLock.Take(folder.WorkerLockPath).Dispose(), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
        if (HasArrived(folder))
            _ = machines.Find(folder.Name);
        else if (folder.IsArriving && !Conclude(folder))
            machines.Events.Publish(folder.Name, "not arrived", said);
    }

    // What came to nothing leaves nothing.
    private static void CleanUp(MachineFolder folder)
    {
        if (!Directory.Exists(folder.Path))
            return;
        if (folder.Record is null)
        {
            SnapshotStore.RemoveFolder(folder.Path);
            return;
        }

        Guid? id = folder.Arriving?.Machine.Migration;
        if (id is Guid known && Directory.Exists(folder.ArrivedPath))
        {
            string mark = $"*-{known.ToString("N")[..8]}*";
            foreach (string file in Directory.GetFiles(folder.ArrivedPath, mark))
                File.Delete(file);
            foreach (string variables in Directory.GetDirectories(folder.ArrivedPath, mark))
                Directory.Delete(variables, recursive: true);
        }

        folder.Arriving = null;
    }
}
