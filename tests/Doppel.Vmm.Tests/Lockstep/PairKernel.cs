using System.Buffers.Binary;
using Doppel.Vmm.Tests.Boot;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Tests.Lockstep;

/// <summary>
/// A Linux-style kernel that starts the other vCPUs by INIT and start-up IPIs, in 64-bit mode. Its own work: all compute,
/// update a word by locked and one by plain instructions, and say when they are ready; the first one then powers off.
/// </summary>
internal static class PairKernel
{
    /// <summary>Guest-physical address of the words that all write.</summary>
    internal const ulong Data = 0x1800000;

    private const ulong Load = 0x1000000;
    internal const ulong Apic = 0xFEE00000;
    private const int TrampolineSize = 0x140;
    private const uint Trampoline = 0x8000, Parameters = 0x8100;

    /// <summary>Writes a kernel whose vCPUs compute to a file of its own in a directory and returns the path.</summary>
    /// <param name="directory">Where.</param>
    /// <param name="others">vCPUs beside the first.</param>
    /// <param name="rounds">How often each runs its loop of ten instructions.</param>
    internal static string Write(string directory, int others, int rounds) => Write(
        Path.Combine(directory, $"pair{others}"),
        a =>
        {
            Label wait = a.CreateLabel();
            StartOthers(a);
            Compute(a, rounds);
            a.Label(ref wait);
            a.pause();
            a.cmp(__dword_ptr[rdi + 0x40], others);
            a.jne(wait);
            PowerOff(a);
        },
        a =>
        {
            Compute(a, rounds);
            a.@lock.inc(__dword_ptr[rdi + 0x40]);
            a.cli();
            a.hlt();
        });

    /// <summary>Writes a kernel to a file and returns its path. RDI is <see cref="Data"/>, RBX of the first vCPU its APIC.</summary>
    /// <param name="path">The file.</param>
    /// <param name="first">The first vCPU's code.</param>
    /// <param name="other">Where the others begin in 64-bit mode; they have no stack.</param>
    internal static string Write(string path, Action<Assembler> first, Action<Assembler> other)
    {
        var a = new Assembler(64);
        Label start = a.CreateLabel(), others = a.CreateLabel(), copied = a.CreateLabel();
        a.jmp(start);
        a.Label(ref others);
        a.mov(rdi, Data);
        other(a);
        a.Label(ref start);
        a.mov(al, 0xFF);
        a.@out(0x21, al);
        a.@out(0xA1, al);
        a.cld();
        a.lea(rsi, __[copied]);
        a.mov(edi, Trampoline);
        a.mov(ecx, TrampolineSize);
        a.rep.movsb();
        a.mov(rax, cr3);
        a.mov(__dword_ptr[Parameters], eax);
        a.lea(rax, __[others]);
        a.mov(__dword_ptr[Parameters + 4], eax);
        a.mov(rdi, Data);
        a.mov(rbx, Apic);
        first(a);
        a.Label(ref copied);
        a.nop();
        using var stream = new MemoryStream();
        AssemblerResult result = a.Assemble(new StreamCodeWriter(stream), Load + 0x200, BlockEncoderOptions.ReturnNewInstructionOffsets);
        byte[] image = Samples.BzImage();
        stream.ToArray().CopyTo(image, Samples.SetupSize + 0x200);
        WriteTrampoline().CopyTo(image, Samples.SetupSize + (int)(result.GetLabelRIP(copied) - Load));
        File.WriteAllBytes(path, image);
        return path;
    }

    /// <summary>Enables the first vCPU's APIC and sends INIT and start-up IPIs to all others.</summary>
    internal static void StartOthers(Assembler a)
    {
        a.mov(__dword_ptr[rbx + 0xF0], 0x1FF);
        a.mov(__dword_ptr[rbx + 0x300], 0xC4500);
        a.mov(__dword_ptr[rbx + 0x300], 0xC4600 | (int)(Trampoline >> 12));
    }

    /// <summary>Powers the machine off.</summary>
    internal static void PowerOff(Assembler a)
    {
        a.mov(dx, 0x604);
        a.mov(ax, 0x3400);
        a.@out(dx, ax);
        a.hlt();
    }

    private static void Compute(Assembler a, int rounds)
    {
        Label loop = a.CreateLabel();
        a.mov(ecx, rounds);
        a.mov(r8, 0x123456789ABCDEF);
        a.Label(ref loop);
        a.@lock.inc(__qword_ptr[rdi]);
        // What others do to this word depends on whose turn it is.
        a.mov(rax, __[rdi + 8]);
        a.imul(rax, rax, 77);
        a.add(rax, rcx);
        a.mov(__[rdi + 8], rax);
        a.xor(r8, rax);
        a.mov(rdx, r8);
        a.and(edx, 0xFF8);
        a.xor(__[rdi + rdx + 0x1000], r8);
        a.dec(ecx);
        a.jne(loop);
    }

    // From real mode to 64-bit mode with the first vCPU's page tables.
    private static byte[] WriteTrampoline()
    {
        var a = new Assembler(16);
        a.cli();
        a.xor(ax, ax);
        a.mov(ds, ax);
        a.mov(eax, 0x20);
        a.mov(cr4, eax);
        a.mov(eax, __dword_ptr[(long)Parameters]);
        a.mov(cr3, eax);
        a.mov(ecx, 0xC0000080);
        a.mov(eax, 0x100);
        a.xor(edx, edx);
        a.wrmsr();
        a.lgdt(__[(long)(Parameters + 0x20)]);
        a.mov(ebx, __dword_ptr[(long)(Parameters + 4)]);
        a.mov(eax, 0x80000011);
        a.mov(cr0, eax);
        using var stream = new MemoryStream();
        _ = a.Assemble(new StreamCodeWriter(stream), 0);
        byte[] page = new byte[TrampolineSize];
        byte[] code = stream.ToArray();
        code.CopyTo(page, 0);
        // Far jump to behind it; there, in 64-bit mode, jmp rbx.
        uint behind = Trampoline + (uint)code.Length + 8;
        byte[] jump = [0x66, 0xEA, 0, 0, 0, 0, 8, 0, 0xFF, 0xE3];
        BinaryPrimitives.WriteUInt32LittleEndian(jump.AsSpan(2), behind);
        jump.CopyTo(page, code.Length);
        // GDT: null, 64-bit code; behind it what LGDT reads.
        const int Gdt = (int)(Parameters - Trampoline) + 0x10;
        BinaryPrimitives.WriteUInt64LittleEndian(page.AsSpan(Gdt + 8), 0x00AF9B000000FFFF);
        BinaryPrimitives.WriteUInt16LittleEndian(page.AsSpan(Gdt + 16), 15);
        BinaryPrimitives.WriteUInt32LittleEndian(page.AsSpan(Gdt + 18), Trampoline + Gdt);
        return page;
    }
}
