using Doppel.Machine.Memory;

namespace Doppel.Devices.Display.Gpu;

/// <summary>The pieces of guest memory that belong to a resource, as one stretch of bytes.</summary>
internal sealed class GpuBacking
{
    private readonly (ulong Address, uint Length)[] _pieces;
    private readonly ulong[] _starts;

    /// <param name="pieces">The pieces; each is RAM.</param>
    internal GpuBacking((ulong Address, uint Length)[] pieces)
    {
        _pieces = pieces;
        _starts = new ulong[pieces.Length];
        for (int i = 0; i < pieces.Length; i++)
        {
            _starts[i] = Length;
            Length += pieces[i].Length;
        }
    }

    /// <summary>Bytes of all pieces.</summary>
    internal ulong Length { get; }

    internal IReadOnlyList<(ulong Address, uint Length)> Pieces => _pieces;

    /// <summary>Copies bytes from the guest's memory.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="destination">Where they go.</param>
    /// <returns>False when there are not so many, or a piece is no RAM any more.</returns>
    internal bool TryRead(GuestMemory memory, ulong offset, Span<byte> destination)
    {
        if (offset > Length || (ulong)destination.Length > Length - offset)
            return false;
        int index = Array.BinarySearch(_starts, offset);
        // Of pieces without bytes that begin at the same place any will do.
        index = index >= 0 ? index : ~index - 1;
        while (!destination.IsEmpty)
        {
            (ulong address, uint length) = _pieces[index];
            ulong within = offset - _starts[index];
            int part = (int)Math.Min((ulong)destination.Length, length - within);
            if (part > 0 && !memory.TryRead(address + within, destination[..part]))
                return false;
            destination = destination[part..];
            offset += (uint)part;
            index++;
        }

        return true;
    }
}
