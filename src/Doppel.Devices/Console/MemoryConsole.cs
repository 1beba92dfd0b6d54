using System.Text;

namespace Doppel.Devices.Console;

/// <summary>
/// A serial line whose far end is a program: it sends input and looks at the output. All members may be called by any
/// thread.
/// </summary>
public sealed class MemoryConsole : IConsoleBackend
{
    private readonly Lock _lock = new();
    private readonly ByteQueue _input = new();
    private readonly List<Waiter> _waiters = [];
    private byte[] _output = new byte[4096];
    private int _length;

    /// <inheritdoc/>
    public event Action? InputAvailable;

    /// <summary>Output has come; raised after <see cref="Write"/>, on the writer's thread, which must not be held up.</summary>
    public event Action? OutputWritten;

    /// <summary>Number of bytes the guest has written so far.</summary>
    public int OutputLength
    {
        get
        {
            lock (_lock)
                return _length;
        }
    }

    /// <summary>Everything that the guest has written so far, as UTF-8 text.</summary>
    public string Text => TextFrom(0);

    /// <summary>What the guest has written from a position on, as UTF-8 text.</summary>
    /// <param name="position">Bytes to leave out, 0 to <see cref="OutputLength"/>.</param>
    public string TextFrom(int position)
    {
        lock (_lock)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(position);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(position, _length);
            return Encoding.UTF8.GetString(_output, position, _length - position);
        }
    }

    /// <summary>A copy of everything that the guest has written so far.</summary>
    public byte[] OutputBytes()
    {
        lock (_lock)
            return _output[.._length];
    }

    /// <summary>Sends bytes to the guest.</summary>
    public void Send(ReadOnlySpan<byte> data)
    {
        if (data.IsEmpty)
            return;
        lock (_lock)
            _input.Enqueue(data);
        InputAvailable?.Invoke();
    }

    /// <summary>Sends text to the guest as UTF-8; a line must end with the line end that the guest expects, usually "\n".</summary>
    public void Send(string text) => Send(Encoding.UTF8.GetBytes(text));

    /// <summary>Completes when the output holds a text at or after a position, with the position behind it.</summary>
    /// <param name="text">What to wait for; not empty.</param>
    /// <param name="position">Bytes of output to leave out of the search.</param>
    /// <param name="cancellation">Ends the wait with an <see cref="OperationCanceledException"/>.</param>
    public Task<int> WaitForAsync(string text, int position = 0, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(text);
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        var waiter = new Waiter(Encoding.UTF8.GetBytes(text), position);
        lock (_lock)
        {
            if (waiter.TryFind(_output.AsSpan(0, _length), out int end))
                return Task.FromResult(end);
            _waiters.Add(waiter);
        }

        CancellationTokenRegistration registration = cancellation.Register(() =>
        {
            lock (_lock)
                _waiters.Remove(waiter);
            waiter.Completion.TrySetCanceled(cancellation);
        });
        _ = waiter.Completion.Task.ContinueWith(
            (_, state) => ((CancellationTokenRegistration)state!).Dispose(), registration, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        return waiter.Completion.Task;
    }

    /// <inheritdoc/>
    public int Read(Span<byte> buffer)
    {
        lock (_lock)
            return _input.Dequeue(buffer);
    }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            if (data.Length > _output.Length - _length)
                Array.Resize(ref _output, Math.Max(_output.Length * 2, _length + data.Length));
            data.CopyTo(_output.AsSpan(_length));
            _length += data.Length;
            for (int i = _waiters.Count - 1; i >= 0; i--)
            {
                Waiter waiter = _waiters[i];
                if (!waiter.TryFind(_output.AsSpan(0, _length), out int end))
                    continue;
                _waiters.RemoveAt(i);
                waiter.Completion.TrySetResult(end);
            }
        }

        OutputWritten?.Invoke();
    }

    private sealed class Waiter(byte[] text, int position)
    {
        private int _from = position;

        public TaskCompletionSource<int> Completion { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public bool TryFind(ReadOnlySpan<byte> output, out int end)
        {
            end = 0;
            if (output.Length - _from < text.Length)
                return false;
            int found = output[_from..].IndexOf(text);
            if (found < 0)
            {
                _from = output.Length - text.Length + 1;
                return false;
            }

            end = _from + found + text.Length;
            return true;
        }
    }
}
