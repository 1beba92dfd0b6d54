namespace Doppel.Devices.Console;

/// <summary>A growing ring of bytes. Not thread-safe.</summary>
internal sealed class ByteQueue
{
    private byte[] _bytes = new byte[256];
    private int _first;

    /// <summary>Number of bytes in the queue.</summary>
    public int Count { get; private set; }

    /// <summary>Appends bytes.</summary>
    public void Enqueue(ReadOnlySpan<byte> data)
    {
        if (data.Length > _bytes.Length - Count)
            Grow(Count + data.Length);
        int end = (_first + Count) & (_bytes.Length - 1);
        int part = Math.Min(data.Length, _bytes.Length - end);
        data[..part].CopyTo(_bytes.AsSpan(end));
        data[part..].CopyTo(_bytes);
        Count += data.Length;
    }

    /// <summary>Takes bytes from the front; returns how many.</summary>
    public int Dequeue(Span<byte> buffer)
    {
        int taken = Math.Min(buffer.Length, Count);
        int part = Math.Min(taken, _bytes.Length - _first);
        _bytes.AsSpan(_first, part).CopyTo(buffer);
        _bytes.AsSpan(0, taken - part).CopyTo(buffer[part..]);
        _first = (_first + taken) & (_bytes.Length - 1);
        Count -= taken;
        return taken;
    }

    private void Grow(int needed)
    {
        var bytes = new byte[(int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)needed)];
        int count = Dequeue(bytes);
        _bytes = bytes;
        _first = 0;
        Count = count;
    }
}
