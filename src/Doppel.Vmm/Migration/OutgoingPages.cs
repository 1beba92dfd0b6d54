using Doppel.Machine.Memory;

namespace Doppel.Vmm.Migration;

/// <summary>A <see cref="PageBatch"/> that is being put together. One thread.</summary>
internal sealed class OutgoingPages
{
    private readonly ulong[] _numbers = new ulong[PageBatch.MostPages];
    private readonly bool[] _zeros = new bool[PageBatch.MostPages];
    private readonly byte[] _content = new byte[PageBatch.MostPages * GuestMemory.PageSize];
    private readonly byte[] _written = new byte[PageBatch.LongestBatch];

    /// <summary>Its pages.</summary>
    internal int Count { get; private set; }

    /// <summary>Bytes of those that aren't zeros.</summary>
    internal int ContentLength { get; private set; }

    /// <summary>True when it has no room for another.</summary>
    internal bool IsFull => Count == PageBatch.MostPages;

    /// <summary>Begins the next.</summary>
    internal void Clear() => Count = ContentLength = 0;

    /// <summary>Adds a page of zeros.</summary>
    internal void AddZero(ulong page)
    {
        _zeros[Count] = true;
        _numbers[Count++] = page;
    }

    /// <summary>Adds a page; its bytes are copied.</summary>
    internal void Add(ulong page, ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_content.AsSpan(ContentLength));
        ContentLength += GuestMemory.PageSize;
        _zeros[Count] = false;
        _numbers[Count++] = page;
    }

    /// <summary>Its bytes, valid until the next call.</summary>
    internal ReadOnlyMemory<byte> Write(bool compresses) =>
        _written.AsMemory(0, PageBatch.Write(_numbers.AsSpan(0, Count), _zeros.AsSpan(0, Count), _content.AsSpan(0, ContentLength), compresses, _written));
}
