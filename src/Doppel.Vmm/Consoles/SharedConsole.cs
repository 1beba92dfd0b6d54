using Doppel.Devices.Console;

namespace Doppel.Vmm.Consoles;

/// <summary>
/// A serial line with any number of people at its far end, who come and go: each sees the output and may type. All output also
/// goes to a log. Members may be called by any thread.
/// </summary>
/// <param name="log">Where all output goes; not disposed here.</param>
public sealed class SharedConsole(IConsoleBackend log) : IConsoleBackend
{
    /// <summary>Bytes of earlier output that somebody who comes is shown.</summary>
    public const int Remembered = 4096;

    private const int InputLimit = 4096;
    private readonly Lock _lock = new();
    private readonly Queue<byte> _recent = new();
    private readonly Queue<byte> _input = new();
    private readonly List<StreamConsole> _attached = [];
    private TaskCompletionSource? _drained;

    /// <inheritdoc/>
    public event Action? InputAvailable;

    /// <inheritdoc/>
    public event Action? OutputDrained
    {
        add => log.OutputDrained += value;
        remove => log.OutputDrained -= value;
    }

    /// <inheritdoc/>
    public bool CanAcceptOutput => log.CanAcceptOutput;

    /// <summary>Joins a connection until its other end closes it. One that doesn't read what it is sent misses output.</summary>
    /// <param name="stream">The connection; left open.</param>
    /// <param name="cancel">Ends it.</param>
    public async Task AttachAsync(Stream stream, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(stream);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        await using var output = new StreamConsole(stream, leaveOpen: true);
        output.Failed += _ => end.Cancel();
        lock (_lock)
        {
            output.Write(_recent.ToArray());
            _attached.Add(output);
        }

        byte[] buffer = new byte[512];
        try
        {
            while (await stream.ReadAsync(buffer, end.Token).ConfigureAwait(false) is int count && count != 0)
            {
                Task? drained;
                lock (_lock)
                {
                    foreach (byte each in buffer.AsSpan(0, count))
                        _input.Enqueue(each);
                    drained = _input.Count < InputLimit ? null : (_drained ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
                }

                InputAvailable?.Invoke();
                if (drained is not null)
                    await drained.WaitAsync(end.Token).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // Whoever was there is gone.
        }
        finally
        {
            lock (_lock)
                _ = _attached.Remove(output);
        }
    }

    /// <inheritdoc/>
    public int Read(Span<byte> buffer)
    {
        TaskCompletionSource? drained = null;
        int count = 0;
        lock (_lock)
        {
            while (count < buffer.Length && _input.TryDequeue(out byte next))
                buffer[count++] = next;
            if (_input.Count < InputLimit)
                (drained, _drained) = (_drained, null);
        }

        drained?.SetResult();
        return count;
    }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> data)
    {
        log.Write(data);
        lock (_lock)
        {
            foreach (byte each in data)
                _recent.Enqueue(each);
            while (_recent.Count > Remembered)
                _ = _recent.Dequeue();
            foreach (StreamConsole console in _attached)
            {
                if (console.CanAcceptOutput)
                    console.Write(data);
            }
        }
    }
}
