using System.Buffers;

namespace Doppel.Machine.Memory;

/// <summary>A part of guest memory as .NET's I/O takes it. The mapping belongs to <see cref="GuestMemory"/>.</summary>
internal sealed unsafe class GuestMemoryBlock(byte* start, int length) : MemoryManager<byte>
{
    /// <summary>Bytes that one block can have: spans and memories count in 31 bits.</summary>
    internal const uint MaximumLength = 1u << 30;

    internal int Length => length;

    public override Span<byte> GetSpan() => new(start, length);

    // The mapping never moves.
    public override MemoryHandle Pin(int elementIndex = 0) => new(start + elementIndex);

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing)
    {
    }
}
