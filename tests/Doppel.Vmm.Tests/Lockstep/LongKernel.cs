using Doppel.Vmm.Tests.Boot;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Tests.Lockstep;

/// <summary>A Linux-style kernel of a few instructions in 64-bit mode: it computes in a loop, with memory and a stack, and powers off.</summary>
internal static class LongKernel
{
    /// <summary>Guest-physical address of the words that the loop writes.</summary>
    internal const ulong Data = 0x1800000;

    private const ulong Load = 0x1000000;

    /// <summary>Writes the kernel to a file of its own in a directory and returns the path.</summary>
    /// <param name="directory">Where.</param>
    /// <param name="rounds">How often the loop of some 20 instructions runs.</param>
    internal static string Write(string directory, int rounds)
    {
        var a = new Assembler(64);
        Label loop = a.CreateLabel(), odd = a.CreateLabel(), function = a.CreateLabel(), start = a.CreateLabel();
        a.jmp(start);
        a.Label(ref function);
        a.push(rbx);
        a.imul(rbx, rbx, 77);
        a.shr(rbx, 3);
        a.pop(rbx);
        a.ret();
        a.Label(ref start);
        // The timer runs from the start: without its request nothing is pending while interrupts are off.
        a.mov(al, 0xFF);
        a.@out(0x21, al);
        a.@out(0xA1, al);
        a.mov(ecx, rounds);
        a.mov(edi, (uint)Data);
        a.mov(rbx, 0x123456789ABCDEF);
        a.xor(r9, r9);
        a.Label(ref loop);
        a.add(rbx, r9);
        a.rol(rbx, 7);
        a.call(function);
        a.mov(r10, rbx);
        a.and(r10, 0xFF8);
        a.xor(__[rdi + r10], rbx);
        a.test(rbx, 1);
        a.jne(odd);
        a.inc(r9);
        a.Label(ref odd);
        a.rdtsc();
        a.add(r9, rax);
        a.dec(ecx);
        a.jne(loop);
        a.mov(dx, 0x604);
        a.mov(ax, 0x3400);
        a.@out(dx, ax);
        a.hlt();
        var stream = new MemoryStream();
        _ = a.Assemble(new StreamCodeWriter(stream), Load + 0x200);
        byte[] image = Samples.BzImage();
        stream.ToArray().CopyTo(image, Samples.SetupSize + 0x200);
        string path = Path.Combine(directory, "kernel");
        File.WriteAllBytes(path, image);
        return path;
    }
}
