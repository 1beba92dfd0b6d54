using Doppel.Vmm.Control;

namespace Doppel.Vmm.Migration;

/// <summary>The migrations of one machine to other hosts, one after the other. Any thread.</summary>
/// <param name="machine">The machine.</param>
/// <param name="journal">Keeps what must outlive this process.</param>
public sealed class MachineDeparture(VirtualMachine machine, IMigrationJournal journal) : IAsyncDisposable
{
    private readonly Lock _lock = new();
    private readonly CancellationTokenSource _end = new();
    private MigrationSource? _source;
    private CancellationTokenSource? _cancel;
    private Task _running = Task.CompletedTask;

    /// <summary>Told what is done next; for tests. Null for nobody.</summary>
    public Action<string>? Step { get; init; }

    /// <summary>How far the last migration is; null when there was none.</summary>
    public MigrationProgress? Progress => _source?.Progress;

    /// <summary>Answers a request of the control socket.</summary>
    /// <exception cref="MigrationException">It can't be done.</exception>
    internal async Task<MigrationProgress> AnswerAsync(ControlRequest request, CancellationToken cancel)
    {
        if (request.Verb == ControlRequest.Migrate)
            return Begin(request.Target ?? throw new MigrationException("the request has no target"), request.Migration ?? new MigrationOptions());
        if (_source is not MigrationSource source)
            return new MigrationProgress { Sequence = 1, Phase = MigrationPhase.Failed, Message = "no migration of this machine is under way" };
        if (request.Verb == ControlRequest.MigrationProgress)
            return await source.WaitAsync(request.After, cancel).ConfigureAwait(false);
        if (request.Verb == ControlRequest.SettleMigration)
            source.Settle(request.IsAccepted);
        else
            Cancel();
        return source.Progress;
    }

    /// <summary>Cancels what is under way, and waits for its end.</summary>
    public async ValueTask DisposeAsync()
    {
        Cancel();
        await _running.ConfigureAwait(false);
        _end.Dispose();
    }

    private MigrationProgress Begin(MigrationAddress target, MigrationOptions options)
    {
        lock (_lock)
        {
            if (!_running.IsCompleted)
                throw new MigrationException("the machine is being moved already; cancelling that first would be right");
            _cancel?.Dispose();
            _cancel = CancellationTokenSource.CreateLinkedTokenSource(_end.Token);
            CancellationToken cancel = _cancel.Token;
            MigrationSource source = new(machine, target, options, journal) { Step = Step };
            _source = source;
            _running = Task.Run(() => source.RunAsync(cancel));
            return source.Progress;
        }
    }

    private void Cancel()
    {
        lock (_lock)
            _cancel?.Cancel();
    }
}
