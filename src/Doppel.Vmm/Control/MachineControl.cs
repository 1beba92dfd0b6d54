using Doppel.Devices.Storage.Images;
using Doppel.Vmm.Consoles;
using Doppel.Vmm.Limits;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Snapshots;

namespace Doppel.Vmm.Control;

/// <summary>Answers requests about one machine. Any thread.</summary>
/// <param name="machine">The machine.</param>
/// <param name="state">Where its snapshots are.</param>
/// <param name="console">Its serial console, for those who come; null when that is somebody's already.</param>
/// <param name="departure">Moves it to other hosts; null when it can't be moved.</param>
public sealed class MachineControl(VirtualMachine machine, StateDirectory state, SharedConsole? console = null, MachineDeparture? departure = null)
{
    private static readonly TimeSpan BalloonPatience = TimeSpan.FromSeconds(3);

    /// <summary>Does what is asked, or says what is wrong with it; doesn't throw but for a cancelled wait.</summary>
    /// <param name="request">What is asked.</param>
    /// <param name="cancel">Ends a wait for the machine's end; all else is done to its end.</param>
    public async Task<ControlReply> AnswerAsync(ControlRequest request, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(request);
        try
        {
            return await DoAsync(request, null, CancellationToken.None, cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (e is SnapshotException or MigrationException or SpecException or DiskImageException or IOException or UnauthorizedAccessException)
        {
            return new ControlReply { Error = e.Message };
        }
    }

    /// <summary>The same for a request that takes its time.</summary>
    /// <param name="request">What is asked.</param>
    /// <param name="progress">Told how far it is, by any thread.</param>
    /// <param name="giveUp">Asks to give it up, as long as that is possible; the answer says whether it was (<see cref="ControlReply.IsCancelled"/>).</param>
    public async Task<ControlReply> FollowAsync(ControlRequest request, Action<OperationProgress> progress, CancellationToken giveUp)
    {
        ArgumentNullException.ThrowIfNull(request);
        try
        {
            return await DoAsync(request, progress, giveUp, giveUp).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (giveUp.IsCancellationRequested)
        {
            return new ControlReply { IsCancelled = true, Error = $"{request.Verb} was cancelled" };
        }
        catch (Exception e) when (e is SnapshotException or SpecException or DiskImageException or IOException or UnauthorizedAccessException)
        {
            return new ControlReply { Error = e.Message };
        }
    }

    /// <summary>Whoever shared the host among machines does so no more.</summary>
    internal void EndShare() => machine.CpuShare = null;

    /// <summary>Goes on with a connection whose <see cref="ControlRequest.Console"/> was answered.</summary>
    internal Task AttachAsync(Stream stream, CancellationToken cancel) => console!.AttachAsync(stream, cancel);

    private static SnapshotReport Report(SaveResult result) => new(
        result.Manifest.Name, result.Folder, result.Manifest.Parent, result.Manifest.Pages, result.BytesWritten, result.Stopped.TotalSeconds, result.LongestCheck.TotalSeconds);

    private async Task<ControlReply> DoAsync(ControlRequest request, Action<OperationProgress>? progress, CancellationToken giveUp, CancellationToken cancel)
    {
        string name = machine.Spec.Name;
        switch (request.Verb)
        {
            case ControlRequest.Statistics:
                break;
            case ControlRequest.Wait:
                VmExit exit = await machine.WaitAsync(cancel).ConfigureAwait(false);
                return new ControlReply { Exit = new ExitReport(exit.Kind, exit.Message, exit.DebugStatus) };
            case ControlRequest.Readiness:
                return new ControlReply { Readiness = await machine.WaitForReadinessAsync(request.After, cancel).ConfigureAwait(false) };
            case ControlRequest.Tones:
                return new ControlReply { Tones = await machine.WaitForTonesAsync(request.After, cancel).ConfigureAwait(false) };
            case ControlRequest.Console when console is null:
                return new ControlReply { Error = "the machine's console is the terminal of the process that runs it" };
            case ControlRequest.Console:
                break;
            case ControlRequest.Pause:
                await machine.PauseAsync().ConfigureAwait(false);
                break;
            case ControlRequest.Resume:
                machine.Resume();
                break;
            case ControlRequest.Snapshot:
                var options = new SaveOptions { Name = request.Name, Description = request.Description ?? "", IsFull = request.IsFull, IsPassing = request.IsPassing, Progress = progress };
                return new ControlReply { Snapshot = Report(await machine.SaveAsync(state.SnapshotsOf(name), options, giveUp).ConfigureAwait(false)) };
            case ControlRequest.Suspend:
                options = new SaveOptions { Name = StateDirectory.SuspendedName, Description = request.Description ?? "", Ends = true, Progress = progress };
                return new ControlReply { Snapshot = Report(await machine.SaveAsync(state.SuspendedOf(name), options, giveUp).ConfigureAwait(false)) };
            case ControlRequest.Revert:
                using (SnapshotReader reader = SnapshotReader.Open(state.SnapshotsOf(name).Find(request.Name ?? "")))
                    await machine.RevertAsync(reader).ConfigureAwait(false);
                break;
            case ControlRequest.RemoveSnapshot:
                return new ControlReply { Removed = await machine.RemoveSnapshotAsync(state.SnapshotsOf(name), request.Name ?? "", request.IsRecursive).ConfigureAwait(false) };
            case ControlRequest.Migrate or ControlRequest.MigrationProgress or ControlRequest.CancelMigration or ControlRequest.SettleMigration:
                return departure is null
                    ? new ControlReply { Error = $"{name}: only a machine in the background can be moved; \"doppel run --detach\" or \"doppel create\" would be right" }
                    : new ControlReply { Migration = await departure.AnswerAsync(request, cancel).ConfigureAwait(false) };
            case ControlRequest.Update:
                if (request.Engine is not null)
                    await machine.ChangeEngineAsync(request.Engine).ConfigureAwait(false);
                if (request.Balloon is ulong balloon)
                    machine.BalloonTarget = balloon;
                if (request.DiskLimits is not null || request.NetworkLimits is not null)
                    machine.LimitDevices(request.DiskLimits ?? [], request.NetworkLimits ?? []);
                if (request.CpuCap is double cap)
                    machine.CpuCap = cap == 0 ? null : Math.Clamp(cap, CpuLimits.SmallestCap, CpuLimits.LargestCap);
                break;
            case ControlRequest.Share:
                machine.CpuShare = request.CpuShare is double share ? Math.Clamp(share, CpuLimits.SmallestCap, CpuLimits.LargestCap) : null;
                return new ControlReply { CpuUse = machine.GetCpuUse() };
            case ControlRequest.BalloonReport:
                if (request.Balloon is ulong target)
                    machine.BalloonTarget = target;
                return await machine.GetBalloonAsync(BalloonPatience).ConfigureAwait(false) is BalloonReport report
                    ? new ControlReply { BalloonReport = report }
                    : new ControlReply { Error = "the machine has no balloon; \"doppel run --balloon\" would be right" };
            case ControlRequest.ChangeMedium:
                await machine.ChangeMediumAsync(request.Drive ?? "", request.Medium, request.IsForced).ConfigureAwait(false);
                break;
            case ControlRequest.PowerButton:
                machine.PressPowerButton();
                break;
            case ControlRequest.Screenshot:
                return new ControlReply { Screen = ScreenControl.TakePicture(machine) };
            case ControlRequest.SendInput:
                await ScreenControl.DoAsync(machine, request.Input ?? new InputRequest(), CancellationToken.None).ConfigureAwait(false);
                break;
            case ControlRequest.Access:
                return new ControlReply { Access = machine.Spec.Ssh };
            case ControlRequest.Reset:
                await machine.ResetAsync().ConfigureAwait(false);
                break;
            case ControlRequest.Stop:
                _ = await machine.StopAsync().ConfigureAwait(false);
                break;
            default:
                return new ControlReply { Error = $"verb \"{request.Verb}\": {string.Join(", ", ControlRequest.Verbs)} would be right" };
        }

        return new ControlReply { Statistics = machine.GetStatistics() };
    }
}
