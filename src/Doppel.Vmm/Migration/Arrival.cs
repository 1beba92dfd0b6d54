using System.Diagnostics;
using Doppel.Devices.Network;
using Doppel.Devices.Storage.Images;
using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Execution;
using Doppel.Vmm.Migration.PostCopy;
using Doppel.Vmm.Snapshots;

namespace Doppel.Vmm.Migration;

/// <summary>A machine on its way in: made here from the source's offer, filled with its memory, and run or thrown away.</summary>
internal sealed class Arrival : IAsyncDisposable
{
    private static readonly TimeSpan LongestTranslation = TimeSpan.FromSeconds(1);
    private readonly MachineOffer _offer;
    private readonly ArrivalOptions _options;
    private readonly CancellationTokenSource _end;
    private readonly Lock _lock = new();
    private readonly int[] _reached;
    // Held shared while pages are put into memory, alone when the memory goes.
    private readonly ReaderWriterLockSlim _memory = new();
    private readonly TaskCompletionSource<Exception> _failed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource _fenced = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private IReadOnlyList<MachineDisk> _disks = [];
    private readonly List<string> _files = [];
    private readonly List<string> _folders = [];
    private IReadOnlyList<MachineNetwork> _networks = [];
    private VirtualMachine? _machine;
    private bool _hasStarted;
    private bool _isGone;

    /// <summary>Begins with an offer whose sender was let in.</summary>
    /// <param name="offer">The offer.</param>
    /// <param name="options">What the machine is to be here.</param>
    /// <param name="cancel">Ends it.</param>
    internal Arrival(MachineOffer offer, ArrivalOptions options, CancellationToken cancel)
    {
        _offer = offer;
        _options = options;
        _end = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        _reached = new int[Math.Clamp(offer.Connections, 1, MigrationOptions.MaximumConnections)];
    }

    /// <summary>Ends it. Any thread.</summary>
    internal void Cancel() => _end.Cancel();

    /// <summary>Checks the offer, makes the machine and asks for what is needed to make it.</summary>
    /// <exception cref="MigrationException">It can't run here; the message names what differs.</exception>
    internal async Task PrepareAsync(MigrationStream control)
    {
        Compatibility.Check(_offer with { Machine = Adapted(_offer.Machine) });
        MachineSpec spec = Adapted(_offer.Machine);
        IReadOnlyList<string> kinds = BootFileList.KindsOf(spec);
        if (kinds.Count != _offer.Files.Count)
            throw new MigrationException($"the offer has {_offer.Files.Count} boot files for a machine with {kinds.Count}");
        IReadOnlyList<int> missing = BootFileList.Missing(_offer.Files, _options.Passing);
        try
        {
            _disks = Places(spec);
            spec = spec with { Disks = [.. _disks.Select(disk => disk.Spec)] };
            _networks = MachineNetwork.OpenAll(spec);
            // Before files come: what can't be is said at once.
            if (spec.FirmwareVariables is string variables)
                _folders.Add(Path.GetDirectoryName(variables)!);
            _machine = VirtualMachine.CreateForArrival(BootFileList.WithCopies(spec, missing.Select(file => kinds[file]), _options.Folder, _offer.Id), _options.Connections, _disks, _networks);
        }
        catch (Exception e) when (e is NetworkException or DiskImageException or SpecException or BootException or IOException or InvalidOperationException)
        {
            throw new MigrationException($"the target can't make this machine: {e.Message}", e);
        }

        Compatibility.Check(_offer, _machine.ArrivingMachine);
        _options.Step?.Invoke("welcome");
        await control.SendAsync(FrameKind.Welcome, new MachineWelcome(missing, Host.Compression.Zstandard.IsAvailable) { TranslatesAhead = _machine.TranslatesAhead, Pager = _options.Pager?.Address, NoPostCopy = _options.NoPostCopy }, MigrationJson.Default.MachineWelcome, _end.Token).ConfigureAwait(false);
        foreach (int file in missing)
            await ReceiveFileAsync(control, BootFileList.CopyPath(_options.Folder, kinds[file], _offer.Id), _offer.Files[file]).ConfigureAwait(false);
        _options.Prepared?.Invoke(_machine.Spec);
    }

    /// <summary>Receives memory and state; returns when the machine is whole and the source has said that it may run.</summary>
    internal async Task ReceiveAsync(MigrationStream control)
    {
        IReadOnlyList<SavedSection>? sections = null;
        while (true)
        {
            Frame frame = await NextAsync(control).ConfigureAwait(false);
            switch (frame.Kind)
            {
                case FrameKind.Fence:
                    FlushCopies();
                    await WaitForFenceAsync(frame.Number).ConfigureAwait(false);
                    await control.SendAsync(FrameKind.Reached, frame.Number, _end.Token).ConfigureAwait(false);
                    break;
                case FrameKind.Blocks:
                    DiskBlock.Read(frame.Bytes, _disks, _offer.Disks);
                    break;
                case FrameKind.Anew:
                    Exclusively(_machine!.ArriveAnew);
                    break;
                case FrameKind.Code:
                    TranslateAhead(CodePlaces.Read(frame.Bytes));
                    await control.SendAsync(FrameKind.Translated, default(ReadOnlyMemory<byte>), _end.Token).ConfigureAwait(false);
                    break;
                case FrameKind.Missing when _options.Pager is IPager pager:
                    await AwaitPagesAsync(pager, frame.Bytes).ConfigureAwait(false);
                    break;
                case FrameKind.Sections:
                    sections = SectionList.Read(frame.Bytes);
                    break;
                case FrameKind.Remainder when sections is not null:
                    Complete(sections, frame.Read(MigrationJson.Default.MachineRemainder));
                    _options.Step?.Invoke("ready");
                    await control.SendAsync(FrameKind.Ready, default(ReadOnlyMemory<byte>), _end.Token).ConfigureAwait(false);
                    frame = await NextAsync(control).ConfigureAwait(false);
                    if (frame.Kind == FrameKind.Commit)
                        return;
                    throw Unexpected(frame);
                default:
                    throw Unexpected(frame);
            }
        }
    }

    /// <summary>Receives memory on one connection until that ends.</summary>
    internal async Task ReceivePagesAsync(MigrationStream stream, int number)
    {
        if (number < 0 || number >= _reached.Length)
            return;
        byte[] scratch = new byte[PageBatch.MostPages * GuestMemory.PageSize];
        try
        {
            while (true)
            {
                Frame frame = await stream.ReceiveAsync(_end.Token).ConfigureAwait(false);
                if (frame.Kind == FrameKind.Pages)
                    Put(frame.Bytes, scratch);
                else if (frame.Kind == FrameKind.Fence)
                    Reach(number, frame.Number);
                else
                    throw Unexpected(frame);
            }
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // After the start nothing comes any more.
            _ = _failed.TrySetResult(e);
        }
    }

    private async Task AwaitPagesAsync(IPager pager, byte[] runs)
    {
        GuestMemory memory = _machine!.ArrivingMachine.Memory;
        PageSet pages = PageSet.For(memory);
        PageRuns.Read(runs, pages);
        await pager.BeginAsync(memory, pages).ConfigureAwait(false);
        _machine.AwaitMemory(memory, pager.Completed);
    }

    /// <summary>Lets the machine run.</summary>
    internal VirtualMachine Start()
    {
        Exclusively(() => _isGone = true);
        _hasStarted = true;
        _machine!.Start();
        return _machine;
    }

    /// <summary>Gives the guest, which runs, what the source sends after it; until the connection ends.</summary>
    internal async Task ReceiveLateAsync(MigrationStream control)
    {
        try
        {
            while (await control.ReceiveAsync(_end.Token).ConfigureAwait(false) is { Kind: FrameKind.Late } frame)
                LateFrames.Deliver(frame.Bytes, _networks);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // Nothing more comes.
        }
    }

    /// <summary>Throws the machine away, unless it runs.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_hasStarted)
            return;
        await _end.CancelAsync().ConfigureAwait(false);
        Exclusively(() => _isGone = true);
        if (_machine is not null)
        {
            await _machine.DisposeAsync().ConfigureAwait(false);
        }
        else
        {
            MachineNetwork.CloseAll(_networks);
            MachineDisk.CloseAll(_disks);
        }

        for (int i = 0; i < _disks.Count; i++)
        {
            if (IsReadOnlyCopy(i))
                _disks[i].Image.Dispose();
        }

        foreach (string file in _files)
            File.Delete(file);
        foreach (string folder in _folders.Where(Directory.Exists))
            Directory.Delete(folder, recursive: true);
    }

    private static IOException Unexpected(Frame frame) => new($"the source has sent {frame.Kind} where nothing of the kind was expected");

    private MachineSpec Adapted(MachineSpec spec) => spec.WithVariablesCopiedTo(_options.Folder, _offer.Id) with
    {
        Name = _options.Name,
        Engine = _options.Engine ?? spec.Engine,
        Disks = [.. spec.Disks.Select((disk, i) => i < _offer.Disks.Count && _offer.Disks[i].IsCopied ? disk.CopiedTo(_options.Folder, i, _offer.Id) : disk)],
    };


    // The images are open at the source still.
    private IReadOnlyList<MachineDisk> Places(MachineSpec spec)
    {
        if (_offer.Disks.Count != spec.Disks.Count)
            throw new IOException($"the offer has {_offer.Disks.Count} disks for a machine with {spec.Disks.Count}");
        return [.. spec.Disks.Zip(_offer.Disks, (disk, offered) =>
        {
            if (disk.Path.Length == 0)
                return MachineDisk.Open(disk);
            if (offered.IsCopied)
            {
                // One that the guest only reads is written until it is whole.
                DiskImage copy = Copy(disk, offered);
                DiskImage shown = offered.IsReadOnly ? new AbsentImage(disk.Path, disk.Format!.Value, offered.Length, true, offered.PreferredBlockSize, offered.DiscardGranularity) : copy;
                return new MachineDisk(disk, copy, Limited(disk, shown));
            }

            string path = disk.Overlay ?? disk.Path;
            if (!Overlays.IsAddress(path) && !File.Exists(path))
                throw new MigrationException($"disk {path}: there is no such file at the target; the same storage under the same path, or --copy-disks, would be right");
            var image = new AbsentImage(path, offered.Format, offered.Length, offered.IsReadOnly, offered.PreferredBlockSize, offered.DiscardGranularity);
            return new MachineDisk(disk, image, Limited(disk, image));
        })];
    }

    private static ImageBackend Limited(DiskSpec disk, DiskImage image)
    {
        var backend = new ImageBackend(image);
        backend.Limit(disk.BytesPerSecond, disk.OperationsPerSecond);
        return backend;
    }

    // A file of its own for each migration: one that came to nothing leaves what was there.
    private DiskImage Copy(DiskSpec disk, OfferedDisk offered)
    {
        _ = Directory.CreateDirectory(_options.Folder);
        DiskImages.Create(disk.Path, new DiskCreateOptions { Format = disk.Format!.Value, Length = offered.Length });
        _files.Add(disk.Path);
        return DiskImages.Open(disk.Path, new DiskOpenOptions { Format = disk.Format });
    }

    private bool IsReadOnlyCopy(int disk) => _offer.Disks[disk] is { IsCopied: true, IsReadOnly: true };

    private void CloseReadOnlyCopies()
    {
        for (int i = 0; i < _disks.Count; i++)
        {
            if (!IsReadOnlyCopy(i))
                continue;
            _disks[i].Image.Flush();
            _disks[i].Image.Dispose();
        }
    }

    private void FlushCopies()
    {
        foreach ((MachineDisk disk, OfferedDisk offered) in _disks.Zip(_offer.Disks))
        {
            if (offered.IsCopied)
                disk.Image.Flush();
        }
    }

    private void Complete(IReadOnlyList<SavedSection> sections, MachineRemainder remainder)
    {
        try
        {
            CloseReadOnlyCopies();
            _disks = [.. _disks.Select((disk, i) => disk.Image is AbsentImage || IsReadOnlyCopy(i) ? VirtualMachine.Reopened(disk) : disk)];
            _machine!.ExchangeDisks(_disks);
            _machine.Arrive(sections, remainder);
        }
        catch (Exception e) when (e is SnapshotException or DiskImageException)
        {
            throw new MigrationException($"the target can't take over the machine: {e.Message}", e);
        }
    }

    private async Task ReceiveFileAsync(MigrationStream control, string path, OfferedFile offered)
    {
        _ = Directory.CreateDirectory(_options.Folder);
        _files.Add(path);
        await using var file = new FileStream(path, FileMode.Create, FileAccess.ReadWrite);
        while (true)
        {
            Frame frame = await NextAsync(control).ConfigureAwait(false);
            if (frame.Kind != FrameKind.File)
                throw Unexpected(frame);
            if (frame.Bytes.Length == 0)
                break;
            await file.WriteAsync(frame.Bytes, _end.Token).ConfigureAwait(false);
        }

        file.Position = 0;
        if (file.Length != offered.Length || Convert.ToHexStringLower(await System.Security.Cryptography.SHA256.HashDataAsync(file, _end.Token).ConfigureAwait(false)) != offered.Sha256)
            throw new MigrationException($"{offered.Path}: the file was changed while it was sent");
    }

    private void Put(byte[] batch, byte[] scratch)
    {
        _memory.EnterReadLock();
        try
        {
            if (_isGone)
                throw new IOException("the source has sent memory where nothing of the kind was expected");
            PageBatch.Read(batch, _machine!.ArrivingMachine.Memory, scratch);
        }
        finally
        {
            _memory.ExitReadLock();
        }
    }

    // The guest runs at the source meanwhile.
    private void TranslateAhead(ulong[] places)
    {
        const int Chunk = 64;
        long begin = Stopwatch.GetTimestamp();
        for (int at = 0; at < places.Length && Stopwatch.GetElapsedTime(begin) < LongestTranslation && !_end.IsCancellationRequested; at += Chunk)
            _machine!.TranslateAhead(places.AsSpan(at, Math.Min(Chunk, places.Length - at)));
    }

    private void Exclusively(Action action)
    {
        _memory.EnterWriteLock();
        try
        {
            action();
        }
        finally
        {
            _memory.ExitWriteLock();
        }
    }

    // The next frame, or what went wrong on another connection.
    private async Task<Frame> NextAsync(MigrationStream control)
    {
        Task<Frame> next = control.ReceiveAsync(_end.Token);
        if (await Task.WhenAny(next, _failed.Task).ConfigureAwait(false) == _failed.Task)
        {
            // The source closes all connections at once; what it says at last counts.
            using var time = new CancellationTokenSource(TimeSpan.FromSeconds(1));
            try
            {
                return await next.WaitAsync(time.Token).ConfigureAwait(false);
            }
            catch (Exception e) when (e is IOException or OperationCanceledException)
            {
                throw new IOException(_failed.Task.Result.Message, _failed.Task.Result);
            }
        }

        Frame frame = await next.ConfigureAwait(false);
        return frame.Kind == FrameKind.Abort ? throw new MigrationException(frame.Text) : frame;
    }

    private void Reach(int connection, int fence)
    {
        TaskCompletionSource told;
        lock (_lock)
        {
            _reached[connection] = fence;
            told = _fenced;
            _fenced = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        told.SetResult();
    }

    private async Task WaitForFenceAsync(int fence)
    {
        while (true)
        {
            Task next;
            lock (_lock)
            {
                if (_reached.Min() >= fence)
                    return;
                next = _fenced.Task;
            }

            if (await Task.WhenAny(next, _failed.Task).WaitAsync(_end.Token).ConfigureAwait(false) == _failed.Task)
                throw new IOException(_failed.Task.Result.Message, _failed.Task.Result);
        }
    }
}
