using System.Buffers.Binary;

namespace Doppel.Devices.Ata;

/// <summary>
/// A whole sector of a data track in mode 1 (ECMA-130, chapters 14 and annex A): synchronisation, header, 2048 bytes of user
/// data, and the codes that detect and correct errors.
/// </summary>
internal static class CdSector
{
    /// <summary>Bytes of a whole sector, and of its parts.</summary>
    internal const int Length = 2352, SyncLength = 12, HeaderLength = 4, UserLength = 2048, CodeLength = 288;

    private const int UserStart = SyncLength + HeaderLength;
    private const int EdcStart = UserStart + UserLength;
    private const int ParityStart = EdcStart + 12;
    private const int ParityPLength = 172;
    private static readonly uint[] EdcTable = MakeEdcTable();
    private static readonly byte[] Doubled = MakeDoubled();
    private static readonly byte[] Quotient = MakeQuotient();

    /// <summary>A block's place in minutes, seconds and frames; block 0 is at 00:02:00.</summary>
    internal static (byte Minute, byte Second, byte Frame) ToMsf(uint block)
    {
        uint frames = block + 150;
        return ((byte)(frames / (60 * 75)), (byte)(frames / 75 % 60), (byte)(frames % 75));
    }

    /// <summary>Fills everything around the user data.</summary>
    /// <param name="sector">The whole sector, with its user data in place.</param>
    /// <param name="block">Its number.</param>
    internal static void Complete(Span<byte> sector, uint block)
    {
        sector[..SyncLength].Fill(0xFF);
        sector[0] = sector[SyncLength - 1] = 0;
        (byte minute, byte second, byte frame) = ToMsf(block);
        (sector[12], sector[13], sector[14], sector[15]) = (ToDecimal(minute), ToDecimal(second), ToDecimal(frame), 1);
        uint edc = 0;
        foreach (byte part in sector[..EdcStart])
            edc = (edc >> 8) ^ EdcTable[(byte)(edc ^ part)];
        BinaryPrimitives.WriteUInt32LittleEndian(sector[EdcStart..], edc);
        sector.Slice(EdcStart + 4, 8).Clear();
        // P over 86 columns of 24 bytes, Q over 52 diagonals of 43, which take in P.
        AddParity(sector, 86, 24, 2, 86, ParityStart);
        AddParity(sector, 52, 43, 86, 88, ParityStart + ParityPLength);
    }

    private static byte ToDecimal(byte value) => (byte)((value / 10 << 4) | (value % 10));

    // The vectors run over the 2,340 bytes from the header on: two interleaved planes of even and odd bytes.
    private static void AddParity(Span<byte> sector, int majorCount, int minorCount, int majorStep, int minorStep, int parity)
    {
        Span<byte> data = sector[SyncLength..];
        int size = majorCount * minorCount;
        for (int major = 0; major < majorCount; major++)
        {
            int index = ((major >> 1) * majorStep) + (major & 1);
            byte a = 0, b = 0;
            for (int minor = 0; minor < minorCount; minor++)
            {
                byte value = data[index];
                index += minorStep;
                if (index >= size)
                    index -= size;
                a ^= value;
                b ^= value;
                a = Doubled[a];
            }

            a = Quotient[Doubled[a] ^ b];
            sector[parity + major] = a;
            sector[parity + majorCount + major] = (byte)(a ^ b);
        }
    }

    // P(x) = (x^16 + x^15 + x^2 + 1)(x^16 + x^2 + x + 1), least significant bit first.
    private static uint[] MakeEdcTable()
    {
        uint[] table = new uint[256];
        for (uint i = 0; i < table.Length; i++)
        {
            uint value = i;
            for (int bit = 0; bit < 8; bit++)
                value = (value >> 1) ^ ((value & 1) != 0 ? 0xD801_8001 : 0);
            table[i] = value;
        }

        return table;
    }

    // Multiplication by 2 in GF(2^8) with x^8 + x^4 + x^3 + x^2 + 1.
    private static byte[] MakeDoubled() => [.. Enumerable.Range(0, 256).Select(i => (byte)((i << 1) ^ ((i & 0x80) != 0 ? 0x11D : 0)))];

    // Division by 3 in the same field.
    private static byte[] MakeQuotient()
    {
        byte[] table = new byte[256];
        for (int i = 0; i < table.Length; i++)
            table[i ^ Doubled[i]] = (byte)i;
        return table;
    }
}
