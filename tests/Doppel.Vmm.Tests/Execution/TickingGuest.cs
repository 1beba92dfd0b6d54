using Doppel.Vmm.Boot;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Tests.Execution;

/// <summary>
/// A Multiboot kernel that programs the 8259s and the 8254, works a little, halts until the timer's next interrupt, and
/// powers off after <see cref="Ticks"/> of them. At each it sends a character and notes the time stamp counter.
/// </summary>
internal static class TickingGuest
{
    internal const int Ticks = 40;

    /// <summary>Counts of the 8254 between two interrupts.</summary>
    internal const int Divisor = 1193;

    /// <summary>Where the low halves of the time stamp counter are noted.</summary>
    internal const ulong Stamps = 0x7100;

    private const uint Base = MultibootImage.Base;
    private const uint Start = MultibootImage.CodeOffset;
    private const int Gdt = 0x8000;
    private const int Idt = 0x9000;
    private const int Counter = 0x7000;

    internal static IBootLoader Create()
    {
        // The second time the addresses of the labels are known.
        (_, int flat, int handler) = Assemble(0, 0);
        (byte[] code, _, _) = Assemble(flat, handler);
        return BootImage.Recognise(new BootFile("ticking", MultibootImage.Create(code)));
    }

    private static (byte[] Code, int Flat, int Handler) Assemble(int flatAddress, int handlerAddress)
    {
        var a = new Assembler(32);
        Label flat = a.CreateLabel(), loop = a.CreateLabel(), work = a.CreateLabel(), handler = a.CreateLabel();
        a.mov(esp, 0x90000);
        a.mov(__dword_ptr[Gdt + 8], 0x0000FFFF);
        a.mov(__dword_ptr[Gdt + 12], 0x00CF9B00);
        a.mov(__dword_ptr[Gdt + 16], 0x0000FFFF);
        a.mov(__dword_ptr[Gdt + 20], 0x00CF9300);
        a.mov(__word_ptr[Gdt + 0x100], 0x17);
        a.mov(__dword_ptr[Gdt + 0x102], Gdt);
        a.lgdt(__fword_ptr[Gdt + 0x100]);
        a.push(8);
        a.mov(eax, flatAddress);
        a.push(eax);
        a.retf();
        a.Label(ref flat);
        a.mov(eax, 0x10);
        a.mov(ds, eax);
        a.mov(es, eax);
        a.mov(ss, eax);
        a.mov(eax, handlerAddress);
        a.mov(__word_ptr[Idt + 0x100], ax);
        a.shr(eax, 16);
        a.mov(__word_ptr[Idt + 0x106], ax);
        a.mov(__word_ptr[Idt + 0x102], 8);
        a.mov(__word_ptr[Idt + 0x104], 0x8E00);
        a.mov(__word_ptr[Gdt + 0x110], 0x7FF);
        a.mov(__dword_ptr[Gdt + 0x112], Idt);
        a.lidt(__fword_ptr[Gdt + 0x110]);
        foreach ((byte port, byte value) in new (byte, byte)[]
        {
            (0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xFE), (0xA0, 0x11), (0xA1, 0x28), (0xA1, 2), (0xA1, 1), (0xA1, 0xFF),
            (0x43, 0x34), (0x40, Divisor & 0xFF), (0x40, Divisor >> 8), (0x70, 0x0B), (0x71, 0x12),
        })
        {
            a.mov(al, value);
            a.@out(port, al);
        }

        // A register of the ISA bridge, which has a section of its own.
        a.mov(dx, 0xCF8);
        a.mov(eax, unchecked((int)0x80000860));
        a.@out(dx, eax);
        a.mov(dx, 0xCFC);
        a.mov(al, 0x0A);
        a.@out(dx, al);
        a.mov(__dword_ptr[Counter], 0);
        a.sti();
        a.Label(ref loop);
        a.mov(ecx, 2000);
        a.Label(ref work);
        a.imul(ebx, ebx, 0x343FD);
        a.adc(ebx, ecx);
        a.dec(ecx);
        a.jnz(work);
        a.hlt();
        a.cmp(__dword_ptr[Counter], Ticks);
        a.jb(loop);
        a.cli();
        a.mov(dx, 0x604);
        a.mov(ax, 0x3400);
        a.@out(dx, ax);
        a.hlt();
        a.Label(ref handler);
        a.pushad();
        a.rdtsc();
        a.mov(ecx, __dword_ptr[Counter]);
        a.mov(__dword_ptr[ecx * 4 + (int)Stamps], eax);
        a.inc(__dword_ptr[Counter]);
        a.mov(dx, 0x3F8);
        a.lea(eax, __[ecx + 0x30]);
        a.@out(dx, al);
        a.mov(al, 0x20);
        a.@out(0x20, al);
        a.popad();
        a.iretd();
        using var code = new MemoryStream();
        AssemblerResult result = a.Assemble(new StreamCodeWriter(code), Base + Start, BlockEncoderOptions.ReturnNewInstructionOffsets);
        return (code.ToArray(), (int)result.GetLabelRIP(flat), (int)result.GetLabelRIP(handler));
    }
}
