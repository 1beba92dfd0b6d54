using Doppel.Devices.Input;

namespace Doppel.Devices.Pc;

/// <summary>What a keyboard sends for its keys in each of the three scan code sets (IBM PS/2 technical reference, "101/102-key keyboard").</summary>
internal static class Ps2KeyCodes
{
    private const byte Extended = 0xE0, Break = 0xF0;
    private static readonly byte[] Set2 = MakeSet2();

    // Set 3 has one byte for each key; what isn't here has that of set 2.
    private static readonly Dictionary<byte, byte> Set3 = new (byte Key, byte Code)[]
    {
        (0x01, 0x08), (0x1D, 0x11), (0x38, 0x19), (0x3A, 0x14), (0x2B, 0x5C), (0x56, 0x13),
        (0x3B, 0x07), (0x3C, 0x0F), (0x3D, 0x17), (0x3E, 0x1F), (0x3F, 0x27), (0x40, 0x2F), (0x41, 0x37), (0x42, 0x3F), (0x43, 0x47), (0x44, 0x4F), (0x57, 0x56), (0x58, 0x5E),
        (0x45, 0x76), (0x46, 0x5F), (0x37, 0x7E), (0x4A, 0x84), (0x4E, 0x7C),
        (0x9C, 0x79), (0x9D, 0x58), (0xB5, 0x77), (0xB7, 0x57), (0xB8, 0x39), (0xC6, 0x62),
        (0xC7, 0x6E), (0xC8, 0x63), (0xC9, 0x6F), (0xCB, 0x61), (0xCD, 0x6A), (0xCF, 0x65), (0xD0, 0x60), (0xD1, 0x6D), (0xD2, 0x67), (0xD3, 0x64),
        (0xDB, 0x8B), (0xDC, 0x8C), (0xDD, 0x8D),
    }.ToDictionary(entry => entry.Key, entry => entry.Code);

    /// <summary>The code of a key in set 3.</summary>
    internal static byte ToSet3(KeyCode key) => Set3.TryGetValue(key.Number, out byte code) ? code : Set2[key.Number & 0x7F];

    /// <summary>What set 3 does with a key after power-on.</summary>
    internal static KeyMode DefaultMode(byte set3) => set3 switch
    {
        // Shift, Ctrl, left Alt and Caps Lock tell when they are let go.
        0x12 or 0x59 or 0x11 or 0x14 or 0x19 => KeyMode.MakeBreak,
        // Function keys, the keypad's and those of the middle block don't; nor do the right Ctrl and Alt.
        0x07 or 0x08 or 0x0F or 0x17 or 0x1F or 0x27 or 0x2F or 0x37 or 0x3F or 0x47 or 0x4F or 0x56 or 0x5E or 0x57 or 0x5F or 0x62 => KeyMode.Make,
        0x39 or 0x58 or 0x65 or 0x67 or 0x6D or 0x6E or 0x6F or 0x76 or 0x77 or 0x79 or 0x6B or 0x6C or 0x69 or 0x70 or 0x71 or 0x72 or 0x73 or 0x74 or 0x75 or 0x7A or 0x7D or 0x7E or 0x84 => KeyMode.Make,
        _ => KeyMode.Typematic,
    };

    /// <summary>The bytes for a key that goes down or up.</summary>
    /// <param name="key">The key.</param>
    /// <param name="isDown">Which of the two.</param>
    /// <param name="set">1 to 3.</param>
    /// <param name="ctrl">True while a Ctrl key is held.</param>
    /// <param name="alt">True while an Alt key is held.</param>
    internal static byte[] Encode(KeyCode key, bool isDown, int set, bool ctrl, bool alt)
    {
        // A key that no keyboard of 102 keys has.
        if (ToSet3(key) == 0)
            return [];
        if (set == 3)
            return isDown ? [ToSet3(key)] : [Break, ToSet3(key)];
        if (key == KeyCode.Pause)
        {
            // It is sent when it goes down, and nothing when it goes up.
            if (!isDown)
                return [];
            if (ctrl)
                return set == 1 ? [Extended, 0x46, Extended, 0xC6] : [Extended, 0x7E, Extended, Break, 0x7E];
            return set == 1 ? [0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5] : [0xE1, 0x14, 0x77, 0xE1, Break, 0x14, Break, 0x77];
        }

        if (key == KeyCode.PrintScreen)
        {
            if (alt)
                return set == 1 ? [(byte)(isDown ? 0x54 : 0xD4)] : isDown ? [0x84] : [Break, 0x84];
            if (ctrl)
                return set == 1 ? [Extended, (byte)(isDown ? 0x37 : 0xB7)] : isDown ? [Extended, 0x7C] : [Extended, Break, 0x7C];
            if (set == 1)
                return isDown ? [Extended, 0x2A, Extended, 0x37] : [Extended, 0xB7, Extended, 0xAA];
            return isDown ? [Extended, 0x12, Extended, 0x7C] : [Extended, Break, 0x7C, Extended, Break, 0x12];
        }

        byte code = (byte)(key.Number & 0x7F);
        byte[] bytes = set == 1 ? [(byte)(isDown ? code : code | 0x80)] : isDown ? [Set2[code]] : [Break, Set2[code]];
        return key.IsExtended ? [Extended, .. bytes] : bytes;
    }

    // The 8042's table backwards. F7 and Alt-SysRq have codes of their own that others lead to as well.
    private static byte[] MakeSet2()
    {
        byte[] codes = new byte[128];
        for (int code = 0x84; code > 0; code--)
        {
            byte set1 = ScanCodeTranslation.ToSet1((byte)code);
            if (set1 < 0x80 && (code < 0x80 || set1 is 0x41 or 0x54))
                codes[set1] = (byte)code;
        }

        codes[0x41] = 0x83;
        codes[0x54] = 0x84;
        return codes;
    }
}

/// <summary>What a key of scan code set 3 sends.</summary>
internal enum KeyMode : byte
{
    /// <summary>A code when it goes down, again and again while it is held, and one when it goes up.</summary>
    TypematicMakeBreak,

    /// <summary>A code when it goes down, again and again while it is held.</summary>
    Typematic,

    /// <summary>A code when it goes down and one when it goes up.</summary>
    MakeBreak,

    /// <summary>A code when it goes down.</summary>
    Make,
}
