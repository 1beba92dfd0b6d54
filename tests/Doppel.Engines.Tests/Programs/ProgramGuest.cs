using System.Runtime.InteropServices;
using Doppel.Engines.Translator;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Inspection;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Memory;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Programs;

/// <summary>
/// A vCPU on one engine that runs programs in 64-bit user mode. A handler at privilege 0, itself guest code, logs every
/// fault and goes on behind the instruction, as the native process does.
/// </summary>
internal sealed unsafe class ProgramGuest : IDisposable
{
    // Physical and, for privilege 0 only, linear.
    private const ulong Gdt = 0x1000, Tss = 0x1800, Idt = 0x2000, Handler = 0x5000, Tables = 0x10000, KernelStack = 0x30000;
    private const ulong LogCount = 0x40000, Log = 0x40008, Lengths = 0xA0000, FirstFrame = 0x200000;
    private const uint WithErrorCode = (1u << 8) | (1u << 10) | (1u << 11) | (1u << 12) | (1u << 13) | (1u << 14) | (1u << 17);
    private const ushort KernelCode = 0x08, KernelData = 0x10, UserData = 0x1B, UserCode = 0x23;
    private readonly GuestMemory _memory = new(4 << 20);
    private readonly VirtualCpu _cpu;
    private readonly IExecutionEngine _engine;

    /// <param name="engine">Which engine.</param>
    /// <param name="isDeterministic">True for an engine that can stop at an exact instruction.</param>
    internal ProgramGuest(string engine, bool isDeterministic = false)
    {
        var ioLock = new Lock();
        var physical = new PhysicalAddressSpace(_memory, new IoBus("memory", ulong.MaxValue, ioLock));
        _cpu = new VirtualCpu(0, CpuModels.Version3, physical, new IoBus("ports", 0x10000, ioLock), new Differential.TestClock(isDeterministic));
        _engine = engine == "translator" ? new TranslatorEngine(_cpu) { PromotionThreshold = 0 } : new Interpreter(_cpu);
        WriteTables();
        WriteHandlers();
        Snapshot = CpuSnapshot.Take(_cpu);
    }

    /// <summary>The vCPU after <see cref="RunPiece"/>.</summary>
    internal CpuSnapshot Snapshot { get; }

    /// <summary>Instructions that the program and the handler have executed since the start.</summary>
    internal ulong Executed => _cpu.State->InstructionsRetired;

    public void Dispose()
    {
        _engine.Dispose();
        _cpu.Dispose();
        _memory.Dispose();
    }

    /// <summary>Runs a program to its end.</summary>
    internal ProgramResult Run(TestProgram program)
    {
        Start(program);
        // A program that never ends shall fail its test, not hang it.
        using (new Timer(_ => _cpu.Signal(PendingEvents.Kick), null, TimeSpan.FromMinutes(1), Timeout.InfiniteTimeSpan))
            Assert.Equal(ExitReason.Halt, _engine.Run(ulong.MaxValue));
        return Take();
    }

    /// <summary>Goes on with a program for a number of instructions.</summary>
    internal ExitReason RunPiece(ulong instructions)
    {
        ExitReason reason = _engine.Run(instructions);
        Snapshot.Update(_cpu);
        return reason;
    }

    /// <summary>Puts a program and the vCPU where it begins.</summary>
    internal void Start(TestProgram program)
    {
        ulong frame = FirstFrame;
        foreach (byte[] region in program.Regions)
        {
            Write(frame, region);
            frame += (ulong)region.Length;
        }

        Write(Lengths, program.Lengths);
        Write64(LogCount, 0);
        Enter(program);
    }

    /// <summary>What the program has done.</summary>
    internal ProgramResult Take()
    {
        ulong[] log = new ulong[(int)Read64(LogCount) * ProgramLayout.LogWords];
        new ReadOnlySpan<ulong>(_memory.Base + Log, log.Length).CopyTo(log);
        var regions = new List<byte[]>();
        ulong frame = FirstFrame;
        foreach ((_, _, int size) in ProgramLayout.Regions)
        {
            regions.Add(new ReadOnlySpan<byte>(_memory.Base + frame, size).ToArray());
            frame += (ulong)size;
        }

        return new ProgramResult(log, [.. regions]);
    }

    private void Enter(TestProgram program)
    {
        CpuState* s = _cpu.State;
        s->Cr0 = Cr0.Pe | Cr0.Pg | Cr0.Wp | Cr0.Ne | Cr0.Mp | Cr0.Et;
        s->Cr3 = Tables;
        s->Cr4 = Cr4.Pae | Cr4.Osfxsr | Cr4.Osxmmexcpt | Cr4.Osxsave;
        s->Xcr0 = 7;
        s->Efer = Efer.Lme | Efer.Lma | Efer.Sce;
        s->Cs = Segment(UserCode, 0xA0FB);
        s->Es = s->Ss = s->Ds = s->Fs = s->Gs = Segment(UserData, 0xC0F3);
        s->Gdtr = new DescriptorTableRegister { Base = Gdt, Limit = 0x4F };
        s->Idtr = new DescriptorTableRegister { Base = Idt, Limit = 0x1FF };
        s->Tr = new SegmentRegister { Selector = 0x38, Base = Tss, Limit = 0x67, Attributes = (SegmentAttributes)0x8B };
        for (int i = 0; i < 16; i++)
            s->Gpr[i] = program.Registers[i];
        s->Flags = program.Flags;
        s->Rip = program.Entry;
        s->Cpl = 3;
        s->Mxcsr = 0x1F80;
        *(ushort*)s->XsaveArea = 0x37F;
        s->Activity = ActivityState.Running;
        s->InstructionsRetired = 0;
        _cpu.ModeChanged();
    }

    private static SegmentRegister Segment(ushort selector, uint rights) =>
        new() { Selector = selector, Limit = uint.MaxValue, Attributes = (SegmentAttributes)rights };

    private void WriteTables()
    {
        Write64(Gdt + KernelCode, 0x00AF9B000000FFFF);
        Write64(Gdt + KernelData, 0x00CF93000000FFFF);
        Write64(Gdt + (UserData & ~7UL), 0x00CFF3000000FFFF);
        Write64(Gdt + (UserCode & ~7UL), 0x00AFFB000000FFFF);
        Write64(Tss + 4, KernelStack);
        ulong pointers = Tables + 0x1000, directory = Tables + 0x2000, next = Tables + 0x3000;
        Write64(Tables, pointers | 7);
        Write64(pointers, directory | 7);
        // The first 2 MiB for the handler alone.
        Write64(directory, 0x83);
        ulong frame = FirstFrame;
        foreach ((_, ulong address, int size) in ProgramLayout.Regions)
        {
            Write64(directory + (8 * (address >> 21)), next | 7);
            for (int page = 0; page < size >> 12; page++, frame += ProgramLayout.PageSize)
            {
                char kind = address == ProgramLayout.Data ? ProgramLayout.DataPages[page] : 'w';
                if (kind != '-')
                    Write64(next + (8 * (ulong)page), frame | (kind == 'r' ? 5UL : 7UL));
            }

            next += ProgramLayout.PageSize;
        }
    }

    private void WriteHandlers()
    {
        var a = new Assembler(64);
        Label common = a.CreateLabel(), isNoPageFault = a.CreateLabel(), isOutside = a.CreateLabel(), isBreakpoint = a.CreateLabel(), leave = a.CreateLabel(), end = a.CreateLabel();
        var stubs = new Label[32];
        for (int vector = 0; vector < 32; vector++)
        {
            stubs[vector] = a.CreateLabel();
            a.Label(ref stubs[vector]);
            if (((WithErrorCode >> vector) & 1) == 0)
                a.push(0);
            a.push(vector);
            a.jmp(common);
        }

        // Stack: RAX, RBX (saved here), vector, error code, RIP, CS, RFLAGS, RSP, SS.
        a.Label(ref common);
        a.push(rbx);
        a.push(rax);
        a.mov(rbx, __qword_ptr[LogCount]);
        a.imul(rbx, rbx, 8 * ProgramLayout.LogWords);
        a.add(rbx, (int)Log);
        Store(a, 0, 16);
        Store(a, 1, 24);
        a.mov(__qword_ptr[rbx + 16], 0);
        a.cmp(__qword_ptr[rsp + 16], 14);
        a.jne(isNoPageFault);
        a.mov(rax, cr2);
        a.mov(__qword_ptr[rbx + 16], rax);
        a.Label(ref isNoPageFault);
        Store(a, 3, 32);
        Store(a, 4, 48);
        AssemblerRegister64[] registers = [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];
        Store(a, 5, 0);
        Store(a, 8, 8);
        Store(a, 9, 56);
        for (int i = 0; i < 16; i++)
        {
            if (i is not (0 or 3 or 4))
                a.mov(__qword_ptr[rbx + (40 + (8 * i))], registers[i]);
        }

        a.mov(rax, __qword_ptr[LogCount]);
        a.inc(rax);
        a.mov(__qword_ptr[LogCount], rax);
        a.cmp(rax, ProgramLayout.LogLimit);
        a.jae(end);
        a.cmp(__qword_ptr[rsp + 16], 3);
        a.je(leave);
        a.mov(rax, __qword_ptr[rsp + 32]);
        a.sub(rax, (int)ProgramLayout.Code);
        a.cmp(rax, ProgramLayout.CodeSize);
        a.jae(end);
        a.movzx(eax, __byte_ptr[rax + (long)Lengths]);
        a.test(eax, eax);
        a.je(end);
        a.add(__qword_ptr[rsp + 32], rax);
        a.Label(ref leave);
        a.pop(rax);
        a.pop(rbx);
        a.add(rsp, 16);
        a.iretq();
        a.Label(ref end);
        a.hlt();
        using var stream = new MemoryStream();
        AssemblerResult result = a.Assemble(new StreamCodeWriter(stream), Handler, BlockEncoderOptions.ReturnNewInstructionOffsets);
        Write(Handler, stream.ToArray());
        for (int vector = 0; vector < 32; vector++)
        {
            ulong handler = result.GetLabelRIP(stubs[vector]);
            Write64(Idt + (16 * (ulong)vector), (handler & 0xFFFF) | ((ulong)KernelCode << 16) | (0xEEUL << 40));
        }
    }

    // Copies a word of the stack to the log's entry, which RBX points at.
    private static void Store(Assembler a, int word, int offset)
    {
        a.mov(rax, __qword_ptr[rsp + offset]);
        a.mov(__qword_ptr[rbx + (8 * word)], rax);
    }

    private void Write(ulong address, ReadOnlySpan<byte> bytes) => Assert.True(_memory.TryWrite(address, bytes));

    private void Write64(ulong address, ulong value) => Write(address, MemoryMarshal.AsBytes([value]));

    private ulong Read64(ulong address) => *(ulong*)(_memory.Base + address);
}
