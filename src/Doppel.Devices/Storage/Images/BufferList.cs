using System.Runtime.InteropServices;

namespace Doppel.Devices.Storage.Images;

/// <summary>Buffers that lie one after the other on a medium: what one operation reads into or writes from.</summary>
public readonly struct BufferList
{
    private readonly Memory<byte>[] _segments;

    /// <summary>Makes a list of one buffer.</summary>
    public BufferList(Memory<byte> buffer)
        : this([buffer], buffer.Length)
    {
    }

    /// <summary>Makes a list.</summary>
    public BufferList(IReadOnlyList<Memory<byte>> buffers)
    {
        _segments = buffers as Memory<byte>[] ?? [.. buffers];
        foreach (Memory<byte> segment in _segments)
            Length += segment.Length;
    }

    private BufferList(Memory<byte>[] segments, long length)
    {
        _segments = segments;
        Length = length;
    }

    /// <summary>Bytes of all buffers.</summary>
    public long Length { get; }

    /// <summary>The buffers.</summary>
    public ReadOnlySpan<Memory<byte>> Segments => _segments;

    /// <summary>Makes a list of buffers that are only read from, as a write does.</summary>
    public static BufferList ForWriting(IReadOnlyList<ReadOnlyMemory<byte>> buffers)
    {
        ArgumentNullException.ThrowIfNull(buffers);
        var segments = new Memory<byte>[buffers.Count];
        for (int i = 0; i < segments.Length; i++)
            segments[i] = MemoryMarshal.AsMemory(buffers[i]);
        return new BufferList(segments);
    }

    /// <summary>Makes a list of one buffer that is only read from.</summary>
    public static BufferList ForWriting(ReadOnlyMemory<byte> buffer) => new(MemoryMarshal.AsMemory(buffer));

    /// <summary>A part of the list.</summary>
    public BufferList Slice(long start, long length)
    {
        if (start == 0 && length == Length)
            return this;
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start + length, Length);
        var part = new List<Memory<byte>>();
        long at = 0, end = start + length;
        foreach (Memory<byte> segment in _segments)
        {
            long from = Math.Max(start, at), to = Math.Min(end, at + segment.Length);
            if (from < to)
                part.Add(segment[(int)(from - at)..(int)(to - at)]);
            at += segment.Length;
            if (at >= end)
                break;
        }

        return new BufferList([.. part], length);
    }

    /// <summary>This list between two others.</summary>
    public BufferList Surround(Memory<byte> before, Memory<byte> after) =>
        before.IsEmpty && after.IsEmpty ? this : new BufferList([before, .. _segments, after], before.Length + Length + after.Length);

    /// <summary>Fills with zeros.</summary>
    public void Clear()
    {
        foreach (Memory<byte> segment in _segments)
            segment.Span.Clear();
    }

    /// <summary>Copies bytes in; as many as the list has.</summary>
    public void CopyFrom(ReadOnlySpan<byte> source)
    {
        foreach (Memory<byte> segment in _segments)
        {
            source[..segment.Length].CopyTo(segment.Span);
            source = source[segment.Length..];
        }
    }

    /// <summary>Copies all bytes out.</summary>
    public void CopyTo(Span<byte> target)
    {
        foreach (Memory<byte> segment in _segments)
        {
            segment.Span.CopyTo(target);
            target = target[segment.Length..];
        }
    }
}
