using Doppel.Devices.Console;

namespace Doppel.Vmm.Consoles;

/// <summary>A serial line whose input that the guest has not read can be taken elsewhere. Passes everything else through.</summary>
/// <param name="inner">The line.</param>
internal sealed class KeptInput(IConsoleBackend inner) : IConsoleBackend
{
    // More waits only in a line that its user floods.
    private const int Most = 64 << 10;
    private readonly Lock _lock = new();
    private readonly Queue<byte> _kept = new();
    private Action? _available;

    /// <inheritdoc/>
    public event Action? InputAvailable
    {
        add
        {
            inner.InputAvailable += value;
            _available += value;
        }

        remove
        {
            inner.InputAvailable -= value;
            _available -= value;
        }
    }

    /// <inheritdoc/>
    public event Action? OutputDrained
    {
        add => inner.OutputDrained += value;
        remove => inner.OutputDrained -= value;
    }

    /// <inheritdoc/>
    public bool CanAcceptOutput => inner.CanAcceptOutput;

    /// <inheritdoc/>
    public int Read(Span<byte> buffer)
    {
        int count = 0;
        lock (_lock)
        {
            while (count < buffer.Length && _kept.TryDequeue(out byte next))
                buffer[count++] = next;
        }

        return count != 0 ? count : inner.Read(buffer);
    }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> data) => inner.Write(data);

    /// <summary>Takes all input that waits.</summary>
    internal byte[] Take()
    {
        var taken = new List<byte>();
        byte[] buffer = new byte[256];
        while (taken.Count < Most && Read(buffer) is int count and > 0)
            taken.AddRange(buffer.AsSpan(0, count));
        return [.. taken];
    }

    /// <summary>Puts input in front of what comes.</summary>
    internal void Put(ReadOnlySpan<byte> input)
    {
        if (input.IsEmpty)
            return;
        lock (_lock)
        {
            foreach (byte each in input)
                _kept.Enqueue(each);
        }

        _available?.Invoke();
    }
}
