using System.Buffers.Binary;

namespace Doppel.Daemon.Tests;

/// <summary>A Multiboot kernel that prints every byte of the first serial port on the parallel port, beeps at 1000 Hz for 30 ms and sends the byte back plus one; 'q' powers off.</summary>
internal static class BoardGuest
{
    internal static byte[] Image { get; } = Create();

    private static byte[] Create()
    {
        const uint Base = 0x100000, Start = 0x40;
        byte[] code =
        [
            0xBC, 0x00, 0x00, 0x11, 0x00, // mov esp, 110000h
            0x66, 0xBA, 0xFD, 0x03, // 5: mov dx, 3FDh
            0xEC, // in al, dx
            0xA8, 0x01, // test al, 1
            0x74, 0xF7, // jz 5
            0x66, 0xBA, 0xF8, 0x03, // mov dx, 3F8h
            0xEC, // in al, dx
            0x3C, 0x71, // cmp al, 'q'
            0x74, 0x43, // je off
            0x50, // push eax
            0x66, 0xBA, 0x78, 0x03, 0xEE, // mov dx, 378h; out dx, al
            0x66, 0xBA, 0x7A, 0x03, // mov dx, 37Ah
            0xB0, 0x0D, 0xEE, 0xB0, 0x0C, 0xEE, // mov al, 0Dh; out dx, al; mov al, 0Ch; out dx, al
            0xB0, 0xB6, 0xE6, 0x43, // mov al, B6h; out 43h, al
            0xB0, 0xA9, 0xE6, 0x42, 0xB0, 0x04, 0xE6, 0x42, // the count 1193
            0xE4, 0x61, 0x0C, 0x03, 0xE6, 0x61, // in al, 61h; or al, 3; out 61h, al
            0xB9, 0xD0, 0x07, 0x00, 0x00, // mov ecx, 2000: as many changes of the refresh bit
            0xE4, 0x61, 0x24, 0x10, // wait: in al, 61h; and al, 10h
            0x38, 0xE0, 0x74, 0xF8, // cmp al, ah; je wait
            0x88, 0xC4, 0xE2, 0xF4, // mov ah, al; loop wait
            0xE4, 0x61, 0x24, 0xFC, 0xE6, 0x61, // in al, 61h; and al, FCh; out 61h, al
            0x58, 0xFE, 0xC0, // pop eax; inc al
            0x66, 0xBA, 0xF8, 0x03, 0xEE, // mov dx, 3F8h; out dx, al
            0xEB, 0xAB, // jmp 5
            0x66, 0xBA, 0x04, 0x06, 0x66, 0xB8, 0x00, 0x34, 0x66, 0xEF, 0xF4, // off: S5
        ];
        byte[] image = [.. new byte[Start], .. code];
        uint[] header = [0x1BADB002, 1 << 16, unchecked(0u - 0x1BADB002 - (1 << 16)), Base, Base, 0, 0, Base + Start];
        for (int i = 0; i < header.Length; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(4 * i), header[i]);
        return image;
    }
}
