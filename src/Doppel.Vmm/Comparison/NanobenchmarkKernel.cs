using System.Buffers.Binary;
using Doppel.Devices.Pc;
using Doppel.Vmm.Boot;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Comparison;

/// <summary>
/// A Multiboot kernel that does each <see cref="Nanobenchmark"/> a number of times. Before each it writes 2n to the debug port
/// and after it 2n + 1; at the end it leaves by isa-debug-exit. Its tables are part of the image; interrupts stay off.
/// </summary>
internal static class NanobenchmarkKernel
{
    private const uint Base = MultibootImage.Base;
    private const uint Long = Base + 0x1000;
    private const uint Gdt = Base + 0x5000;
    private const uint Tss = Base + 0x5800;
    private const uint Idt = Base + 0x6000;
    private const uint Tables = Base + 0x7000;
    private const uint End = Base + 0xB000;
    private const uint KernelStack = Base + 0x20000;
    private const uint UserStack = Base + 0x30000;
    private const uint BssEnd = Base + 0x40000;

    // Two mebibytes of small pages, of which the second isn't there.
    private const uint Window = 0x600000;
    private const uint AbsentPage = Window + 0x1000;
    private const byte Code64 = 0x08;
    private const byte KernelData = 0x10;
    private const byte UserData = 0x1B;
    private const byte UserCode = 0x23;
    private const byte TaskSegment = 0x28;
    private const byte DebugExit = 0xF4;

    // The one of POST codes: nothing answers, on any machine.
    private const byte IdlePort = 0x80;

    /// <summary>The image.</summary>
    /// <param name="counts">How often each is done.</param>
    internal static byte[] Build(IReadOnlyDictionary<Nanobenchmark, uint> counts)
    {
        byte[] image = new byte[End - Base];
        var (syscall, fault, divide) = WriteCode(image, counts);
        WriteTables(image, syscall, fault, divide);
        return image;
    }

    private static (ulong Syscall, ulong Fault, ulong Divide) WriteCode(byte[] image, IReadOnlyDictionary<Nanobenchmark, uint> counts)
    {
        MultibootImage.WriteHeader(image, Base + 0x20, End, BssEnd);
        Assemble(image, 32, Base + 0x20, EnterLong);
        var code = new Assembler(64);
        Label syscall = code.CreateLabel(), fault = code.CreateLabel(), divide = code.CreateLabel(), leave = code.CreateLabel();
        Prepare(code, syscall);
        foreach (Nanobenchmark benchmark in Enum.GetValues<Nanobenchmark>())
            Write(code, benchmark, counts[benchmark]);
        code.mov(al, 0);
        code.@out(DebugExit, al);
        Label stop = code.CreateLabel();
        code.Label(ref stop);
        code.hlt();
        code.jmp(stop);

        // A system call with RAX = 0 comes back at once, another leads back into the kernel.
        code.Label(ref syscall);
        code.test(eax, eax);
        code.jne(leave);
        code.sysretq();
        code.Label(ref leave);
        code.mov(rsp, KernelStack);
        code.jmp(r14);
        code.Label(ref fault);
        code.add(rsp, 8);
        code.Label(ref divide);
        code.mov(__qword_ptr[rsp], r15);
        code.iretq();
        using var stream = new MemoryStream();
        AssemblerResult result = code.Assemble(new StreamCodeWriter(stream), Long, BlockEncoderOptions.ReturnNewInstructionOffsets);
        stream.ToArray().CopyTo(image.AsSpan((int)(Long - Base)));
        return (result.GetLabelRIP(syscall), result.GetLabelRIP(fault), result.GetLabelRIP(divide));
    }

    private static void EnterLong(Assembler code)
    {
        code.cli();
        code.mov(eax, Tables);
        code.mov(cr3, eax);
        code.mov(eax, 1 << 5);
        code.mov(cr4, eax);
        code.mov(ecx, 0xC0000080);
        code.mov(eax, 0x101);
        code.xor(edx, edx);
        code.wrmsr();
        code.mov(eax, 0x80010013);
        code.mov(cr0, eax);
        code.mov(esp, KernelStack);
        code.lgdt(__[(int)Gdt + 0x40]);
        code.push(Code64);
        code.push((int)Long);
        code.retf();
    }

    private static void Prepare(Assembler code, Label syscall)
    {
        code.mov(eax, KernelData);
        code.mov(ds, ax);
        code.mov(es, ax);
        code.mov(ss, ax);
        code.mov(rsp, KernelStack);
        code.mov(eax, TaskSegment);
        code.ltr(ax);
        code.lidt(__[(int)Gdt + 0x50]);
        // STAR: SYSCALL's selectors, and those of SYSRET less 16 and 8.
        WriteMsr(code, 0xC0000081, ((ulong)(KernelData | 3) << 48) | ((ulong)Code64 << 32));
        code.lea(rax, __[syscall]);
        code.mov(rdx, rax);
        code.shr(rdx, 32);
        code.mov(ecx, 0xC0000082);
        code.wrmsr();
        WriteMsr(code, 0xC0000084, 0x300);
    }

    private static void WriteMsr(Assembler code, uint index, ulong value)
    {
        code.mov(ecx, index);
        code.mov(eax, (uint)value);
        code.mov(edx, (uint)(value >> 32));
        code.wrmsr();
    }

    private static void Write(Assembler code, Nanobenchmark benchmark, uint count)
    {
        Label turn = code.CreateLabel(), next = code.CreateLabel(), back = code.CreateLabel(), target = code.CreateLabel(), after = code.CreateLabel();
        bool isUser = benchmark == Nanobenchmark.Syscall;
        code.mov(al, (byte)(2 * (int)benchmark));
        code.@out((byte)DebugPort.Port, al);
        code.mov(r12d, count);
        code.mov(r13d, 1);
        if (isUser)
        {
            code.lea(r14, __[back]);
            code.lea(rcx, __[turn]);
            code.mov(r11d, 2);
            code.mov(rsp, UserStack);
            code.sysretq();
        }

        if (benchmark == Nanobenchmark.CallReturn)
            code.lea(rbx, __[target]);
        code.Label(ref turn);
        switch (benchmark)
        {
            case Nanobenchmark.Syscall:
                code.xor(eax, eax);
                code.syscall();
                break;
            case Nanobenchmark.In:
                code.@in(al, IdlePort);
                break;
            case Nanobenchmark.Cr8Write:
                code.mov(cr8, r13);
                break;
            case Nanobenchmark.CallReturn:
                code.call(rbx);
                break;
            case Nanobenchmark.PageFault:
                code.lea(r15, __[next]);
                code.mov(al, __byte_ptr[AbsentPage]);
                break;
            case Nanobenchmark.DivideByZero:
                code.lea(r15, __[next]);
                code.xor(ecx, ecx);
                code.div(ecx);
                break;
            case Nanobenchmark.PageTableModification:
                code.xor(__qword_ptr[Tables + 0x3000 + (8 * 2)], 0x1000);
                code.invlpg(__byte_ptr[Window + 0x2000]);
                code.mov(al, __byte_ptr[Window + 0x2000]);
                break;
        }

        // An instruction has one label at most.
        if (benchmark is Nanobenchmark.PageFault or Nanobenchmark.DivideByZero)
            code.Label(ref next);
        code.dec(r12d);
        code.jne(turn);
        if (isUser)
        {
            code.mov(eax, 1);
            code.syscall();
        }

        code.Label(ref back);
        code.mov(al, (byte)((2 * (int)benchmark) + 1));
        code.@out((byte)DebugPort.Port, al);
        code.jmp(after);
        code.Label(ref target);
        code.ret();
        code.Label(ref after);
        // A label needs an instruction of its own.
        code.nop();
    }

    private static void WriteTables(byte[] image, ulong syscall, ulong fault, ulong divide)
    {
        void Word(uint address, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan((int)(address - Base)), value);
        void Pointer(uint address, ushort limit, ulong value)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan((int)(address - Base)), limit);
            BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan((int)(address - Base) + 2), value);
        }

        void Gate(int vector, ulong handler)
        {
            uint address = Idt + (16 * (uint)vector);
            Word(address, (handler & 0xFFFF) | ((ulong)Code64 << 16) | (0x8EUL << 40) | ((handler & 0xFFFF0000) << 32));
            Word(address + 8, handler >> 32);
        }

        _ = syscall;
        Word(Gdt + Code64, 0x00AF9B000000FFFF);
        Word(Gdt + KernelData, 0x00CF93000000FFFF);
        Word(Gdt + (UserData & ~7u), 0x00CFF3000000FFFF);
        Word(Gdt + (UserCode & ~7u), 0x00AFFB000000FFFF);
        Word(Gdt + TaskSegment, 0x0000_8900_0000_0067UL | ((Tss & 0xFFFFFFUL) << 16) | ((Tss & 0xFF000000UL) << 32));
        Word(Gdt + TaskSegment + 8, 0);
        Pointer(Gdt + 0x40, 0x37, Gdt);
        Pointer(Gdt + 0x50, 0xFFF, Idt);
        Word(Tss + 4, KernelStack);
        Gate(0, divide);
        Gate(14, fault);

        const ulong Rights = 7, Large = 0x80;
        Word(Tables, (Tables + 0x1000) | Rights);
        Word(Tables + 0x1000, (Tables + 0x2000) | Rights);
        for (uint i = 0; i < 8; i++)
            Word(Tables + 0x2000 + (8 * i), ((ulong)i << 21) | Rights | Large);
        Word(Tables + 0x2000 + (8 * (Window >> 21)), (Tables + 0x3000) | Rights);
        for (uint i = 0; i < 512; i++)
            Word(Tables + 0x3000 + (8 * i), i == 1 ? 0 : (Window + (i << 12)) | Rights);
    }

    private static void Assemble(byte[] image, int bits, uint address, Action<Assembler> write)
    {
        var code = new Assembler(bits);
        write(code);
        using var stream = new MemoryStream();
        _ = code.Assemble(new StreamCodeWriter(stream), address);
        stream.ToArray().CopyTo(image.AsSpan((int)(address - Base)));
    }
}
