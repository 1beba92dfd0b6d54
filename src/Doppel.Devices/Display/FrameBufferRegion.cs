using Doppel.Machine.Bus;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Display;

/// <summary>A display's memory as the bus sees it, for accesses that don't reach it as memory.</summary>
/// <param name="name">Name for traces.</param>
/// <param name="memory">The memory.</param>
internal sealed class FrameBufferRegion(string name, DeviceRam memory) : IIoRegion
{
    public string Name => name;

    public ulong Read(ulong offset, int size)
    {
        ulong value = 0;
        for (int i = 0; i < size; i++)
        {
            ulong at = offset + (uint)i;
            value |= (at < (ulong)memory.Length ? memory.Bytes[(int)at] : 0xFFul) << (8 * i);
        }

        return value;
    }

    public void Write(ulong offset, int size, ulong value)
    {
        for (int i = 0; i < size && offset + (uint)i < (ulong)memory.Length; i++)
            memory.Bytes[(int)offset + i] = (byte)(value >> (8 * i));
        if (offset < (ulong)memory.Length)
            memory.NoteWrite((int)offset, Math.Min(size, memory.Length - (int)offset));
    }

    /// <summary>Shows all of the memory at a guest-physical address, and no longer where it was shown before; where it can't be memory, the bus answers.</summary>
    /// <param name="address">The address; null for nowhere.</param>
    internal void Place(ulong? address)
    {
        foreach ((ulong shown, _, int length) in memory.Shown.ToList())
        {
            if (length == memory.Length)
                memory.Hide(shown);
        }

        if (address is ulong start)
            _ = memory.TryShow(start, 0, memory.Length);
    }
}
