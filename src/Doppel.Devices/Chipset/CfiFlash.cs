using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Chipset;

/// <summary>
/// Flash memory with Intel's command set (JEDEC JESD68.01, JEP137B: command set 0001h; Intel 28F640 data sheet), eight bits
/// wide, in blocks of 4 KiB. While its array is read it is plain ROM to the guest; commands arrive as writes, and while it shows
/// a status it is no memory. UEFI keeps its variables here.
/// </summary>
public sealed class CfiFlash : IDevice, IIoRegion
{
    /// <summary>Bytes of a block.</summary>
    public const int BlockLength = 4096;

    /// <summary>Largest device.</summary>
    public const int MaximumLength = 16 << 20;

    private const byte ReadArray = 0xFF, ReadStatus = 0x70, ClearStatus = 0x50, ReadIdentifier = 0x90, ReadQuery = 0x98;
    private const byte Program = 0x10, ProgramToo = 0x40, BlockErase = 0x20, BufferedProgram = 0xE8, BufferFilled = 0xE9, Lock = 0x60, Confirm = 0xD0;
    private const byte Ready = 0x80, EraseError = 0x20, ProgramError = 0x10;
    private const int BufferLength = 256;
    private readonly GuestMemory _memory;
    private readonly ulong _start;
    private readonly int _length;
    private readonly Action<int, ReadOnlyMemory<byte>> _changed;
    private readonly IoRange[] _ranges;
    private readonly byte[] _query;
    private byte _command = ReadArray;
    private byte _status = Ready;
    private bool _isSecondCycle;
    private int _remaining;
    private bool _showsArray;
    private int _changedFrom = int.MaxValue;
    private int _changedTo;

    /// <summary>Places the device.</summary>
    /// <param name="memory">The machine's memory.</param>
    /// <param name="start">Its first address; a multiple of 4096 below 4 GiB, where there is no RAM.</param>
    /// <param name="content">What it holds: whole blocks, at most <see cref="MaximumLength"/>.</param>
    /// <param name="changed">Told what has changed, as offset and bytes, when the guest reads the array again; and all of it after a restore.</param>
    public CfiFlash(GuestMemory memory, ulong start, ReadOnlySpan<byte> content, Action<int, ReadOnlyMemory<byte>> changed)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(changed);
        if (content.Length == 0 || content.Length % BlockLength != 0 || content.Length > MaximumLength)
            throw new ArgumentOutOfRangeException(nameof(content), content.Length, "flash has whole blocks of 4096 bytes, at most 16 MiB");
        _memory = memory;
        _start = start;
        _length = content.Length;
        _changed = changed;
        _ranges = [new IoRange(start, (ulong)_length, this)];
        _query = MakeQuery(_length);
        memory.Store(start, content);
        Show(true);
    }

    /// <inheritdoc/>
    public string Name => "flash";

    /// <inheritdoc/>
    public string SectionName => "flash";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Memory => _ranges;

    /// <inheritdoc/>
    public ulong Read(ulong offset, int size)
    {
        ulong value = 0;
        for (int i = 0; i < size && offset + (uint)i < (ulong)_length; i++)
            value |= (ulong)ReadByte((int)offset + i) << (8 * i);
        return value;
    }

    /// <inheritdoc/>
    public void Write(ulong offset, int size, ulong value)
    {
        // Data may come several bytes at a time; a command is one byte.
        if (_isSecondCycle && (_command is Program or ProgramToo || (_command == BufferedProgram && _remaining > 0)))
        {
            for (int i = 0; i < size; i++)
                ProgramByte((int)offset + i, (byte)(value >> (8 * i)));
            EndProgram(size);
        }
        else
        {
            WriteCommand((int)offset, (byte)value);
        }

        Show(_command == ReadArray);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        (_command, _status, _isSecondCycle, _remaining) = (ReadArray, Ready, false, 0);
        Show(true);
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        var content = new byte[_length];
        _memory.Load(_start, content);
        writer.Write(content.AsSpan());
        writer.Write(_command);
        writer.Write(_status);
        writer.Write(_isSecondCycle);
        writer.Write(_remaining);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        byte[] content = StateCheck.Length(SectionName, "content", reader.ReadBytes(MaximumLength), _length);
        byte command = reader.ReadByte(), status = reader.ReadByte();
        bool isSecondCycle = reader.ReadBool();
        int remaining = (int)StateCheck.Range(SectionName, "bytes of the buffer", reader.ReadInt32(), 0, BufferLength);
        (_command, _status, _isSecondCycle, _remaining) = (command, status, isSecondCycle, remaining);
        _memory.Store(_start, content);
        Note(0, _length);
        _showsArray = !(_command == ReadArray);
        Show(_command == ReadArray);
        Tell();
    }

    private byte ReadByte(int offset)
    {
        switch (_command)
        {
            case ReadArray:
                Span<byte> one = stackalloc byte[1];
                _memory.Load(_start + (ulong)offset, one);
                return one[0];
            case ReadQuery:
                return offset < _query.Length ? _query[offset] : (byte)0;
            case ReadIdentifier:
                // Intel, 28F640; no block is locked.
                return (offset & 0xFF) switch { 0 => 0x89, 1 => 0x18, _ => 0 };
            default:
                return _status;
        }
    }

    private void WriteCommand(int offset, byte value)
    {
        if (!_isSecondCycle)
        {
            BeginCommand(value);
            return;
        }

        _isSecondCycle = false;
        switch (_command)
        {
            case BlockErase when value == Confirm:
                Erase(offset & ~(BlockLength - 1));
                break;
            case BufferedProgram when _remaining == 0:
                // The number of bytes less one; then the bytes, then the confirmation.
                _remaining = value + 1;
                _isSecondCycle = true;
                break;
            case BufferFilled when value == Confirm:
            case Lock:
                _command = ReadStatus;
                break;
            default:
                // Both error bits: a sequence that can't be.
                _status |= Ready | EraseError | ProgramError;
                _remaining = 0;
                _command = ReadStatus;
                break;
        }
    }

    private void BeginCommand(byte value)
    {
        switch (value)
        {
            case Program or ProgramToo or BlockErase or BufferedProgram or Lock:
                _command = value;
                _isSecondCycle = true;
                _remaining = 0;
                break;
            case ClearStatus:
                _status = 0;
                _command = ReadArray;
                break;
            case ReadStatus or ReadIdentifier or ReadQuery:
                _command = value;
                break;
            default:
                _command = ReadArray;
                break;
        }
    }

    private void EndProgram(int size)
    {
        _status |= Ready;
        if (_command != BufferedProgram)
        {
            _isSecondCycle = false;
            return;
        }

        _remaining = Math.Max(0, _remaining - size);
        // What follows the last byte is the confirmation.
        if (_remaining == 0)
            _command = BufferFilled;
    }

    // Programming clears bits, erasing sets them.
    private void ProgramByte(int offset, byte value)
    {
        if (offset >= _length)
            return;
        Span<byte> one = stackalloc byte[1];
        _memory.Load(_start + (ulong)offset, one);
        one[0] &= value;
        _memory.Store(_start + (ulong)offset, one);
        Note(offset, 1);
    }

    private void Erase(int block)
    {
        Span<byte> ones = stackalloc byte[BlockLength];
        ones.Fill(0xFF);
        _memory.Store(_start + (ulong)block, ones);
        Note(block, BlockLength);
        _status |= Ready;
    }

    private void Note(int offset, int length)
    {
        _changedFrom = Math.Min(_changedFrom, offset);
        _changedTo = Math.Max(_changedTo, offset + length);
    }

    private void Show(bool array)
    {
        if (array == _showsArray)
            return;
        _showsArray = array;
        _memory.SetKind(_start, (ulong)_length, array ? PageFlags.Rom : PageFlags.None);
        if (array)
            Tell();
    }

    private void Tell()
    {
        if (_changedTo == 0)
            return;
        var bytes = new byte[_changedTo - _changedFrom];
        _memory.Load(_start + (ulong)_changedFrom, bytes);
        int offset = _changedFrom;
        (_changedFrom, _changedTo) = (int.MaxValue, 0);
        _changed(offset, bytes);
    }

    // JESD68.01: the identification, supply voltages and times as powers of two, and one region of blocks.
    private static byte[] MakeQuery(int length)
    {
        var query = new byte[0x40];
        "QRY"u8.CopyTo(query.AsSpan(0x10));
        query[0x13] = 0x01;
        query[0x15] = 0x31;
        (query[0x1B], query[0x1C], query[0x1F], query[0x20], query[0x21]) = (0x45, 0x55, 0x07, 0x07, 0x0A);
        (query[0x23], query[0x24], query[0x25]) = (0x04, 0x04, 0x04);
        query[0x27] = (byte)System.Numerics.BitOperations.Log2(System.Numerics.BitOperations.RoundUpToPowerOf2((uint)length));
        query[0x2A] = 8;
        query[0x2C] = 1;
        int blocks = (length / BlockLength) - 1;
        (query[0x2D], query[0x2E], query[0x2F], query[0x30]) = ((byte)blocks, (byte)(blocks >> 8), BlockLength >> 8 & 0xFF, 0);
        "PRI10"u8.CopyTo(query.AsSpan(0x31));
        return query;
    }
}
