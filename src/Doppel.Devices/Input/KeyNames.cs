using System.Collections.Frozen;
using System.Diagnostics.CodeAnalysis;

namespace Doppel.Devices.Input;

/// <summary>The names of keys, and the keys that make a character on a US keyboard.</summary>
public static class KeyNames
{
    private static readonly (string Names, byte Code)[] Table =
    [
        ("esc escape", 0x01), ("1", 0x02), ("2", 0x03), ("3", 0x04), ("4", 0x05), ("5", 0x06), ("6", 0x07), ("7", 0x08), ("8", 0x09), ("9", 0x0A), ("0", 0x0B),
        ("minus", 0x0C), ("equal", 0x0D), ("backspace", 0x0E), ("tab", 0x0F),
        ("q", 0x10), ("w", 0x11), ("e", 0x12), ("r", 0x13), ("t", 0x14), ("y", 0x15), ("u", 0x16), ("i", 0x17), ("o", 0x18), ("p", 0x19),
        ("bracketleft", 0x1A), ("bracketright", 0x1B), ("enter return ret", 0x1C), ("ctrl control leftctrl", 0x1D),
        ("a", 0x1E), ("s", 0x1F), ("d", 0x20), ("f", 0x21), ("g", 0x22), ("h", 0x23), ("j", 0x24), ("k", 0x25), ("l", 0x26),
        ("semicolon", 0x27), ("apostrophe quote", 0x28), ("grave", 0x29), ("shift leftshift", 0x2A), ("backslash", 0x2B),
        ("z", 0x2C), ("x", 0x2D), ("c", 0x2E), ("v", 0x2F), ("b", 0x30), ("n", 0x31), ("m", 0x32), ("comma", 0x33), ("period dot", 0x34), ("slash", 0x35),
        ("rightshift", 0x36), ("kpmultiply", 0x37), ("alt leftalt", 0x38), ("space", 0x39), ("capslock", 0x3A),
        ("f1", 0x3B), ("f2", 0x3C), ("f3", 0x3D), ("f4", 0x3E), ("f5", 0x3F), ("f6", 0x40), ("f7", 0x41), ("f8", 0x42), ("f9", 0x43), ("f10", 0x44), ("f11", 0x57), ("f12", 0x58),
        ("numlock", 0x45), ("scrolllock", 0x46), ("kp7", 0x47), ("kp8", 0x48), ("kp9", 0x49), ("kpminus", 0x4A), ("kp4", 0x4B), ("kp5", 0x4C), ("kp6", 0x4D),
        ("kpplus", 0x4E), ("kp1", 0x4F), ("kp2", 0x50), ("kp3", 0x51), ("kp0", 0x52), ("kpdot", 0x53), ("less", 0x56),
        ("kpenter", 0x9C), ("rightctrl", 0x9D), ("kpdivide", 0xB5), ("print printscreen sysrq", 0xB7), ("rightalt altgr", 0xB8), ("pause break", 0xC6),
        ("home", 0xC7), ("up", 0xC8), ("pageup pgup", 0xC9), ("left", 0xCB), ("right", 0xCD), ("end", 0xCF), ("down", 0xD0), ("pagedown pgdn", 0xD1),
        ("insert ins", 0xD2), ("delete del", 0xD3), ("super meta win leftmeta", 0xDB), ("rightmeta", 0xDC), ("menu", 0xDD), ("power", 0xDE),
    ];

    private static readonly FrozenDictionary<string, KeyCode> Keys = Table
        .SelectMany(entry => entry.Names.Split(' ').Select(name => (name, Code: new KeyCode(entry.Code))))
        .ToFrozenDictionary(entry => entry.name, entry => entry.Code, StringComparer.OrdinalIgnoreCase);

    private static readonly FrozenDictionary<char, (KeyCode Key, bool Shift)> Characters = MakeCharacters();

    /// <summary>The names that people are told of.</summary>
    public static IEnumerable<string> All => Table.Select(entry => entry.Names.Split(' ')[0]);

    /// <summary>Every key that has a name.</summary>
    public static IEnumerable<KeyCode> Codes => Table.Select(entry => new KeyCode(entry.Code));

    /// <summary>The key of a name, or of a character that needs no Shift.</summary>
    public static bool TryFind(string name, out KeyCode key)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (Keys.TryGetValue(name, out key))
            return true;
        if (name.Length == 1 && Characters.TryGetValue(name[0], out (KeyCode Key, bool Shift) found) && !found.Shift)
        {
            key = found.Key;
            return true;
        }

        return false;
    }

    /// <summary>The key that makes a character on a US keyboard, and whether Shift is held with it.</summary>
    public static bool TryFind(char character, out KeyCode key, out bool shift)
    {
        bool found = Characters.TryGetValue(character, out (KeyCode Key, bool Shift) entry);
        (key, shift) = entry;
        return found;
    }

    /// <summary>Reads keys that are pressed together, such as "ctrl-alt-f2".</summary>
    /// <param name="text">Names with dashes or plus signs between them; the dash itself is "minus".</param>
    /// <param name="keys">The keys in their order.</param>
    /// <param name="unknown">The name that no key has.</param>
    public static bool TryParseCombination(string text, out IReadOnlyList<KeyCode> keys, [NotNullWhen(false)] out string? unknown)
    {
        ArgumentNullException.ThrowIfNull(text);
        var found = new List<KeyCode>();
        keys = found;
        unknown = null;
        foreach (string name in text.Length == 1 ? [text] : text.Split('-', '+'))
        {
            if (!TryFind(name, out KeyCode key))
            {
                unknown = name;
                return false;
            }

            found.Add(key);
        }

        return true;
    }

    private static FrozenDictionary<char, (KeyCode, bool)> MakeCharacters()
    {
        var found = new Dictionary<char, (KeyCode, bool)>();
        const string Plain = "`1234567890-=qwertyuiop[]\\asdfghjkl;'zxcvbnm,./ ";
        const string Shifted = "~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:\"ZXCVBNM<>?";
        ReadOnlySpan<byte> codes =
        [
            0x29, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x2B,
            0x1E, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x2C, 0x2D, 0x2E, 0x2F, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x39,
        ];
        for (int i = 0; i < Plain.Length; i++)
        {
            found[Plain[i]] = (new KeyCode(codes[i]), false);
            if (i < Shifted.Length)
                found[Shifted[i]] = (new KeyCode(codes[i]), true);
        }

        found['\n'] = (new KeyCode(0x1C), false);
        found['\t'] = (new KeyCode(0x0F), false);
        found['\b'] = (new KeyCode(0x0E), false);
        found['\e'] = (new KeyCode(0x01), false);
        return found.ToFrozenDictionary();
    }
}
