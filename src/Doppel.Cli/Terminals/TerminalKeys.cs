using System.Globalization;
using System.Text;
using Doppel.Devices.Input;

namespace Doppel.Cli.Terminals;

/// <summary>
/// Makes key presses of the bytes that a terminal sends (ECMA-48 and xterm's control sequences): combinations of keys that
/// are pressed together.
/// </summary>
internal static class TerminalKeys
{
    private static readonly KeyCode Ctrl = new(0x1D), Alt = new(0x38), Shift = KeyCode.LeftShift;

    /// <summary>The combinations in what was read at once.</summary>
    internal static IEnumerable<IReadOnlyList<KeyCode>> Decode(byte[] typed)
    {
        for (int i = 0; i < typed.Length;)
        {
            if (typed[i] != 0x1B || i + 1 == typed.Length)
            {
                if (Plain(typed[i++]) is { } keys)
                    yield return keys;
                continue;
            }

            byte next = typed[i + 1];
            if (next is (byte)'[' or (byte)'O')
            {
                int end = i + 2;
                while (end < typed.Length && typed[end] is < 0x40 or > 0x7E)
                    end++;
                if (end < typed.Length)
                {
                    if (Sequence(Encoding.ASCII.GetString(typed, i + 2, end - i - 2), (char)typed[end], next == 'O') is { } special)
                        yield return special;
                    i = end + 1;
                    continue;
                }
            }

            // Alt sends Escape and the key.
            if (next != 0x1B && Plain(next) is { } withAlt)
            {
                yield return [Alt, .. withAlt];
                i += 2;
                continue;
            }

            yield return [new KeyCode(0x01)];
            i++;
        }
    }

    private static IReadOnlyList<KeyCode>? Plain(byte value)
    {
        switch (value)
        {
            case 0x0D or 0x0A:
                return [new KeyCode(0x1C)];
            case 0x7F:
                return [new KeyCode(0x0E)];
            case 0x00:
                return [Ctrl, new KeyCode(0x39)];
            case 0x09 or 0x08 or 0x1B or (>= 0x20 and < 0x7F):
                return KeyNames.TryFind((char)value, out KeyCode key, out bool shift) ? shift ? [Shift, key] : [key] : null;
            case < 0x20:
                char letter = (char)(value + 0x60);
                return KeyNames.TryFind(letter, out key, out _) ? [Ctrl, key] : null;
            default:
                return null;
        }
    }

    // CSI parameters, final byte; SS3 has no parameters. A second parameter says which of Shift, Alt and Ctrl are held.
    private static List<KeyCode>? Sequence(string parameters, char final, bool isSs3)
    {
        string[] parts = parameters.Split(';');
        _ = int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int number);
        int held = parts.Length > 1 && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int modifier) ? modifier - 1 : 0;
        byte code = final switch
        {
            'A' => 0xC8,
            'B' => 0xD0,
            'C' => 0xCD,
            'D' => 0xCB,
            'H' => 0xC7,
            'F' => 0xCF,
            'P' => 0x3B,
            'Q' => 0x3C,
            'R' => 0x3D,
            'S' => 0x3E,
            'M' when isSs3 => 0x9C,
            'Z' => 0x0F,
            '~' => number switch
            {
                1 or 7 => 0xC7,
                2 => 0xD2,
                3 => 0xD3,
                4 or 8 => 0xCF,
                5 => 0xC9,
                6 => 0xD1,
                11 => 0x3B,
                12 => 0x3C,
                13 => 0x3D,
                14 => 0x3E,
                15 => 0x3F,
                17 => 0x40,
                18 => 0x41,
                19 => 0x42,
                20 => 0x43,
                21 => 0x44,
                23 => 0x57,
                24 => 0x58,
                _ => 0,
            },
            _ => 0,
        };
        if (code == 0)
            return null;
        var keys = new List<KeyCode>();
        if ((held & 1) != 0 || final == 'Z')
            keys.Add(Shift);
        if ((held & 2) != 0)
            keys.Add(Alt);
        if ((held & 4) != 0)
            keys.Add(Ctrl);
        keys.Add(new KeyCode(code));
        return keys;
    }
}
