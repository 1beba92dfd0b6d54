using System.Buffers.Binary;
using Doppel.Vmm.Boot;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Tests.Debugging;

/// <summary>
/// A Multiboot kernel that enters 64-bit mode and goes round: it counts in RAX, writes the count to <see cref="Data"/>,
/// reads it into RBX, calls a function, and reads DR7 into RCX. Addresses from 0 to 4 MiB are mapped to themselves.
/// </summary>
internal sealed class LoopGuest
{
    internal const ulong Data = 0x300000;
    internal const ulong Unmapped = 0x800000;
    private const uint Base = MultibootImage.Base;
    private const uint Start = MultibootImage.CodeOffset;
    private const uint Tables = 0x200000;

    private LoopGuest(byte[] image) => Image = image;

    internal byte[] Image { get; }

    /// <summary>inc rax.</summary>
    internal ulong Loop { get; private init; }

    /// <summary>mov [Data], rax.</summary>
    internal ulong Store { get; private init; }

    /// <summary>mov rbx, [Data].</summary>
    internal ulong Load { get; private init; }

    /// <summary>call.</summary>
    internal ulong Call { get; private init; }

    /// <summary>The function: nop; ret.</summary>
    internal ulong Function { get; private init; }

    /// <summary>mov rcx, dr7; behind the call.</summary>
    internal ulong AfterCall { get; private init; }

    internal static LoopGuest Create()
    {
        // GDT: null, 64-bit code; behind it what LGDT reads.
        byte[] image = new byte[0x400];
        const uint Gdt = Start;
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan((int)Gdt + 8), 0x00AF9B000000FFFF);
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan((int)Gdt + 16), 15);
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan((int)Gdt + 18), Base + Gdt);
        const uint Entry = Gdt + 0x20;
        const uint Long = 0x100;

        var setup = new Assembler(32);
        setup.mov(__dword_ptr[Tables], Tables + 0x1003);
        setup.mov(__dword_ptr[Tables + 0x1000], Tables + 0x2003);
        setup.mov(__dword_ptr[Tables + 0x2000], 0x83);
        setup.mov(__dword_ptr[Tables + 0x2008], 0x200083);
        setup.mov(eax, 0x20);
        setup.mov(cr4, eax);
        setup.mov(eax, Tables);
        setup.mov(cr3, eax);
        setup.mov(ecx, 0xC0000080);
        setup.mov(eax, 0x100);
        setup.xor(edx, edx);
        setup.wrmsr();
        setup.mov(eax, 0x80000011);
        setup.mov(cr0, eax);
        setup.lgdt(__[Base + Gdt + 16]);
        byte[] setupCode = [.. Assemble(setup, Base + Entry), 0xEA, 0, 0, 0, 0, 8, 0];
        BinaryPrimitives.WriteUInt32LittleEndian(setupCode.AsSpan(setupCode.Length - 6), Base + Long);
        setupCode.CopyTo(image, (int)Entry);

        var main = new Assembler(64);
        Label loop = main.CreateLabel(), store = main.CreateLabel(), load = main.CreateLabel(), call = main.CreateLabel();
        Label after = main.CreateLabel(), function = main.CreateLabel();
        main.mov(rsp, Data + 0x1000);
        main.xor(eax, eax);
        main.Label(ref loop);
        main.inc(rax);
        main.Label(ref store);
        main.mov(__qword_ptr[Data], rax);
        main.Label(ref load);
        main.mov(rbx, __qword_ptr[Data]);
        main.Label(ref call);
        main.call(function);
        main.Label(ref after);
        main.mov(rcx, dr7);
        main.jmp(loop);
        main.Label(ref function);
        main.nop();
        main.ret();
        using var stream = new MemoryStream();
        AssemblerResult result = main.Assemble(new StreamCodeWriter(stream), Base + Long, BlockEncoderOptions.ReturnNewInstructionOffsets);
        stream.ToArray().CopyTo(image, (int)Long);

        MultibootImage.WriteHeader(image, Base + Entry);
        return new LoopGuest(image)
        {
            Loop = result.GetLabelRIP(loop),
            Store = result.GetLabelRIP(store),
            Load = result.GetLabelRIP(load),
            Call = result.GetLabelRIP(call),
            AfterCall = result.GetLabelRIP(after),
            Function = result.GetLabelRIP(function),
        };
    }

    private static byte[] Assemble(Assembler code, ulong address)
    {
        using var stream = new MemoryStream();
        _ = code.Assemble(new StreamCodeWriter(stream), address);
        return stream.ToArray();
    }
}
