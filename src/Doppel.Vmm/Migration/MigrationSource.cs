using System.Diagnostics;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Memory;
using Doppel.Vmm.Execution;
using Doppel.Vmm.Migration.PostCopy;
using Doppel.Vmm.Snapshots;

namespace Doppel.Vmm.Migration;

/// <summary>
/// Moves a running machine to another process: memory goes over while the guest runs, in rounds, then the guest stands still
/// for what is left. Until the target has been told that the machine is its, whatever fails lets the machine go on here as if
/// nothing had happened; after that, only what the target says decides. docs/migration.md has the protocol.
/// </summary>
public sealed class MigrationSource
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30), ReportInterval = TimeSpan.FromMilliseconds(200), DoubtInterval = TimeSpan.FromSeconds(1);
    // The first sends everything, the second what was written meanwhile: what does not get less by then is sent after the machine.
    private const int RoundsBeforePostCopy = 2;
    private readonly VirtualMachine _machine;
    private readonly MigrationAddress _target;
    private readonly MigrationOptions _options;
    private readonly IMigrationJournal _journal;
    private readonly ProgressLog _log = new();
    private readonly TaskCompletionSource<bool> _settled = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly DirtyRateEstimate _estimate = new();
    private readonly BandwidthLimit _limit;
    private MachineRemainder? _taken;
    private bool _sendsCode;
    private MigrationAddress? _pager;
    private bool _compresses;
    private int _fence;

    /// <summary>Prepares a migration.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="target">Where it goes.</param>
    /// <param name="options">How.</param>
    /// <param name="journal">Keeps what must outlive this process.</param>
    /// <exception cref="MigrationException">An option can't be.</exception>
    public MigrationSource(VirtualMachine machine, MigrationAddress target, MigrationOptions options, IMigrationJournal journal)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        _machine = machine;
        _target = target;
        _options = options;
        _journal = journal;
        _limit = new BandwidthLimit(options.Bandwidth);
    }

    /// <summary>How far it is. Any thread.</summary>
    public MigrationProgress Progress => _log.Latest;

    /// <summary>Told what is done next; for tests. Null for nobody.</summary>
    internal Action<string>? Step { get; init; }

    /// <summary>Waits for a progress with a greater sequence number. Any thread.</summary>
    public Task<MigrationProgress> WaitAsync(long after, CancellationToken cancel = default) => _log.WaitAsync(after, cancel);

    /// <summary>Says what the target's side has decided, for a migration that is <see cref="MigrationPhase.InDoubt"/>. Any thread.</summary>
    /// <param name="isAccepted">True when the machine is the target's; false when it never will be.</param>
    public void Settle(bool isAccepted) => _settled.TrySetResult(isAccepted);

    /// <summary>Moves the machine. One call.</summary>
    /// <param name="cancel">Ends it, until the target has been told that the machine is its.</param>
    /// <returns>How it ended: completed or failed.</returns>
    public async Task<MigrationProgress> RunAsync(CancellationToken cancel)
    {
        try
        {
            await _machine.BeginMigrationAsync(cancel).ConfigureAwait(false);
            try
            {
                await MoveAsync(cancel).ConfigureAwait(false);
            }
            finally
            {
                _machine.EndMigration();
            }
        }
        catch (Exception e)
        {
            string why = e is OperationCanceledException ? "it was cancelled" : e.Message;
            _log.Update(p => p with { Phase = MigrationPhase.Failed, Message = why, RemainingSeconds = null });
        }

        return _log.Latest;
    }

    private async Task MoveAsync(CancellationToken cancel)
    {
        _ = _machine.MovingMachine();
        await using MigrationStream control = await _target.ConnectAsync(cancel).ConfigureAwait(false);
        MachineOffer offer = MakeOffer();
        _log.Update(p => p with { MemoryBytes = offer.Machine.Memory });
        Step?.Invoke("offer");
        await control.SendAsync(FrameKind.Offer, offer, MigrationJson.Default.MachineOffer, cancel).ConfigureAwait(false);
        MachineWelcome welcome = (await control.ExpectAsync(FrameKind.Welcome, cancel).ConfigureAwait(false)).Read(MigrationJson.Default.MachineWelcome);
        await SendFilesAsync(control, offer, welcome, cancel).ConfigureAwait(false);
        bool compresses = _options.Compression != MigrationCompression.None && welcome.HasZstandard && Host.Compression.Zstandard.IsAvailable;
        _sendsCode = welcome.TranslatesAhead;
        _pager = PagerOf(welcome);
        _compresses = compresses;
        using var disks = new DiskSender(_options.CopyDisks ? _machine.Disks : [], control, _limit, compresses);
        _log.Update(p => p with { DiskBytes = disks.Bytes });
        await using PageSender sender = await JoinAsync(compresses, cancel).ConfigureAwait(false);
        var throttle = new VcpuThrottle(_machine);
        await using (throttle.ConfigureAwait(false))
        {
            try
            {
                if (disks.Bytes != 0)
                {
                    _log.Update(p => p with { Phase = MigrationPhase.Disks, RemainingBytes = disks.Bytes });
                    Step?.Invoke("disks");
                    await disks.SendAllAsync(left => _log.Update(p => p with { RemainingBytes = left, SentBytes = control.SentBytes }), cancel).ConfigureAwait(false);
                }

                while (!await PreCopyHeldAsync(control, sender, disks, throttle, cancel).ConfigureAwait(false))
                {
                    // The guest was reset: its memory is another.
                    sender.Reset();
                    await control.SendAsync(FrameKind.Anew, default(ReadOnlyMemory<byte>), cancel).ConfigureAwait(false);
                }
            }
            catch (IOException e)
            {
                throw await ReasonAsync(control, e).ConfigureAwait(false);
            }
        }
    }

    private MachineOffer MakeOffer()
    {
        PcMachine machine = _machine.MovingMachine();
        MachineSpec spec = _machine.PresentSpec;
        foreach (MachineDisk disk in _machine.Disks)
        {
            if ((disk.Spec.IsEphemeral || disk.Spec.IsTemporary) && !_options.CopyDisks)
                throw new MigrationException($"{disk.Spec.Path}: the disk is ephemeral or its file temporary, so there is no file that the target could open; --copy-disks would be right");
        }

        return new MachineOffer
        {
            Version = MachineOffer.CurrentVersion,
            Id = _target.Id,
            Ticket = _target.Ticket,
            Machine = spec,
            CpuFeatures = FeatureNames.Of(CpuModels.Find(spec.CpuModel)),
            Parts = [.. machine.Sections.Select(part => new OfferedPart(part.SectionName, part.SectionVersion))],
            Disks = [.. _machine.Disks.Select(disk => new OfferedDisk(disk.Image.Length, disk.Image.IsReadOnly, disk.Image.PreferredBlockSize, disk.Image.DiscardGranularity, disk.Image.Format, _options.CopyDisks && disk.HasMedium))],
            Files = BootFileList.Of(spec),
            Connections = _options.Connections,
        };
    }

    private async Task SendFilesAsync(MigrationStream control, MachineOffer offer, MachineWelcome welcome, CancellationToken cancel)
    {
        byte[] buffer = new byte[1 << 20];
        foreach (int number in welcome.Files)
        {
            if (number < 0 || number >= offer.Files.Count)
                throw new IOException($"the target asks for file {number} of {offer.Files.Count}");
            using FileStream file = File.OpenRead(offer.Files[number].Path);
            for (int count; (count = await file.ReadAsync(buffer, cancel).ConfigureAwait(false)) != 0;)
            {
                await _limit.WaitAsync(count, cancel).ConfigureAwait(false);
                await control.SendAsync(FrameKind.File, buffer.AsMemory(0, count), cancel).ConfigureAwait(false);
            }

            await control.SendAsync(FrameKind.File, default(ReadOnlyMemory<byte>), cancel).ConfigureAwait(false);
        }
    }

    private async Task<PageSender> JoinAsync(bool compresses, CancellationToken cancel)
    {
        var connections = new List<MigrationStream>();
        try
        {
            for (int i = 0; i < _options.Connections; i++)
            {
                MigrationStream connection = await _target.ConnectAsync(cancel).ConfigureAwait(false);
                connections.Add(connection);
                await connection.SendAsync(FrameKind.Join, new JoinRequest(_target.Id, _target.Ticket, i), MigrationJson.Default.JoinRequest, cancel).ConfigureAwait(false);
            }

            return new PageSender(connections, _limit, _options.Compression, compresses);
        }
        catch
        {
            foreach (MigrationStream connection in connections)
                await connection.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Sends memory in rounds until the rest takes no longer than the downtime, then the rest; false when the guest was reset on the way.</summary>
    private async Task<bool> PreCopyHeldAsync(MigrationStream control, PageSender sender, DiskSender disks, VcpuThrottle throttle, CancellationToken cancel)
    {
        PcMachine machine = _machine.MovingMachine();
        // A guest that resets the machine meanwhile does not take its memory from under who reads it.
        if (!machine.Memory.TryHold())
            return false;
        try
        {
            return await PreCopyAsync(machine, control, sender, disks, throttle, cancel).ConfigureAwait(false);
        }
        finally
        {
            machine.Memory.Release();
        }
    }

    private async Task<bool> PreCopyAsync(PcMachine machine, MigrationStream control, PageSender sender, DiskSender disks, VcpuThrottle throttle, CancellationToken cancel)
    {
        using var reports = new Timer(_ => Report(sender), null, ReportInterval, ReportInterval);
        _log.Update(p => p with { Phase = MigrationPhase.Memory });
        Step?.Invoke("memory");
        PageSet? pages = await _machine.TakeDirtyAsync(machine, all: true).ConfigureAwait(false);
        var convergence = new Convergence(_options.Downtime);
        for (int round = 1; pages is not null; round++)
        {
            int number = round;
            _log.Update(p => p with { Round = number, Throttle = throttle.Percent });
            long begin = Stopwatch.GetTimestamp();
            ulong sent = (pages.Count * GuestMemory.PageSize) + disks.DirtyBytes;
            await sender.SendAsync(machine.Memory, pages, ++_fence, cancel).ConfigureAwait(false);
            await disks.SendDirtyAsync(cancel).ConfigureAwait(false);
            await ReachAsync(control, cancel).ConfigureAwait(false);
            pages = await _machine.TakeDirtyAsync(machine, all: false).ConfigureAwait(false);
            if (pages is null)
                break;
            ulong left = (pages.Count * GuestMemory.PageSize) + disks.DirtyBytes;
            _estimate.Add(sent, left, Stopwatch.GetElapsedTime(begin).TotalSeconds);
            Report(sender, left);
            // The guest has written meanwhile: another round follows.
            if (round == 1 && await SendCodeAsync(control, cancel).ConfigureAwait(false))
                continue;
            if (convergence.IsEnough(_estimate, left))
            {
                _pager = null;
                break;
            }

            if (_pager is not null && round >= RoundsBeforePostCopy)
                break;
            throttle.Percent = convergence.NextThrottle(throttle.Percent);
        }

        return pages is not null && await HandOverAsync(control, sender, disks, machine, pages, cancel).ConfigureAwait(false);
    }

    // A guest whose code has all to be translated anew does nothing else at first, for longer than it stood still.
    private async Task<bool> SendCodeAsync(MigrationStream control, CancellationToken cancel)
    {
        if (!_sendsCode || _machine.GetTranslatedPlaces(CodePlaces.Most) is not { Length: not 0 } places)
            return false;
        await control.SendAsync(FrameKind.Code, CodePlaces.Write(places), cancel).ConfigureAwait(false);
        _ = await control.ExpectAsync(FrameKind.Translated, cancel).ConfigureAwait(false);
        return true;
    }

    private async Task<bool> HandOverAsync(MigrationStream control, PageSender sender, DiskSender disks, PcMachine machine, PageSet pages, CancellationToken cancel)
    {
        int[] moved = _options.CopyDisks ? [] : [.. Enumerable.Range(0, _machine.Disks.Count).Where(i => !_machine.Disks[i].Backend.IsReadOnly)];
        // What disks write later takes none of the time in which the guest stands still.
        foreach (int i in moved)
            await _machine.Disks[i].Backend.FlushAsync(cancel).ConfigureAwait(false);
        _limit.Lift();
        _log.Update(p => p with { Phase = MigrationPhase.Stopping });
        Step?.Invoke("stop");
        long begin = Stopwatch.GetTimestamp();
        bool mayRun = true;
        LateFrames? late = null;
        LatePages? latePages = null;
        try
        {
            // Before the cards stop taking frames: one that came in between would be lost.
            late = new LateFrames(_machine.Networks);
            if (!await _machine.StandStillForMigrationAsync(machine).ConfigureAwait(false))
            {
                late.Return();
                return false;
            }

            using var time = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            time.CancelAfter(Patience + _options.Downtime);
            try
            {
                latePages = await SendRestAsync(control, sender, disks, machine, pages, moved, time.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
            {
                throw new MigrationException($"{_target}: the target did not get ready within {Patience.TotalSeconds} seconds");
            }

            _log.Update(p => p with { Phase = MigrationPhase.HandingOver });
            Step?.Invoke("permit");
            _journal.Permit();
            mayRun = false;
            bool isAccepted = await CommitAsync(control).ConfigureAwait(false);
            TimeSpan stopped = Stopwatch.GetElapsedTime(begin);
            mayRun = true;
            if (!isAccepted)
            {
                _journal.TakeBack();
                throw new MigrationException("the target has declined in the end");
            }

            Task<string?> left = latePages is null ? Task.FromResult<string?>(null) : SendLateAsync(latePages, stopped);
            await ServedAsync(control, late).ConfigureAwait(false);
            string? lost = await left.ConfigureAwait(false);
            // Said before its process ends.
            _log.Update(p => p with { Phase = MigrationPhase.Completed, RemainingBytes = 0, RemainingSeconds = 0, DowntimeSeconds = stopped.TotalSeconds, SentBytes = sender.SentBytes + control.SentBytes + (latePages?.SentBytes ?? 0), Message = lost, LatePages = latePages?.Count ?? 0 });
            _machine.EndMoved(machine, _target.ToString());
            return true;
        }
        catch (Exception e) when (mayRun)
        {
            await AbandonAsync(control, e).ConfigureAwait(false);
            await ReopenAsync().ConfigureAwait(false);
            if (_taken is not null)
                _machine.ReturnRemainder(_taken);
            _taken = null;
            late?.Return();
            throw;
        }
        finally
        {
            if (latePages is not null)
                await latePages.DisposeAsync().ConfigureAwait(false);
            if (mayRun)
                _machine.GoOn();
        }
    }

    /// <summary>The pager that may be used, when it was asked for.</summary>
    /// <exception cref="MigrationException">It was required, and there is none.</exception>
    private MigrationAddress? PagerOf(MachineWelcome welcome)
    {
        if (_options.PostCopy == PostCopyChoice.Never || welcome.Pager is MigrationAddress)
            return _options.PostCopy == PostCopyChoice.Never ? null : welcome.Pager! with { Host = welcome.Pager!.Host ?? _target.Host };
        string why = $"no post-copy: {welcome.NoPostCopy ?? "the target's Doppel knows none"}";
        if (_options.PostCopy == PostCopyChoice.Required)
            throw new MigrationException($"{why}; --post-copy auto would slow the guest down instead");
        _log.Update(p => p with { Notice = $"{why}; a guest that writes too fast is slowed down instead" });
        return null;
    }

    /// <summary>Sends what is left after the machine.</summary>
    /// <returns>Null, or why the machine is lost.</returns>
    private async Task<string?> SendLateAsync(LatePages pages, TimeSpan stopped)
    {
        using var reports = new Timer(_ => _log.Update(p => p with { RemainingBytes = pages.Left }), null, ReportInterval, ReportInterval);
        _log.Update(p => p with { Phase = MigrationPhase.PostCopy, RemainingBytes = pages.Left, DowntimeSeconds = stopped.TotalSeconds });
        Step?.Invoke("late");
        try
        {
            await pages.FinishAsync().ConfigureAwait(false);
            return null;
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            return $"the connection broke when the machine ran at the target but not all of its memory was there, so it is lost: {e.Message}";
        }
    }

    private async Task<LatePages?> SendRestAsync(MigrationStream control, PageSender sender, DiskSender disks, PcMachine machine, PageSet pages, int[] moved, CancellationToken cancel)
    {
        PageSet last = machine.DirtyPages.Take();
        last.Add(pages);
        LatePages? late = _pager is null ? null : await LatePages.ConnectAsync(_pager, machine.Memory, last, _compresses, cancel).ConfigureAwait(false);
        try
        {
            await SendRestAsync(control, sender, disks, machine, late?.Now ?? last, late?.Runs, moved, cancel).ConfigureAwait(false);
            return late;
        }
        catch when (late is not null)
        {
            await late.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private async Task SendRestAsync(MigrationStream control, PageSender sender, DiskSender disks, PcMachine machine, PageSet pages, byte[]? missing, int[] moved, CancellationToken cancel)
    {
        Task sending = sender.SendAsync(machine.Memory, pages, ++_fence, cancel);
        List<SavedSection> sections = MachineSections.Save(machine);
        await disks.SendDirtyAsync(cancel).ConfigureAwait(false);
        await sending.ConfigureAwait(false);
        await control.SendAsync(FrameKind.Fence, _fence, cancel).ConfigureAwait(false);
        if (missing is not null)
            await control.SendAsync(FrameKind.Missing, missing, cancel).ConfigureAwait(false);
        Step?.Invoke("sections");
        await control.SendAsync(FrameKind.Sections, SectionList.Write(sections), cancel).ConfigureAwait(false);
        _machine.CloseDisks(moved);
        Step?.Invoke("remainder");
        _taken = _machine.TakeRemainder();
        await control.SendAsync(FrameKind.Remainder, _taken, MigrationJson.Default.MachineRemainder, cancel).ConfigureAwait(false);
        _ = await control.ExpectAsync(FrameKind.Reached, cancel).ConfigureAwait(false);
        _ = await control.ExpectAsync(FrameKind.Ready, cancel).ConfigureAwait(false);
    }

    /// <summary>Tells the target that the machine is its, and waits until it is known whether it is.</summary>
    private async Task<bool> CommitAsync(MigrationStream control)
    {
        try
        {
            using var time = new CancellationTokenSource(Patience);
            Step?.Invoke("commit");
            await control.SendAsync(FrameKind.Commit, default(ReadOnlyMemory<byte>), time.Token).ConfigureAwait(false);
            Step?.Invoke("committed");
            Frame answer = await control.ReceiveAsync(time.Token).ConfigureAwait(false);
            if (answer.Kind is FrameKind.Accepted or FrameKind.Declined)
                return answer.Kind == FrameKind.Accepted;
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // Whether it was heard is to be found out.
        }

        _log.Update(p => p with { Phase = MigrationPhase.InDoubt, Message = $"{_target}: the target's answer got lost; the machine stands still until it can be asked whether it runs there" });
        while (true)
        {
            if (await _target.AskAsync(CancellationToken.None).ConfigureAwait(false) is bool isAccepted)
                return isAccepted;
            if (await Task.WhenAny(_settled.Task, Task.Delay(DoubtInterval)).ConfigureAwait(false) == _settled.Task)
                return await _settled.Task.ConfigureAwait(false);
        }
    }

    // The target holds the images until it knows that nothing comes.
    private static async Task AbandonAsync(MigrationStream control, Exception why)
    {
        try
        {
            using var time = new CancellationTokenSource(TimeSpan.FromSeconds(1));
            await control.AbortAsync(why is OperationCanceledException ? "the source has cancelled it" : why.Message, time.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // Then it learns it by the connection's end.
        }

        await control.DisposeAsync().ConfigureAwait(false);
    }

    // The target closes its images as soon as it learns that there is nothing to come.
    private async Task ReopenAsync()
    {
        long begin = Stopwatch.GetTimestamp();
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(50));
        while (true)
        {
            try
            {
                _machine.ReopenDisks();
                return;
            }
            catch (Devices.Storage.Images.DiskImageException) when (Stopwatch.GetElapsedTime(begin) < Patience)
            {
                _ = await timer.WaitForNextTickAsync(CancellationToken.None).ConfigureAwait(false);
            }
            catch (Devices.Storage.Images.DiskImageException)
            {
                // Its user decides what becomes of a machine without its disks.
                await _machine.PauseAsync().ConfigureAwait(false);
                throw;
            }
        }
    }

    private async Task ReachAsync(MigrationStream control, CancellationToken cancel)
    {
        await control.SendAsync(FrameKind.Fence, _fence, cancel).ConfigureAwait(false);
        int reached = (await control.ExpectAsync(FrameKind.Reached, cancel).ConfigureAwait(false)).Number;
        if (reached != _fence)
            throw new IOException($"the target has reached fence {reached}; {_fence} would be right");
    }

    // The machine runs there; who is told that it does is to find it.
    private static async Task ServedAsync(MigrationStream control, LateFrames late)
    {
        try
        {
            using var time = new CancellationTokenSource(TimeSpan.FromSeconds(10));
            Task<Frame> served = control.ReceiveAsync(time.Token);
            await late.SendAsync(control, served, time.Token).ConfigureAwait(false);
            _ = await served.ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // Whatever its process does now, the machine is its.
        }
    }

    // What the target said before it closed the connections.
    private static async Task<Exception> ReasonAsync(MigrationStream control, IOException broken)
    {
        try
        {
            using var time = new CancellationTokenSource(TimeSpan.FromSeconds(1));
            Frame frame;
            do
                frame = await control.ReceiveAsync(time.Token).ConfigureAwait(false);
            while (frame.Kind != FrameKind.Abort);
            return new MigrationException(frame.Text, broken);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException)
        {
            return broken;
        }
    }

    private void Report(PageSender sender, ulong? left = null) => _log.Update(p => p with
    {
        RemainingBytes = left ?? (sender.Remaining * GuestMemory.PageSize),
        SentBytes = sender.SentBytes,
        Pages = sender.Pages,
        ZeroPages = sender.ZeroPages,
        Throughput = _estimate.Throughput,
        DirtyRate = _estimate.DirtyRate,
        RemainingSeconds = _estimate.SecondsUntil(left ?? (sender.Remaining * GuestMemory.PageSize), _options.Downtime),
    });
}
