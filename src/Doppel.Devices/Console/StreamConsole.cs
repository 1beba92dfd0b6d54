namespace Doppel.Devices.Console;

/// <summary>
/// A serial line whose far end is a pair of streams, for example a file for the output. Output is buffered and written
/// by a task of its own, in order and without loss; disposing writes what is left. Input is read ahead by at most
/// <see cref="InputLimit"/> bytes. All members may be called by any thread.
/// </summary>
public sealed class StreamConsole : IConsoleBackend, IAsyncDisposable, IDisposable
{
    /// <summary>Bytes of output waiting from which <see cref="CanAcceptOutput"/> is false.</summary>
    public const int OutputLimit = 1 << 20;

    /// <summary>Bytes of input read ahead of the guest.</summary>
    public const int InputLimit = 4096;

    private readonly Lock _lock = new();
    private readonly Stream? _outputStream;
    private readonly Stream? _inputStream;
    private readonly bool _leaveOpen;
    private readonly ByteQueue _output = new();
    private readonly ByteQueue _input = new();
    private readonly SemaphoreSlim _outputSignal = new(0);
    private readonly SemaphoreSlim _inputSignal = new(0);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _writer;
    private bool _ending;
    private bool _wasFull;
    private bool _inputWaits;
    private int _disposed;

    /// <summary>Creates the line and starts to read.</summary>
    /// <param name="output">Where the guest's output goes; null discards it.</param>
    /// <param name="input">Where the guest's input comes from; null for none.</param>
    /// <param name="leaveOpen">True when disposing leaves the streams open.</param>
    public StreamConsole(Stream? output, Stream? input = null, bool leaveOpen = false)
    {
        _outputStream = output;
        _inputStream = input;
        _leaveOpen = leaveOpen;
        _writer = output is null ? Task.CompletedTask : Task.Run(WriteLoopAsync);
        if (input is not null)
            _ = Task.Run(ReadLoopAsync);
    }

    /// <inheritdoc/>
    public event Action? InputAvailable;

    /// <inheritdoc/>
    public event Action? OutputDrained;

    /// <summary>A stream has failed: output is discarded from then on, or no more input comes. Raised on a pool thread.</summary>
    public event Action<Exception>? Failed;

    /// <inheritdoc/>
    public bool CanAcceptOutput
    {
        get
        {
            lock (_lock)
                return _output.Count < OutputLimit;
        }
    }

    /// <inheritdoc/>
    public int Read(Span<byte> buffer)
    {
        int count;
        bool resume;
        lock (_lock)
        {
            count = _input.Dequeue(buffer);
            resume = _inputWaits && _input.Count < InputLimit;
            if (resume)
                _inputWaits = false;
        }

        if (resume)
            _inputSignal.Release();
        return count;
    }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> data)
    {
        if (data.IsEmpty || _outputStream is null)
            return;
        bool signal;
        lock (_lock)
        {
            if (_ending)
                return;
            signal = _output.Count == 0;
            _output.Enqueue(data);
            _wasFull |= _output.Count >= OutputLimit;
        }

        if (signal)
            _outputSignal.Release();
    }

    /// <summary>Writes what is left of the output, then closes the streams.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        lock (_lock)
            _ending = true;
        await _stop.CancelAsync().ConfigureAwait(false);
        _outputSignal.Release();
        await _writer.ConfigureAwait(false);
        if (_leaveOpen)
            return;
        if (_outputStream is not null)
            await _outputStream.DisposeAsync().ConfigureAwait(false);
        if (_inputStream is not null && !ReferenceEquals(_inputStream, _outputStream))
            await _inputStream.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>As <see cref="DisposeAsync"/>; waits for the last output.</summary>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    private async Task WriteLoopAsync()
    {
        var buffer = new byte[64 * 1024];
        bool failed = false;
        while (true)
        {
            await _outputSignal.WaitAsync().ConfigureAwait(false);
            while (true)
            {
                int count;
                bool drained;
                lock (_lock)
                {
                    count = _output.Dequeue(buffer);
                    drained = _wasFull && _output.Count < OutputLimit;
                    if (drained)
                        _wasFull = false;
                    if (count == 0 && _ending)
                        return;
                }

                if (drained)
                    OutputDrained?.Invoke();
                if (count == 0)
                    break;
                if (failed)
                    continue;
                try
                {
                    await _outputStream!.WriteAsync(buffer.AsMemory(0, count), CancellationToken.None).ConfigureAwait(false);
                    await _outputStream.FlushAsync(CancellationToken.None).ConfigureAwait(false);
                }
                catch (Exception e) when (e is IOException or ObjectDisposedException or UnauthorizedAccessException or NotSupportedException)
                {
                    failed = true;
                    Failed?.Invoke(e);
                }
            }
        }
    }

    private async Task ReadLoopAsync()
    {
        var buffer = new byte[InputLimit];
        try
        {
            while (true)
            {
                int count = await _inputStream!.ReadAsync(buffer, _stop.Token).ConfigureAwait(false);
                if (count == 0)
                    return;
                bool full;
                lock (_lock)
                {
                    _input.Enqueue(buffer.AsSpan(0, count));
                    full = _input.Count >= InputLimit;
                    _inputWaits = full;
                }

                InputAvailable?.Invoke();
                if (full)
                    await _inputSignal.WaitAsync(_stop.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or UnauthorizedAccessException or NotSupportedException)
        {
            if (!_stop.IsCancellationRequested)
                Failed?.Invoke(e);
        }
    }
}
