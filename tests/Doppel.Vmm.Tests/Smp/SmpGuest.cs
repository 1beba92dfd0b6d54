using Doppel.Engines.Translator;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.Statistics;
using Doppel.Machine.Interrupts;
using Doppel.Machine.Memory;
using Doppel.Machine.Time;
using Iced.Intel;

namespace Doppel.Vmm.Tests.Smp;

/// <summary>
/// Several vCPUs in 64-bit mode at CPL 0 with interrupts off, on a thread each: RDI is the vCPU's number, RSP its stack.
/// The first 4 GiB are mapped one to one by 2 MiB pages but for the two megabytes at <see cref="SmallPages"/>. A vCPU has
/// ended when it halts at the end of <see cref="Run"/>'s code.
/// </summary>
internal sealed unsafe class SmpGuest : IDisposable
{
    internal const ulong Code = 0x100000;
    internal const ulong Data = 0x200000;
    internal const ulong SmallPages = 0x800000;
    internal const ulong SmallPageTable = Tables + 0x6000;
    internal const ulong Apic = 0xFEE00000;

    private const ulong RamSize = 16 << 20;
    private const ulong Tables = 0x10000;
    private const ulong Gdt = 0x3000;
    private const ulong Idt = 0x4000;
    private const ulong Stacks = 0x300000;
    private const ulong Ended = 0x5000;
    private static readonly TimeSpan GiveUp = TimeSpan.FromMinutes(3);
    private readonly GuestMemory _memory = new(RamSize);
    private readonly HostClock _clock;
    private readonly ApicBus _bus = new();
    private readonly VirtualCpu[] _cpus;
    private readonly LocalApic[] _apics;
    private readonly IExecutionEngine[] _engines;
    private readonly TranslationCache? _cache;
    private volatile bool _giveUp;

    internal SmpGuest(string engine, int count, ulong codeCache = TranslationCache.DefaultBytes)
    {
        var ioLock = new Lock();
        _clock = new HostClock(ioLock);
        var physical = new PhysicalAddressSpace(_memory, new IoBus("mmio", 1UL << 52, ioLock));
        var ports = new IoBus("port", 0x10000, ioLock);
        _cpus = [.. Enumerable.Range(0, count).Select(i => new VirtualCpu(i, CpuModels.Version2, physical, ports, _clock) { CpuCount = count })];
        _apics = [.. _cpus.Select(c => new LocalApic(c.Index, c, _bus, _clock))];
        for (int i = 0; i < count; i++)
            _cpus[i].Apic = _apics[i];
        _cache = engine == EngineNames.Translator ? new TranslationCache(_cpus[0], codeCache) : null;
        _engines = [.. _cpus.Select(c => _cache is null ? (IExecutionEngine)new Interpreter(c) : new TranslatorEngine(c, _cache) { PromotionThreshold = 0 })];
        MapMemory();
        *Word(Gdt + 0x10) = 0x00AF_9B00_0000_FFFF;
        *Word(Gdt + 0x18) = 0x00CF_9300_0000_FFFF;
    }

    /// <summary>Both engines, for theories.</summary>
    public static TheoryData<string> Engines => [EngineNames.Interpreter, EngineNames.Translator];

    /// <summary>What a vCPU's engine has done.</summary>
    internal EngineStatistics Statistics(int cpu) => _engines[cpu].GetStatistics();

    /// <summary>A quadword of RAM by physical address.</summary>
    internal ulong* Word(ulong address) => (ulong*)(_memory.Base + address);

    /// <summary>Assembles code for an address, there and into RAM.</summary>
    internal void Place(ulong address, Action<Assembler> write, int bitness = 64)
    {
        var assembler = new Assembler(bitness);
        write(assembler);
        var stream = new MemoryStream();
        _ = assembler.Assemble(new StreamCodeWriter(stream), address);
        PlaceBytes(address, stream.ToArray());
    }

    /// <summary>Puts bytes into RAM.</summary>
    internal void PlaceBytes(ulong address, ReadOnlySpan<byte> bytes) => Assert.True(_memory.TryWrite(address, bytes));

    /// <summary>Makes an interrupt gate.</summary>
    internal void SetHandler(int vector, ulong address, Action<Assembler> write)
    {
        Place(address, write);
        *Word(Idt + ((ulong)vector * 16)) = (address & 0xFFFF) | (0x10UL << 16) | (0x8EUL << 40) | ((address & 0xFFFF0000) << 32);
        *Word(Idt + ((ulong)vector * 16) + 8) = address >> 32;
    }

    /// <summary>Runs code on all vCPUs until each has reached its end; fails when one does not for minutes.</summary>
    internal void Run(Action<Assembler> write)
    {
        Place(Code, a =>
        {
            write(a);
            a.mov(a_rcx, Ended);
            a.mov(__[a_rcx + (a_rdi * 8)], a_rdi);
            a.@lock.inc(__qword_ptr[a_rcx + (a_rdi * 8)]);
            a.cli();
            a.hlt();
        });
        foreach (VirtualCpu cpu in _cpus)
            Enter(cpu);
        RunThreads(_cpus.Length, cpu => *Word(Ended + ((ulong)cpu * 8)) == (ulong)cpu + 1);
    }

    /// <summary>Runs the first vCPU on code while the others wait for their start-up IPI, until a condition holds for each.</summary>
    internal void RunFirst(Action<Assembler> write, Func<int, bool> hasEnded)
    {
        Place(Code, write);
        Enter(_cpus[0]);
        RunThreads(_cpus.Length, hasEnded);
    }

    /// <summary>Sends a fixed interrupt by the xAPIC's command register; the target's number is in R8, R9 and R10 are used.</summary>
    internal static void SendInterrupt(Assembler a, int vector)
    {
        a.mov(AssemblerRegisters.r9, Apic);
        a.mov(AssemblerRegisters.r10, AssemblerRegisters.r8);
        a.shl(AssemblerRegisters.r10, 24);
        a.mov(__dword_ptr[AssemblerRegisters.r9 + 0x310], AssemblerRegisters.r10d);
        a.mov(__dword_ptr[AssemblerRegisters.r9 + 0x300], vector);
    }

    /// <summary>
    /// Interrupts every vCPU but the first, which runs this, and waits until each has counted up the quadword at RSI and a
    /// distance (<see cref="SetAcknowledge"/>). R8 to R10 are used.
    /// </summary>
    internal static void InterruptOthers(Assembler a, int cpus, int vector, ulong distance)
    {
        Label send = a.CreateLabel(), wait = a.CreateLabel();
        AssemblerMemoryOperand counter = __qword_ptr[AssemblerRegisters.rsi + (int)distance];
        a.mov(counter, 0);
        a.mov(AssemblerRegisters.r8d, cpus - 1);
        a.Label(ref send);
        SendInterrupt(a, vector);
        a.dec(AssemblerRegisters.r8d);
        a.jne(send);
        a.Label(ref wait);
        a.pause();
        a.cmp(counter, cpus - 1);
        a.jne(wait);
    }

    /// <summary>Sets a handler that does something, counts up a quadword and ends the interrupt. It may use R9 and R10.</summary>
    internal void SetAcknowledge(int vector, ulong address, ulong counter, Action<Assembler>? also = null) => SetHandler(vector, address, a =>
    {
        a.push(AssemblerRegisters.r9);
        a.push(AssemblerRegisters.r10);
        also?.Invoke(a);
        a.mov(AssemblerRegisters.r10, counter);
        a.@lock.inc(__qword_ptr[AssemblerRegisters.r10]);
        EndOfInterrupt(a);
        a.pop(AssemblerRegisters.r10);
        a.pop(AssemblerRegisters.r9);
        a.iretq();
    });

    /// <summary>Enables the xAPIC.</summary>
    internal static void EnableApic(Assembler a)
    {
        a.mov(AssemblerRegisters.r9, Apic);
        a.mov(__dword_ptr[AssemblerRegisters.r9 + 0xF0], 0x1FF);
    }

    /// <summary>Writes the EOI register; R9 is used.</summary>
    internal static void EndOfInterrupt(Assembler a)
    {
        a.mov(AssemblerRegisters.r9, Apic);
        a.mov(__dword_ptr[AssemblerRegisters.r9 + 0xB0], 0);
    }

    /// <summary>
    /// For a loop that never waits: with fewer cores than vCPUs, who waits for its vCPU would else wait for the end of its
    /// time slice. R13 is used.
    /// </summary>
    internal static void PauseNowAndThen(Assembler a)
    {
        Label go = a.CreateLabel();
        a.inc(AssemblerRegisters.r13d);
        a.test(AssemblerRegisters.r13d, 15);
        a.jne(go);
        a.pause();
        a.Label(ref go);
        a.nop();
    }

    public void Dispose()
    {
        foreach (IExecutionEngine engine in _engines)
            engine.Dispose();
        _cache?.Dispose();
        foreach (LocalApic apic in _apics)
            apic.Dispose();
        foreach (VirtualCpu cpu in _cpus)
            cpu.Dispose();
        _clock.Dispose();
        _memory.Dispose();
    }

    private static AssemblerRegister64 a_rcx => AssemblerRegisters.rcx;

    private static AssemblerRegister64 a_rdi => AssemblerRegisters.rdi;

    private static AssemblerMemoryOperandFactory __ => AssemblerRegisters.__;

    private static AssemblerMemoryOperandFactory __dword_ptr => AssemblerRegisters.__dword_ptr;

    private static AssemblerMemoryOperandFactory __qword_ptr => AssemblerRegisters.__qword_ptr;

    private void MapMemory()
    {
        *Word(Tables) = (Tables + 0x1000) | 3;
        for (ulong i = 0; i < 4; i++)
            *Word(Tables + 0x1000 + (i * 8)) = (Tables + 0x2000 + (i << 12)) | 3;
        for (ulong i = 0; i < 2048; i++)
            *Word(Tables + 0x2000 + (i * 8)) = (i << 21) | 0x83;
        *Word(Tables + 0x2000 + (SmallPages >> 21 << 3)) = SmallPageTable | 3;
        for (ulong i = 0; i < 512; i++)
            *Word(SmallPageTable + (i * 8)) = (SmallPages + (i << 12)) | 3;
    }

    private static void Enter(VirtualCpu cpu)
    {
        cpu.Enter(new CpuEntry
        {
            Mode = CpuEntryMode.Long64,
            Rip = Code,
            Rsp = Stacks + ((ulong)(cpu.Index + 1) << 12),
            Cr3 = Tables,
            GdtBase = Gdt,
            GdtLimit = 0x1F,
            CodeSelector = 0x10,
            DataSelector = 0x18,
        });
        cpu.State->Gpr[7] = (ulong)cpu.Index;
        cpu.State->Idtr = new DescriptorTableRegister { Base = Idt, Limit = 0xFFF };
    }

    private void RunThreads(int count, Func<int, bool> hasEnded)
    {
        _clock.Resume();
        var failures = new Exception?[count];
        Thread[] threads = [.. Enumerable.Range(0, count).Select(i => new Thread(() =>
        {
            failures[i] = Record.Exception(() => Loop(i, hasEnded));
            // The others may wait for what this one does not do.
            if (failures[i] is not null)
                Stop();
        })
        { IsBackground = true })];
        foreach (Thread thread in threads)
            thread.Start();
        using var timer = new Timer(_ => Stop(), null, GiveUp, Timeout.InfiniteTimeSpan);
        foreach (Thread thread in threads)
            thread.Join();
        Assert.All(failures, Assert.Null);
        string where = string.Join("; ", _cpus.Select(c => c.GetLocation().ToString()));
        Assert.False(_giveUp, $"not all vCPUs have come to their end: {where}");
    }

    private void Stop()
    {
        _giveUp = true;
        foreach (VirtualCpu cpu in _cpus)
            cpu.Signal(PendingEvents.Kick);
    }

    private void Loop(int index, Func<int, bool> hasEnded)
    {
        VirtualCpu cpu = _cpus[index];
        while (!_giveUp)
        {
            cpu.EnterGuest();
            ExitReason reason = _engines[index].Run(ulong.MaxValue);
            cpu.LeaveGuest();
            Assert.NotEqual(ExitReason.Shutdown, reason);
            if (reason != ExitReason.Halt)
                continue;
            if (hasEnded(index))
            {
                // One that waits may have come to its end by what this one did.
                foreach (VirtualCpu other in _cpus)
                    other.Signal(PendingEvents.Kick);
                return;
            }

            cpu.WaitForSignal(CancellationToken.None);
        }
    }
}
