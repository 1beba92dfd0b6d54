using System.Buffers.Binary;

namespace Doppel.Devices.Nvme;

/// <summary>A command of 64 bytes as it was fetched (NVMe 1.4, 4.2), and where it came from.</summary>
internal sealed class NvmeCommand
{
    internal const int Length = 64;

    private readonly byte[] _bytes;

    internal NvmeCommand(byte[] bytes, ushort queue)
    {
        _bytes = bytes;
        Queue = queue;
    }

    /// <summary>Number of the submission queue.</summary>
    internal ushort Queue { get; }

    internal ReadOnlySpan<byte> Bytes => _bytes;

    internal byte Opcode => _bytes[0];

    /// <summary>True for the second half of a fused operation; none are supported.</summary>
    internal bool IsFused => (_bytes[1] & 3) != 0;

    /// <summary>How <see cref="Pointer"/> is to be read: 0 for PRPs, 1 and 2 for SGLs.</summary>
    internal int PointerKind => _bytes[1] >> 6;

    internal ushort Id => BinaryPrimitives.ReadUInt16LittleEndian(_bytes.AsSpan(2));

    internal uint Namespace => BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(4));

    /// <summary>The data pointer: PRP entries 1 and 2, or one SGL descriptor.</summary>
    internal ReadOnlySpan<byte> Pointer => _bytes.AsSpan(24, 16);

    internal ulong Prp1 => BinaryPrimitives.ReadUInt64LittleEndian(Pointer);

    internal ulong Prp2 => BinaryPrimitives.ReadUInt64LittleEndian(Pointer[8..]);

    /// <summary>Command doubleword 10 to 15.</summary>
    internal uint Word(int number) => BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(4 * number));

    internal ulong FirstBlock => Word(10) | ((ulong)Word(11) << 32);
}
