namespace Doppel.Vmm.Debugging;

/// <summary>
/// The framing of GDB's remote serial protocol: <c>$payload#checksum</c> (GDB manual, appendix E.1). A payload is text
/// whose characters are bytes; <c>}</c> escapes.
/// </summary>
public static class GdbPacket
{
    private const byte Start = (byte)'$';
    private const byte End = (byte)'#';
    private const byte Escape = (byte)'}';
    private const byte Repeat = (byte)'*';

    /// <summary>Makes a packet.</summary>
    /// <param name="payload">Characters 0 to FFh.</param>
    public static byte[] Encode(string payload)
    {
        ArgumentNullException.ThrowIfNull(payload);
        var bytes = new List<byte>(payload.Length + 4) { Start };
        byte sum = 0;
        foreach (char c in payload)
        {
            byte b = (byte)c;
            if (b is Start or End or Escape or Repeat)
            {
                Put(Escape);
                b ^= 0x20;
            }

            Put(b);
        }

        bytes.Add(End);
        bytes.Add((byte)HexDigit(sum >> 4));
        bytes.Add((byte)HexDigit(sum & 15));
        return [.. bytes];

        void Put(byte b)
        {
            bytes.Add(b);
            sum += b;
        }
    }

    /// <summary>The text of bytes in hexadecimal, two small digits each.</summary>
    public static string ToHex(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(bytes);

    /// <summary>Reads pairs of hexadecimal digits; false when it is anything else.</summary>
    public static bool TryParseHex(ReadOnlySpan<char> text, out byte[] bytes)
    {
        bytes = new byte[text.Length / 2];
        if (text.Length % 2 != 0)
            return false;
        for (int i = 0; i < bytes.Length; i++)
        {
            int high = DigitValue(text[2 * i]);
            int low = DigitValue(text[(2 * i) + 1]);
            if ((high | low) < 0)
                return false;
            bytes[i] = (byte)((high << 4) | low);
        }

        return true;
    }

    /// <summary>Reads a number of 1 to 16 hexadecimal digits.</summary>
    public static bool TryParseNumber(ReadOnlySpan<char> text, out ulong value)
    {
        value = 0;
        if (text.Length is 0 or > 16)
            return false;
        foreach (char c in text)
        {
            int digit = DigitValue(c);
            if (digit < 0)
                return false;
            value = (value << 4) | (uint)digit;
        }

        return true;
    }

    internal static int DigitValue(int c) => c switch
    {
        >= '0' and <= '9' => c - '0',
        >= 'a' and <= 'f' => c - 'a' + 10,
        >= 'A' and <= 'F' => c - 'A' + 10,
        _ => -1,
    };

    private static char HexDigit(int value) => "0123456789abcdef"[value];
}
