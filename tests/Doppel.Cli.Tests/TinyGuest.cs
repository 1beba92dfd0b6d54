using System.Buffers.Binary;
using System.Text;
using Doppel.Vmm.Boot;

namespace Doppel.Cli.Tests;

/// <summary>A Multiboot kernel of a few instructions: writes a text to the first serial port, then does one thing.</summary>
internal static class TinyGuest
{
    /// <summary>mov dx, 604h; mov ax, 3400h; out dx, ax (S5); hlt.</summary>
    internal static readonly byte[] PowerOff = [0x66, 0xBA, 0x04, 0x06, 0x66, 0xB8, 0x00, 0x34, 0x66, 0xEF, 0xF4];

    /// <summary>mov dx, CF9h; mov al, 6; out dx, al; hlt.</summary>
    internal static readonly byte[] Reset = [0x66, 0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE, 0xF4];

    /// <summary>push 0; push 0; lidt [esp]; int3.</summary>
    internal static readonly byte[] TripleFault = [0x6A, 0x00, 0x6A, 0x00, 0x0F, 0x01, 0x1C, 0x24, 0xCC];

    /// <summary>mov al, 10h; out F4h, al; hlt.</summary>
    internal static readonly byte[] DebugExit = [0xB0, 0x10, 0xE6, 0xF4, 0xF4];

    /// <summary>cli; hlt; and again.</summary>
    internal static readonly byte[] Hang = [0xFA, 0xF4, 0xEB, 0xFC];

    /// <summary>Sends every byte that comes back plus one, until it is 'q': then powers off.</summary>
    internal static readonly byte[] Echo =
    [
        0x66, 0xBA, 0xFD, 0x03, // 0: mov dx, 3FDh
        0xEC, // in al, dx
        0xA8, 0x01, // test al, 1
        0x74, 0xF7, // jz 0
        0x66, 0xBA, 0xF8, 0x03, // mov dx, 3F8h
        0xEC, // in al, dx
        0x3C, 0x71, // cmp al, 'q'
        0x74, 0x05, // je end
        0xFE, 0xC0, // inc al
        0xEE, // out dx, al
        0xEB, 0xE9, // jmp 0
        .. PowerOff,
    ];

    internal static byte[] Create(string text, byte[] ending)
    {
        const uint Base = MultibootImage.Base, Start = MultibootImage.CodeOffset;
        byte[] message = [.. Encoding.UTF8.GetBytes(text), 0];
        byte[] code =
        [
            0xBE, 0, 0, 0, 0, // mov esi, message
            0xBC, 0x00, 0x00, 0x11, 0x00, // mov esp, 110000h
            0xAC, // lodsb
            0x84, 0xC0, // test al, al
            0x74, 0x07, // jz ending
            0x66, 0xBA, 0xF8, 0x03, // mov dx, 3F8h
            0xEE, // out dx, al
            0xEB, 0xF4, // jmp lodsb
            .. ending,
        ];
        BinaryPrimitives.WriteUInt32LittleEndian(code.AsSpan(1), Base + Start + (uint)code.Length);
        return MultibootImage.Create([.. code, .. message]);
    }
}
