using System.Runtime.InteropServices;
using Doppel.Devices.Display.Vga;
using Doppel.Machine.Bus;
using Doppel.Machine.State;

namespace Doppel.Devices.Display.Svga;

/// <summary>
/// The memory by which drivers send commands to an SVGA II: words that are registers, and a ring of words that a driver puts in
/// and the adapter takes out (VMware's developer kit, svga_reg.h, "FIFO register indices"). It is no plain memory: commands are
/// seen when the register that says where they end is written, so nobody has to look for them.
/// </summary>
/// <param name="written">Told of each word that the guest has written.</param>
internal sealed class SvgaFifo(Action<int> written) : IIoRegion
{
    /// <summary>Bytes.</summary>
    internal const int Length = 256 << 10;

    // Numbers of the words that are registers.
    internal const int Minimum = 0, Maximum = 1, Next = 2, Stop = 3, CapabilitiesWord = 4, Flags = 5, Fence = 6, Version3D = 7, Pitch = 8,
        CursorOn = 9, CursorX = 10, CursorY = 11, CursorCount = 12, FenceGoal = 289, BusyWord = 290, RegisterCount = 291;

    private const int LeastRegisters = 4;
    // Fences, a locked pitch, a pointer that moves by registers, and room that is reserved for a command.
    private const uint Capabilities = 1 | 4 | 0x10 | 0x40;
    private readonly uint[] _words = new uint[Length / sizeof(uint)];

    public string Name => "svga-fifo";

    /// <summary>True while the driver's bounds and places are such as can be.</summary>
    internal bool IsValid =>
        _words[Minimum] >= LeastRegisters * sizeof(uint) && _words[Maximum] <= Length && _words[Minimum] < _words[Maximum] &&
        ((_words[Minimum] | _words[Maximum] | _words[Next] | _words[Stop]) & 3) == 0 && IsInside(_words[Next]) && IsInside(_words[Stop]);

    /// <summary>Words that wait.</summary>
    internal int Waiting => (int)((_words[Next] >= _words[Stop] ? _words[Next] - _words[Stop] : _words[Next] + Size - _words[Stop]) / sizeof(uint));

    /// <summary>The most that can.</summary>
    internal int Capacity => ((int)Size / sizeof(uint)) - 1;

    private uint Size => _words[Maximum] - _words[Minimum];

    /// <summary>A register; null when the driver has left it no room, so that the word belongs to the ring.</summary>
    internal uint? Find(int register) => HasRegister(register) ? _words[register] : null;

    /// <summary>Sets a register, when the driver has left it room.</summary>
    internal void Set(int register, uint value)
    {
        if (HasRegister(register))
            _words[register] = value;
    }

    public ulong Read(ulong offset, int size)
    {
        ulong value = 0;
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(_words.AsSpan());
        for (int i = 0; i < size; i++)
            value |= (offset + (uint)i < Length ? bytes[(int)offset + i] : 0xFFul) << (8 * i);
        return value;
    }

    public void Write(ulong offset, int size, ulong value)
    {
        Span<byte> bytes = MemoryMarshal.AsBytes(_words.AsSpan());
        int count = (int)Math.Min((ulong)size, Length - Math.Min(offset, Length));
        for (int i = 0; i < count; i++)
            bytes[(int)offset + i] = (byte)(value >> (8 * i));
        for (int word = (int)offset / sizeof(uint); count > 0 && word <= ((int)offset + count - 1) / sizeof(uint); word++)
            written(word);
    }

    /// <summary>Writes the registers that say what the adapter can do.</summary>
    internal void Announce()
    {
        // Before a driver has made a ring, too: it looks first.
        if (_words[Minimum] != 0 && !HasRegister(Version3D))
            return;
        (_words[CapabilitiesWord], _words[Flags], _words[Version3D]) = (Capabilities, 0, 0);
    }

    /// <summary>A word of what waits. Only while <see cref="IsValid"/>.</summary>
    internal uint Peek(int index)
    {
        uint at = _words[Stop] + ((uint)index * sizeof(uint));
        if (at >= _words[Maximum])
            at -= Size;
        return _words[at / sizeof(uint)];
    }

    /// <summary>Takes words out.</summary>
    internal void Consume(int words)
    {
        uint at = _words[Stop] + ((uint)words * sizeof(uint));
        _words[Stop] = at >= _words[Maximum] ? at - Size : at;
    }

    internal void Reset()
    {
        Array.Clear(_words);
        Announce();
    }

    internal void Save(StateWriter writer) => VideoMemoryState.Save(writer, MemoryMarshal.AsBytes(_words.AsSpan()));

    internal static byte[] ReadState(StateReader reader, string section) => VideoMemoryState.Read(reader, section, Length);

    internal void Adopt(byte[] state) => state.CopyTo(MemoryMarshal.AsBytes(_words.AsSpan()));

    private bool HasRegister(int register) => _words[Minimum] > (uint)register * sizeof(uint);

    private bool IsInside(uint place) => place >= _words[Minimum] && place < _words[Maximum];
}
