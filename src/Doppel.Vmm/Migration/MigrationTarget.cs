using System.Security.Cryptography;
using System.Text;

namespace Doppel.Vmm.Migration;

/// <summary>
/// Receives a machine that another process sends. It runs here only after the source has said that it may and this side has
/// kept that it does; whoever asks afterwards gets the same answer, whatever became of the connection.
/// </summary>
public sealed class MigrationTarget : IAsyncDisposable
{
    private static readonly TimeSpan LatePatience = TimeSpan.FromSeconds(5);
    private readonly MigrationListener _listener;
    private readonly ArrivalOptions _options;
    private readonly IMigrationJournal _journal;
    private readonly CancellationTokenSource _end = new();
    private readonly Lock _lock = new();
    private readonly TaskCompletionSource<VirtualMachine> _arrived = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Arrival? _arrival;
    private bool? _isAccepted;
    private Task _accepting = Task.CompletedTask;

    /// <summary>Prepares to receive a machine.</summary>
    /// <param name="listener">Where the source connects; owned.</param>
    /// <param name="options">What the machine is to be here.</param>
    /// <param name="journal">Keeps that the machine is this side's.</param>
    public MigrationTarget(MigrationListener listener, ArrivalOptions options, IMigrationJournal journal)
    {
        _listener = listener;
        _options = options;
        _journal = journal;
    }

    /// <summary>Receives the machine. One call. Those who ask how it ended are answered until disposal.</summary>
    /// <returns>The machine, which runs, or is paused as it was.</returns>
    /// <exception cref="MigrationException">It came to nothing; the machine is the source's.</exception>
    public async Task<VirtualMachine> ReceiveAsync(CancellationToken cancel)
    {
        _accepting = AcceptAsync();
        using CancellationTokenRegistration cancelled = cancel.Register(() => Decline(new MigrationException("the target has cancelled it")));
        using var patience = new Timer(_ => DeclineUnlessBegun(), null, _options.Patience, Timeout.InfiniteTimeSpan);
        return await _arrived.Task.ConfigureAwait(false);
    }

    /// <summary>Decides that the machine is the source's, unless it is this side's already.</summary>
    /// <returns>True when it is this side's.</returns>
    public bool Resolve()
    {
        Decline(new MigrationException("the source has asked whether the machine runs here, and it did not"));
        lock (_lock)
            return _isAccepted == true;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _accepting.ConfigureAwait(false);
        _end.Dispose();
    }

    private async Task AcceptAsync()
    {
        var serving = new List<Task>();
        while (!_end.IsCancellationRequested)
        {
            try
            {
                if (await _listener.AcceptAsync(_end.Token).ConfigureAwait(false) is MigrationStream stream)
                    serving.Add(ServeAsync(stream));
                _ = serving.RemoveAll(task => task.IsCompleted);
            }
            catch (Exception e) when (e is OperationCanceledException or System.Net.Sockets.SocketException or ObjectDisposedException)
            {
                // This side ends, or whoever connected is gone; the loop's condition tells which.
            }
        }

        await Task.WhenAll(serving).ConfigureAwait(false);
    }

    private async Task ServeAsync(MigrationStream stream)
    {
        await using MigrationStream owned = stream;
        try
        {
            Frame first = await stream.ReceiveAsync(_end.Token).ConfigureAwait(false);
            if (first.Kind == FrameKind.Offer)
                await ServeOfferAsync(stream, first.Read(MigrationJson.Default.MachineOffer)).ConfigureAwait(false);
            else if (first.Kind == FrameKind.Join)
                await ServeJoinAsync(stream, first.Read(MigrationJson.Default.JoinRequest)).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // Whoever connected is gone or no source, or this side ends.
        }
    }

    private bool IsLetIn(Guid id, string? ticket) =>
        id == _listener.Address.Id && ticket is not null && CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(ticket), Encoding.UTF8.GetBytes(_listener.Address.Ticket));

    private async Task ServeJoinAsync(MigrationStream stream, JoinRequest request)
    {
        if (!IsLetIn(request.Id, request.Ticket))
            return;
        if (request.Number == JoinRequest.Question)
        {
            await stream.SendAsync(Resolve() ? FrameKind.Accepted : FrameKind.Declined, default(ReadOnlyMemory<byte>), _end.Token).ConfigureAwait(false);
            return;
        }

        Arrival? arrival;
        lock (_lock)
            arrival = _arrival;
        if (arrival is not null)
            await arrival.ReceivePagesAsync(stream, request.Number).ConfigureAwait(false);
    }

    private async Task ServeOfferAsync(MigrationStream control, MachineOffer offer)
    {
        if (!IsLetIn(offer.Id, offer.Ticket))
        {
            await control.AbortAsync("the target expects another machine", _end.Token).ConfigureAwait(false);
            return;
        }

        Arrival arrival;
        lock (_lock)
        {
            if (_arrival is not null || _isAccepted is not null)
                return;
            _arrival = arrival = new Arrival(offer, _options, _end.Token);
        }

        try
        {
            await arrival.PrepareAsync(control).ConfigureAwait(false);
            await arrival.ReceiveAsync(control).ConfigureAwait(false);
            _options.Step?.Invoke("accept");
            if (!TryAccept())
                throw new MigrationException("it was decided meanwhile that the machine is the source's");
            _options.Step?.Invoke("accepted");
            _ = _arrived.TrySetResult(arrival.Start());
            _options.Step?.Invoke("running");
            await control.SendAsync(FrameKind.Accepted, default(ReadOnlyMemory<byte>), _end.Token).ConfigureAwait(false);
            Task late = arrival.ReceiveLateAsync(control);
            if (_options.Served is Task served)
                await served.WaitAsync(_end.Token).ConfigureAwait(false);
            await control.SendAsync(FrameKind.Served, default(ReadOnlyMemory<byte>), _end.Token).ConfigureAwait(false);
            // The source closes the connection when it has nothing left to send after the machine.
            await late.WaitAsync(LatePatience, _end.Token).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            if (_arrived.Task.IsCompletedSuccessfully)
                return;
            await arrival.DisposeAsync().ConfigureAwait(false);
            MigrationException why = e as MigrationException ?? new MigrationException(e is OperationCanceledException ? "the target ends" : e.Message, e);
            Decline(why);
            _ = _arrived.TrySetException(why);
            await SayAsync(control, why.Message).ConfigureAwait(false);
        }
    }

    private static async Task SayAsync(MigrationStream control, string why)
    {
        try
        {
            using var time = new CancellationTokenSource(TimeSpan.FromSeconds(5));
            await control.AbortAsync(why, time.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // Nobody listens.
        }
    }

    private bool TryAccept()
    {
        lock (_lock)
        {
            if (_isAccepted is bool decided)
                return decided;
            _journal.Accept();
            _isAccepted = true;
            return true;
        }
    }

    private void DeclineUnlessBegun()
    {
        bool hasBegun;
        lock (_lock)
            hasBegun = _arrival is not null;
        if (!hasBegun)
            Decline(new MigrationException($"no machine came within {_options.Patience.TotalSeconds} seconds"));
    }

    private void Decline(MigrationException why)
    {
        Arrival? arrival;
        lock (_lock)
        {
            _isAccepted ??= false;
            if (_isAccepted == true)
                return;
            arrival = _arrival;
        }

        // One that has begun says why when nothing is left of it.
        if (arrival is not null)
            arrival.Cancel();
        else
            _ = _arrived.TrySetException(why);
    }
}
