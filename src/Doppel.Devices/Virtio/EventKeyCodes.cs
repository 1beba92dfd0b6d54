using System.Collections.Frozen;
using Doppel.Devices.Input;

namespace Doppel.Devices.Virtio;

/// <summary>The numbers that evdev gives to keys (Linux include/uapi/linux/input-event-codes.h).</summary>
internal static class EventKeyCodes
{
    // The codes of set 1 up to 53h are evdev's own, as are those of the keys that came with 102 of them.
    private const byte LastOfXt = 0x53;

    private static readonly (byte Key, ushort Number)[] Table =
    [
        (0x54, 99), (0x56, 86), (0x57, 87), (0x58, 88), // SysRq with Alt, the 102nd key, F11, F12
        (0x59, 117), (0x70, 93), (0x73, 89), (0x79, 92), (0x7B, 94), (0x7D, 124), (0x7E, 121), // keypad =, and those of Japan and Brazil
        (0x90, 165), (0x99, 163), (0x9C, 96), (0x9D, 97), (0xA0, 113), (0xA1, 140), (0xA2, 164), (0xA4, 166), // tracks, keypad Enter, right Ctrl, mute, calculator, play, stop
        (0xAE, 114), (0xB0, 115), (0xB2, 172), (0xB5, 98), (0xB7, 99), (0xB8, 100), // volume, home page, keypad /, SysRq, right Alt
        (0xC6, 119), (0xC7, 102), (0xC8, 103), (0xC9, 104), (0xCB, 105), (0xCD, 106), (0xCF, 107), (0xD0, 108), (0xD1, 109), (0xD2, 110), (0xD3, 111), // Pause, the keys between the blocks
        (0xDB, 125), (0xDC, 126), (0xDD, 127), (0xDE, 116), (0xDF, 142), (0xE3, 143), // Meta, Menu, power, sleep, wake
        (0xE5, 217), (0xE6, 156), (0xE7, 173), (0xE8, 128), (0xE9, 159), (0xEA, 158), (0xEB, 157), (0xEC, 155), (0xED, 226), // those of a browser
    ];

    private static readonly FrozenDictionary<byte, ushort> Others = Table.ToFrozenDictionary(entry => entry.Key, entry => entry.Number);

    /// <summary>Every number that a key here has, ascending.</summary>
    internal static IEnumerable<ushort> All => Enumerable.Range(1, LastOfXt).Select(code => (ushort)code).Concat(Others.Values).Distinct().Order();

    /// <summary>The number of a key; null when it has none.</summary>
    internal static ushort? Find(KeyCode key) =>
        key.Number is > 0 and <= LastOfXt ? key.Number : Others.TryGetValue(key.Number, out ushort code) ? code : null;
}
