using Doppel.Vmm.Boot;

namespace Doppel.Daemon.Tests;

/// <summary>A Multiboot kernel that sends every byte of the first serial port back plus one; 'q' powers off, 't' ends in a triple fault.</summary>
internal static class EchoGuest
{
    internal static byte[] Image { get; } = Create();

    private static byte[] Create()
    {
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
            0x74, 0x09, // je off
            0x3C, 0x74, // cmp al, 't'
            0x74, 0x10, // je fault
            0xFE, 0xC0, // inc al
            0xEE, // out dx, al
            0xEB, 0xE5, // jmp 5
            0x66, 0xBA, 0x04, 0x06, 0x66, 0xB8, 0x00, 0x34, 0x66, 0xEF, 0xF4, // off: S5
            0x6A, 0x00, 0x6A, 0x00, 0x0F, 0x01, 0x1C, 0x24, 0xCC, // fault: lidt of nothing, int3
        ];
        return MultibootImage.Create(code);
    }
}
