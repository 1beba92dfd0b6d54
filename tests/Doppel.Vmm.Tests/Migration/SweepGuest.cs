using Doppel.Vmm.Boot;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Tests.Migration;

/// <summary>
/// A Multiboot kernel that writes another pattern to all of a range of memory again and again, and checks before each write
/// that the one before is there. It sends "." for each pass, "X" for a wrong word, "T" when its time goes back, and what it
/// receives plus one.
/// </summary>
internal static class SweepGuest
{
    internal const uint First = 4 << 20;
    private const uint Base = MultibootImage.Base;
    private const uint Start = MultibootImage.CodeOffset;
    private const int Serial = 0x3F8;

    /// <summary>The kernel.</summary>
    /// <param name="length">Bytes of the range.</param>
    /// <param name="stride">Bytes from a word to the next.</param>
    internal static byte[] Create(uint length, int stride = 256)
    {
        var code = new Assembler(32);
        Label pass = code.CreateLabel(), next = code.CreateLabel(), fresh = code.CreateLabel(), wrong = code.CreateLabel(), back = code.CreateLabel(), silent = code.CreateLabel(), halt = code.CreateLabel();
        code.mov(esp, 0x200000);
        code.xor(ebx, ebx);
        code.xor(ebp, ebp);
        code.Label(ref pass);
        code.mov(esi, First);
        code.Label(ref next);
        code.mov(eax, esi);
        code.xor(eax, ebx);
        code.test(ebx, ebx);
        code.jz(fresh);
        code.cmp(__dword_ptr[esi], eax);
        code.jne(wrong);
        code.Label(ref fresh);
        code.mov(eax, esi);
        code.lea(ecx, __[ebx + 1]);
        code.xor(eax, ecx);
        code.mov(__dword_ptr[esi], eax);
        code.add(esi, stride);
        code.cmp(esi, First + length);
        code.jb(next);
        code.inc(ebx);
        // The upper half of the time stamp, with bits of the lower one.
        code.rdtsc();
        code.shrd(eax, edx, 16);
        code.cmp(eax, ebp);
        code.jb(back);
        code.mov(ebp, eax);
        code.mov(dx, Serial + 5);
        code.@in(al, dx);
        code.test(al, 1);
        code.jz(silent);
        code.mov(dx, Serial);
        code.@in(al, dx);
        code.inc(al);
        code.@out(dx, al);
        code.Label(ref silent);
        code.mov(dx, Serial);
        code.mov(al, (byte)'.');
        code.@out(dx, al);
        code.jmp(pass);
        code.Label(ref wrong);
        code.mov(al, (byte)'X');
        code.jmp(halt);
        code.Label(ref back);
        code.mov(al, (byte)'T');
        code.Label(ref halt);
        code.mov(dx, Serial);
        code.@out(dx, al);
        code.cli();
        code.hlt();
        using var stream = new MemoryStream();
        _ = code.Assemble(new StreamCodeWriter(stream), Base + Start);
        return MultibootImage.Create(stream.ToArray());
    }
}
