using Doppel.Api;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Migration;

namespace Doppel.Daemon;

/// <content>Moving the machine to another daemon, and finding out where it is when that is in doubt.</content>
internal sealed partial class ManagedMachine
{
    private static readonly TimeSpan DoubtInterval = TimeSpan.FromSeconds(1), AnswerTime = TimeSpan.FromSeconds(30);
    private Task _settling = Task.CompletedTask;

    /// <summary>True when its process moves it to another host.</summary>
    internal bool IsMoving => Folder.Handover is { IsAccepted: false } && Folder.LiveWorker is not null;

    /// <summary>Checks what can be checked without asking anybody.</summary>
    /// <exception cref="ApiException">A value can't be.</exception>
    internal static void Check(MigrateRequest request)
    {
        try
        {
            request.ToOptions().Validate();
            _ = DaemonTarget.Parse(request.Target, request.Token, request.Fingerprint);
        }
        catch (MigrationException e)
        {
            throw new ApiException(400, e.Message);
        }
    }

    /// <summary>Moves the machine; it can be cancelled until the other side is told that the machine is its.</summary>
    /// <returns>How it went.</returns>
    /// <exception cref="ApiException">It was not moved, and goes on here.</exception>
    internal async Task<MigrationProgress> MigrateAsync(MigrateRequest request, OperationTask operation)
    {
        // Others may ask the machine meanwhile: to end it, too.
        _ = await AloneAsync(() => BeginMigrationAsync(request, operation.Cancel), operation.Cancel).ConfigureAwait(false);
        return await FollowMigrationAsync(operation).ConfigureAwait(false);
    }

    /// <summary>Follows a migration that is under way to its end, and settles it when its process can't.</summary>
    internal async Task<MigrationProgress> FollowMigrationAsync(OperationTask operation)
    {
        HandoverRecord handover = Folder.Handover ?? throw NotRunning();
        MigrationProgress? end;
        await using (operation.Cancel.Register(() => _ = CancelMigrationAsync()))
            end = await WatchMigrationAsync(handover, operation).ConfigureAwait(false);
        if (end?.Phase == MigrationPhase.Completed)
            return end;
        operation.Cancel.ThrowIfCancellationRequested();
        throw Failed($"{Name}: the machine was not moved: {end?.Message ?? "its process has ended"}");
    }

    private async Task<int> BeginMigrationAsync(MigrateRequest request, CancellationToken cancel)
    {
        MachineRecord record = Folder.Record ?? throw Gone();
        if (Folder.LiveWorker is null)
            throw new ApiException(409, $"{Name}: the machine does not run; one that runs can be moved");
        if (Folder.Handover is { IsAccepted: false })
            throw new ApiException(409, $"{Name}: the machine is being moved already");
        var target = DaemonTarget.Parse(request.Target, request.Token, request.Fingerprint);
        using DaemonClient peer = target.Connect();
        MigrationAddress address;
        using var time = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        time.CancelAfter(AnswerTime);
        try
        {
            var arrival = new ArrivalRequest { Id = Guid.NewGuid(), Machine = record, CopyDisks = request.CopyDisks, PostCopy = request.PostCopy == PostCopyChoice.Never ? null : true, Folder = Folder.Path, Engine = request.Engine };
            address = await target.CompleteAsync(await peer.ArriveAsync(arrival, time.Token).ConfigureAwait(false), time.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or ApiException)
        {
            throw Failed($"{Name}: {request.Target}: {e.Message}");
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw Failed($"{Name}: {request.Target}: no answer within {AnswerTime.TotalSeconds} seconds");
        }

        // In this order: who finds the first finds the second.
        if (request.Token is string token)
            _registry.Ledger.KeepToken(address.Id, token);
        Folder.Handover = new HandoverRecord(request with { Token = null }, address);
        try
        {
            _ = await AskAsync(new ControlRequest(ControlRequest.Migrate) { Target = address, Migration = request.ToOptions() }, CancellationToken.None).ConfigureAwait(false);
        }
        catch (ApiException)
        {
            Forget(Folder.Handover);
            throw;
        }

        _events.Publish(Name, "migrating", request.Target);
        return 0;
    }

    private async Task CancelMigrationAsync()
    {
        try
        {
            _ = await AskAsync(new ControlRequest(ControlRequest.CancelMigration), CancellationToken.None).ConfigureAwait(false);
        }
        catch (ApiException)
        {
            // It has ended meanwhile.
        }
    }

    /// <summary>Completes when it is known where the machine is; with null when its process has ended here.</summary>
    private async Task<MigrationProgress?> WatchMigrationAsync(HandoverRecord handover, OperationTask operation)
    {
        try
        {
            var progress = new MigrationProgress { Phase = MigrationPhase.Checking };
            while (!progress.IsOver)
            {
                progress = (await AskAsync(new ControlRequest(ControlRequest.MigrationProgress) { After = progress.Sequence }, CancellationToken.None).ConfigureAwait(false)).Migration!;
                operation.Report(progress.ToOperation());
                if (progress.Phase == MigrationPhase.InDoubt && await AskPeerAsync(handover).ConfigureAwait(false) is bool isAccepted)
                    progress = (await AskAsync(new ControlRequest(ControlRequest.SettleMigration) { IsAccepted = isAccepted }, CancellationToken.None).ConfigureAwait(false)).Migration!;
            }

            if (progress.Phase == MigrationPhase.Failed)
            {
                // Whoever waits there for it learns that nothing comes.
                _ = await AskPeerAsync(handover).ConfigureAwait(false);
                Forget(handover);
                _events.Publish(Name, "not migrated", progress.Message ?? "");
                return progress;
            }
        }
        catch (ApiException)
        {
            // Its process has ended: by the migration, or in the midst of it.
        }

        // Who is told of the end finds the machine there, and not here.
        await _ended.ConfigureAwait(false);
        await SettleAsync().ConfigureAwait(false);
        return Folder.Handover is { IsAccepted: true } ? Folder.Permit?.Progress ?? new MigrationProgress { Phase = MigrationPhase.Completed } : null;
    }

    /// <summary>Finds out which side has a machine whose process is gone and that was being moved. Completes when that is known, however long it takes.</summary>
    private Task SettleAsync()
    {
        lock (_adopting)
        {
            if (_settling.IsCompleted)
                _settling = SettleOnceAsync();
            return _settling;
        }
    }

    private async Task SettleOnceAsync()
    {
        if (Folder.LiveWorker is not null || Folder.Handover is not HandoverRecord handover || handover.IsAccepted)
            return;
        if (Folder.Exit is { Kind: VmExitKind.Migrated } exit)
        {
            // Its process knew only the other process.
            Folder.Exit = exit with { Message = $"the machine was moved to {handover.Request.Target}" };
            Settled(handover);
            return;
        }

        if (Folder.IsInDoubt)
        {
            bool? isAccepted;
            using var timer = new PeriodicTimer(DoubtInterval);
            while ((isAccepted = await AskPeerAsync(handover).ConfigureAwait(false)) is null)
                _ = await timer.WaitForNextTickAsync().ConfigureAwait(false);
            if (isAccepted == true)
            {
                Folder.Exit = new ExitRecord($"the machine was moved to {handover.Request.Target}", 0, DateTimeOffset.UtcNow) { Kind = VmExitKind.Migrated };
                Settled(handover);
                return;
            }
        }
        else
        {
            // Whoever waits there for it learns that nothing comes.
            _ = await AskPeerAsync(handover).ConfigureAwait(false);
        }

        Forget(handover);
        _events.Publish(Name, "not migrated", "its process was killed");
    }

    private void Settled(HandoverRecord handover)
    {
        Folder.Handover = handover with { IsAccepted = true };
        _registry.Ledger.ForgetToken(handover.Address.Id);
        _events.Publish(Name, "migrated", handover.Request.Target);
    }

    private void Forget(HandoverRecord handover)
    {
        Folder.Handover = null;
        _registry.Ledger.ForgetToken(handover.Address.Id);
    }

    private async Task<bool?> AskPeerAsync(HandoverRecord handover)
    {
        try
        {
            using DaemonClient peer = DaemonTarget.Parse(handover.Request.Target, _registry.Ledger.TokenOf(handover.Address.Id), handover.Request.Fingerprint).Connect();
            return (await peer.ResolveArrivalAsync(handover.Address.Id, CancellationToken.None).ConfigureAwait(false)).IsAccepted;
        }
        catch (Exception e) when (e is IOException or ApiException)
        {
            return null;
        }
    }

    // True when the folder has disks that the other host opens there.
    private bool HoldsDisks(MachineRecord record) => Folder.Handover is not { Request.CopyDisks: true } && record.Spec.Disks.Any(disk => (disk.Overlay ?? disk.Path).StartsWith(Folder.Path + "/", StringComparison.Ordinal));

    /// <summary>Refuses to run a machine that is another host's, or may be.</summary>
    private void RefuseIfAway()
    {
        if (Folder.IsInDoubt)
            throw new ApiException(409, $"{Name}: the machine may run at {Folder.Handover!.Request.Target}, which has not said yet; it can be started here when that says that it does not");
        if (Folder.Exit?.Kind == VmExitKind.Migrated)
            throw new ApiException(409, $"{Name}: {Folder.Exit.Message}, and goes on there; \"doppel rm {Name}\" removes what is left of it here");
    }
}
