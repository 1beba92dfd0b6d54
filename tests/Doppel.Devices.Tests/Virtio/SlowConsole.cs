using Doppel.Devices.Console;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>A far end that takes a number of writes and then waits.</summary>
public sealed class SlowConsole : IConsoleBackend
{
    private int _room;

    public event Action? InputAvailable;

    public event Action? OutputDrained;

    public bool CanAcceptOutput => _room > 0;

    public List<byte> Output { get; } = [];

    public Queue<byte> Input { get; } = new();

    /// <summary>Takes so many writes more.</summary>
    public void Drain(int writes)
    {
        _room = writes;
        OutputDrained?.Invoke();
    }

    public void Type(IEnumerable<byte> bytes)
    {
        foreach (byte b in bytes)
            Input.Enqueue(b);
        InputAvailable?.Invoke();
    }

    public int Read(Span<byte> buffer)
    {
        int count = Math.Min(buffer.Length, Input.Count);
        for (int i = 0; i < count; i++)
            buffer[i] = Input.Dequeue();
        return count;
    }

    public void Write(ReadOnlySpan<byte> data)
    {
        _room--;
        Output.AddRange(data.ToArray());
        // A far end may say so at once, on the writer's thread.
        if (_room > 0)
            OutputDrained?.Invoke();
    }
}
