namespace Doppel.Vmm.Firmware;

/// <summary>A range of guest-physical addresses that is filled with tables from its start. Not thread-safe.</summary>
internal sealed class TableArea
{
    private readonly ulong _end;
    private readonly List<byte> _bytes = [];

    internal TableArea(ulong start, ulong end)
    {
        Start = start;
        _end = end;
    }

    internal ulong Start { get; }

    internal ulong Next => Start + (ulong)_bytes.Count;

    internal byte[] Bytes => [.. _bytes];

    /// <summary>Reserves zeroed space, to be filled by <see cref="Fill"/> once its content is known.</summary>
    internal ulong Reserve(int length, int alignment = 16)
    {
        int padding = (int)((ulong)alignment - (Next % (ulong)alignment)) % alignment;
        if (Next + (ulong)(padding + length) > _end)
            throw new InvalidOperationException($"the firmware tables need more than the {_end - Start} bytes from 0x{Start:x}");
        _bytes.AddRange(new byte[padding]);
        ulong address = Next;
        _bytes.AddRange(new byte[length]);
        return address;
    }

    internal void Fill(ulong address, ReadOnlySpan<byte> content)
    {
        for (int i = 0; i < content.Length; i++)
            _bytes[(int)(address - Start) + i] = content[i];
    }

    internal ulong Add(ReadOnlySpan<byte> content, int alignment = 16)
    {
        ulong address = Reserve(content.Length, alignment);
        Fill(address, content);
        return address;
    }
}
