using System.Buffers.Binary;
using System.Numerics;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Pci;

/// <summary>
/// MSI-X of a function (PCI 3.0, 6.8.2): the capability in configuration space, and the region with the table of messages
/// and, in its second half, the pending bits. A message that may not be sent yet (its vector or the function is masked, or
/// the function is no bus master) stays pending and is sent once it may. The machine's I/O lock guards it.
/// </summary>
public sealed class MsixCapability : IIoRegion
{
    /// <summary>Id of the capability.</summary>
    public const byte Id = 0x11;

    /// <summary>Most vectors of a function.</summary>
    public const int MaximumVectors = 2048;

    private const int EntrySize = 16;
    private const uint Enable = 0x8000;
    private const uint FunctionMask = 0x4000;
    private readonly PciConfigSpace _config;
    private readonly IMessageSink _messages;
    private readonly byte[] _table;
    private readonly ulong[] _pending;
    private readonly int _control;

    /// <summary>Adds the capability to a configuration space. The region of <see cref="RegionSize"/> bytes must be mapped by the named register.</summary>
    /// <param name="config">The function's configuration space.</param>
    /// <param name="messages">Where messages go.</param>
    /// <param name="vectors">Number of messages, 1 to <see cref="MaximumVectors"/>.</param>
    /// <param name="barIndex">The base address register that maps the region, 0 to 5.</param>
    public MsixCapability(PciConfigSpace config, IMessageSink messages, int vectors, int barIndex)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentOutOfRangeException.ThrowIfLessThan(vectors, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(vectors, MaximumVectors);
        _config = config;
        _messages = messages;
        _table = new byte[vectors * EntrySize];
        _pending = new ulong[(vectors + 63) / 64];
        RegionSize = Math.Max(4096, 2 * (int)BitOperations.RoundUpToPowerOf2((uint)_table.Length));
        int offset = config.AddCapability(Id, 12);
        _control = offset + 2;
        config.Define(_control, 2, (uint)vectors - 1, writable: Enable | FunctionMask);
        config.Define(offset + 4, 4, (uint)barIndex);
        config.Define(offset + 8, 4, (uint)(RegionSize / 2) | (uint)barIndex);
        Reset();
    }

    /// <inheritdoc/>
    public string Name => "msix";

    /// <summary>Number of messages.</summary>
    public int Vectors => _table.Length / EntrySize;

    /// <summary>Bytes of the region: a power of two, at least 4096.</summary>
    public int RegionSize { get; }

    /// <summary>True while the guest uses MSI-X; INTx is silent then.</summary>
    public bool IsEnabled => (_config.Get(_control, 2) & Enable) != 0;

    private bool CanSend => (_config.Get(_control, 2) & (Enable | FunctionMask)) == Enable && _config.IsBusMaster;

    /// <summary>Sends a vector's message, or keeps it pending while it is masked. Nothing happens for a vector that does not exist or while MSI-X is off.</summary>
    public void Raise(int vector)
    {
        if ((uint)vector >= (uint)Vectors || !IsEnabled)
            return;
        if (CanSend && !IsMasked(vector))
            Send(vector);
        else
            _pending[vector / 64] |= 1UL << (vector & 63);
    }

    /// <summary>Sends what is pending and may be sent now. To be called after the guest has written to configuration space.</summary>
    public void Update()
    {
        if (!CanSend)
            return;
        for (int word = 0; word < _pending.Length; word++)
        {
            for (ulong left = _pending[word]; left != 0; left &= left - 1)
                SendPending((word * 64) + BitOperations.TrailingZeroCount(left));
        }
    }

    /// <inheritdoc/>
    public ulong Read(ulong offset, int size)
    {
        ulong value = 0;
        for (int i = 0; i < size; i++)
            value |= (ulong)ReadByte(offset + (uint)i) << (8 * i);
        return value;
    }

    /// <inheritdoc/>
    public void Write(ulong offset, int size, ulong value)
    {
        for (int i = 0; i < size; i++)
        {
            ulong at = offset + (uint)i;
            if (at < (ulong)_table.Length)
                _table[at] = (byte)((value >> (8 * i)) & WritableBits((int)at % EntrySize));
        }

        if (!CanSend)
            return;
        for (ulong entry = offset / EntrySize; entry <= (offset + (uint)size - 1) / EntrySize && entry < (ulong)Vectors; entry++)
            SendPending((int)entry);
    }

    /// <summary>Every vector masked, nothing pending.</summary>
    public void Reset()
    {
        Array.Clear(_table);
        Array.Clear(_pending);
        for (int i = 0; i < Vectors; i++)
            _table[(i * EntrySize) + 12] = 1;
    }

    /// <summary>Writes the table and the pending bits.</summary>
    public void Save(StateWriter writer)
    {
        writer.Write(_table.AsSpan());
        foreach (ulong word in _pending)
            writer.Write(word);
    }

    /// <summary>Reads and checks what <see cref="Save"/> wrote, for <see cref="Adopt"/>.</summary>
    /// <exception cref="InvalidDataException">The table is that of another function.</exception>
    public (byte[] Table, ulong[] Pending) ReadState(StateReader reader, string section)
    {
        byte[] table = StateCheck.Length(section, "MSI-X table", reader.ReadBytes(_table.Length), _table.Length);
        for (int i = 0; i < table.Length; i++)
            table[i] &= WritableBits(i % EntrySize);
        var pending = new ulong[_pending.Length];
        for (int i = 0; i < pending.Length; i++)
            pending[i] = reader.ReadUInt64();
        if ((Vectors & 63) != 0)
            pending[^1] &= (1UL << (Vectors & 63)) - 1;
        return (table, pending);
    }

    /// <summary>Takes over what <see cref="ReadState"/> returned.</summary>
    public void Adopt((byte[] Table, ulong[] Pending) state)
    {
        state.Table.CopyTo(_table, 0);
        state.Pending.CopyTo(_pending, 0);
    }

    // Addresses are multiples of four; of the vector control only the mask bit exists.
    private static byte WritableBits(int offset) => offset switch
    {
        0 => 0xFC,
        12 => 1,
        > 12 => 0,
        _ => 0xFF,
    };

    private byte ReadByte(ulong offset)
    {
        if (offset < (ulong)_table.Length)
            return _table[offset];
        ulong bit = 8 * (offset - ((ulong)RegionSize / 2));
        return bit < 64 * (ulong)_pending.Length ? (byte)(_pending[bit / 64] >> (int)(bit & 63)) : (byte)0;
    }

    private bool IsMasked(int vector) => (_table[(vector * EntrySize) + 12] & 1) != 0;

    private void SendPending(int vector)
    {
        ulong bit = 1UL << (vector & 63);
        if ((_pending[vector / 64] & bit) == 0 || IsMasked(vector))
            return;
        _pending[vector / 64] &= ~bit;
        Send(vector);
    }

    private void Send(int vector)
    {
        ReadOnlySpan<byte> entry = _table.AsSpan(vector * EntrySize, EntrySize);
        _messages.Deliver(BinaryPrimitives.ReadUInt64LittleEndian(entry), BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]));
    }
}
