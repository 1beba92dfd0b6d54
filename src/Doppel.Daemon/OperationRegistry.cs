using System.Globalization;
using System.Text.Json;
using Doppel.Api;

namespace Doppel.Daemon;

/// <summary>The operations that are under way, and for a while those that have ended. Any thread.</summary>
/// <param name="events">Is told when one begins and ends.</param>
/// <param name="describe">Says what an exception means: the HTTP status and one line.</param>
internal sealed class OperationRegistry(EventHub events, Func<Exception, (int Status, string Error)> describe)
{
    private const int MostEnded = 500;
    private static readonly TimeSpan KeptFor = TimeSpan.FromMinutes(10);
    private readonly Lock _lock = new();
    private readonly Dictionary<string, OperationTask> _operations = new(StringComparer.Ordinal);
    private readonly Queue<OperationTask> _ended = new();
    private ulong _count;

    /// <summary>Begins one.</summary>
    /// <param name="kind">What is done, as <see cref="Operation.Kind"/>.</param>
    /// <param name="machine">The machine's name.</param>
    /// <param name="run">Does it. A cancellation that arrives too late may be ignored.</param>
    internal OperationTask Begin(string kind, string machine, Func<OperationTask, Task<JsonElement?>> run)
    {
        OperationTask operation;
        lock (_lock)
        {
            string id = (++_count).ToString(CultureInfo.InvariantCulture);
            operation = new OperationTask(new Operation { Id = id, Kind = kind, Machine = machine, State = OperationState.Running, Began = DateTimeOffset.UtcNow });
            _operations[id] = operation;
        }

        _ = RunAsync(operation, run);
        return operation;
    }

    /// <exception cref="ApiException">There is none of that number, or no longer.</exception>
    internal OperationTask Find(string id)
    {
        lock (_lock)
            return _operations.TryGetValue(id, out OperationTask? operation) ? operation : throw new ApiException(404, $"operation {id}: there is none of that number, or it ended long ago");
    }

    /// <summary>All, oldest first.</summary>
    internal IReadOnlyList<Operation> List()
    {
        lock (_lock)
            return [.. _operations.Values.Select(operation => operation.Now).OrderBy(operation => operation.Began)];
    }

    /// <summary>Cancels all, as the daemon ends; what a worker does for one of them it does to its end.</summary>
    internal void CancelAll()
    {
        OperationTask[] all;
        lock (_lock)
            all = [.. _operations.Values];
        foreach (OperationTask operation in all)
            operation.RequestCancel();
    }

    private async Task RunAsync(OperationTask operation, Func<OperationTask, Task<JsonElement?>> run)
    {
        // What is asked for is answered first.
        await Task.Yield();
        string machine = operation.Now.Machine, kind = operation.Now.Kind;
        events.Publish(machine, "operation", $"{operation.Now.Id} {kind} began");
        try
        {
            JsonElement? result = await run(operation).ConfigureAwait(false);
            operation.End(now => now with { State = OperationState.Done, Result = result });
        }
        catch (OperationCanceledException)
        {
            operation.End(now => now with { State = OperationState.Cancelled, Error = $"{machine}: {kind} was cancelled", Status = 409 });
        }
        catch (Exception e)
        {
            (int status, string error) = describe(e);
            operation.End(now => now with { State = OperationState.Failed, Error = error, Status = status });
        }

        events.Publish(machine, "operation", $"{operation.Now.Id} {kind} {operation.Now.State.ToString().ToLowerInvariant()}");
        lock (_lock)
        {
            _ended.Enqueue(operation);
            while (_ended.TryPeek(out OperationTask? oldest) && (_ended.Count > MostEnded || DateTimeOffset.UtcNow - oldest.Now.Ended > KeptFor))
            {
                _ = _ended.Dequeue();
                _ = _operations.Remove(oldest.Now.Id);
                oldest.Dispose();
            }
        }
    }
}
