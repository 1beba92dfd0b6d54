using System.Buffers.Binary;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Nvme;

/// <summary>
/// The pieces of guest memory that a command's data pointer names, each checked to be RAM: PRP entries and lists (NVMe 1.4,
/// 4.3), or scatter-gather lists (4.4).
/// </summary>
internal sealed class NvmeDataPointer
{
    private const ulong PageSize = GuestMemory.PageSize;
    private const int MaximumPieces = 1024;
    private const int MaximumSegments = 64;
    private readonly GuestMemory _memory;
    private readonly List<(ulong Address, ulong Length)> _pieces = [];
    private ulong _left;

    private NvmeDataPointer(GuestMemory memory, ulong length)
    {
        _memory = memory;
        _left = length;
    }

    /// <summary>Reads a command's data pointer.</summary>
    /// <param name="memory">Guest memory.</param>
    /// <param name="command">The command.</param>
    /// <param name="length">Bytes of its data.</param>
    /// <param name="data">The pieces, which have that many bytes.</param>
    internal static NvmeStatus Read(GuestMemory memory, NvmeCommand command, ulong length, out NvmeDataPointer data)
    {
        data = new NvmeDataPointer(memory, length);
        if (length == 0)
            return NvmeStatus.Success;
        return command.PointerKind switch
        {
            0 => data.ReadPrps(command.Prp1, command.Prp2),
            1 or 2 => data.ReadSgl(command.Pointer),
            _ => NvmeStatus.InvalidField,
        };
    }

    /// <summary>Views of the pieces for a back end.</summary>
    internal List<Memory<byte>> GetViews()
    {
        var views = new List<Memory<byte>>(_pieces.Count);
        foreach ((ulong address, ulong length) in _pieces)
            _ = _memory.TryGetViews(address, length, views);
        return views;
    }

    /// <summary>Copies bytes to the pieces, as far as there are any.</summary>
    internal void Write(ReadOnlySpan<byte> bytes)
    {
        foreach ((ulong address, ulong length) in _pieces)
        {
            int part = (int)Math.Min(length, (ulong)bytes.Length);
            _ = _memory.TryWrite(address, bytes[..part]);
            bytes = bytes[part..];
        }
    }

    /// <summary>Copies the pieces to bytes.</summary>
    internal void Read(Span<byte> bytes)
    {
        foreach ((ulong address, ulong length) in _pieces)
        {
            int part = (int)Math.Min(length, (ulong)bytes.Length);
            _ = _memory.TryRead(address, bytes[..part]);
            bytes = bytes[part..];
        }
    }

    /// <summary>Says that all pieces may have been written through views.</summary>
    internal void NoteWritten()
    {
        foreach ((ulong address, ulong length) in _pieces)
            _memory.NoteWrite(address, (int)length);
    }

    private NvmeStatus ReadPrps(ulong first, ulong second)
    {
        if (!Add(first, PageSize - (first % PageSize)))
            return NvmeStatus.DataTransferError;
        if (_left == 0)
            return NvmeStatus.Success;
        if (_left <= PageSize)
            return second % PageSize != 0 ? NvmeStatus.InvalidPrpOffset : Add(second, PageSize) ? NvmeStatus.Success : NvmeStatus.DataTransferError;
        return ReadPrpList(second);
    }

    private NvmeStatus ReadPrpList(ulong list)
    {
        if (list % 8 != 0)
            return NvmeStatus.InvalidPrpOffset;
        byte[] page = new byte[PageSize];
        while (true)
        {
            // A list ends with its page; if it isn't enough, its last entry leads to the next.
            int count = (int)((PageSize - (list % PageSize)) / 8);
            Span<byte> entries = page.AsSpan(0, count * 8);
            if (!_memory.IsRam(list, (ulong)entries.Length) || !_memory.TryRead(list, entries))
                return NvmeStatus.DataTransferError;
            for (int i = 0; i < count; i++)
            {
                ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(entries[(8 * i)..]);
                if (i == count - 1 && _left > PageSize)
                {
                    if (entry % PageSize != 0)
                        return NvmeStatus.InvalidPrpOffset;
                    list = entry;
                    break;
                }

                if (entry % PageSize != 0)
                    return NvmeStatus.InvalidPrpOffset;
                if (!Add(entry, PageSize))
                    return NvmeStatus.DataTransferError;
                if (_left == 0)
                    return NvmeStatus.Success;
            }
        }
    }

    private NvmeStatus ReadSgl(ReadOnlySpan<byte> descriptor)
    {
        byte[] segment = descriptor.ToArray();
        bool isLast = true;
        for (int segments = 0; segments < MaximumSegments; segments++)
        {
            ulong next = 0;
            uint nextLength = 0;
            bool nextIsLast = false;
            for (int at = 0; at < segment.Length; at += 16)
            {
                ulong address = BinaryPrimitives.ReadUInt64LittleEndian(segment.AsSpan(at));
                uint length = BinaryPrimitives.ReadUInt32LittleEndian(segment.AsSpan(at + 8));
                byte type = segment[at + 15];
                switch (type)
                {
                    case 0x00:
                        if (_left != 0 && !Add(address, length))
                            return _pieces.Count >= MaximumPieces ? NvmeStatus.InvalidDescriptorCount : NvmeStatus.DataTransferError;
                        break;
                    case 0x20 or 0x30 when at + 16 == segment.Length && (segments == 0 || !isLast):
                        (next, nextLength, nextIsLast) = (address, length, type == 0x30);
                        break;
                    case 0x20 or 0x30:
                        return NvmeStatus.InvalidSegment;
                    default:
                        return NvmeStatus.InvalidDescriptorType;
                }
            }

            if (nextLength == 0)
                return _left == 0 ? NvmeStatus.Success : NvmeStatus.InvalidDataLength;
            if (nextLength % 16 != 0 || nextLength > MaximumPieces * 16)
                return NvmeStatus.InvalidSegment;
            segment = new byte[nextLength];
            isLast = nextIsLast;
            if (!_memory.IsRam(next, nextLength) || !_memory.TryRead(next, segment))
                return NvmeStatus.DataTransferError;
        }

        return NvmeStatus.InvalidDescriptorCount;
    }

    private bool Add(ulong address, ulong length)
    {
        length = Math.Min(length, _left);
        if (length == 0)
            return true;
        if (!_memory.IsRam(address, length) || _pieces.Count >= MaximumPieces)
            return false;
        _left -= length;
        if (_pieces.Count != 0 && _pieces[^1] is var last && last.Address + last.Length == address)
            _pieces[^1] = (last.Address, last.Length + length);
        else
            _pieces.Add((address, length));
        return true;
    }
}
