using System.Runtime.CompilerServices;
using Doppel.Engines.Kvm;
using Doppel.Engines.Translator;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Memory;
using Doppel.Machine.Time;
using Iced.Intel;

namespace Doppel.Engines.Tests.Guests;

/// <summary>
/// A program and the engine that runs it. In 64-bit mode 16 MiB are mapped one to one for every privilege: by 2 MiB pages,
/// except those at <see cref="SmallPages"/>, of which the second is absent and the fourth read-only; the last 2 MiB show
/// the window of <see cref="SignalPorts"/>. A vector without a handler of its own leads to a HLT.
/// </summary>
internal sealed unsafe class EngineGuest : IDisposable
{
    internal const ulong Code = 0x200000;
    internal const ulong Data = 0x400000;
    internal const ulong SmallPages = 0x600000;
    internal const ulong AbsentPage = SmallPages + 0x1000;
    internal const ulong ReadOnlyPage = SmallPages + 0x3000;
    internal const ulong Window = 0xE00000;
    internal const ulong Stack = 0x800000;
    internal const ushort Code64 = 0x08;
    internal const ushort Data64 = 0x10;
    internal const ushort Code32 = 0x18;
    internal const ushort UserData = 0x23;
    internal const ushort UserCode64 = 0x2B;
    internal const ushort Code16 = 0x30;
    internal const ulong Gdt = 0x1000;
    internal const ulong Tables = 0x4000;

    private const ulong Tss = 0x1800;
    private const ulong Idt = 0x2000;
    private const ulong Stubs = 0x3000;
    private const ulong DeviceWindow = 0xFEC00000;
    private readonly GuestMemory _memory = new(16 << 20);
    private readonly Timer _watchdog;
    private readonly KvmMachine? _kvm;

    internal EngineGuest(string engine, CpuModel? model = null, int index = 0, IGuestClock? clock = null, Action<GuestMemory>? prepare = null)
    {
        prepare?.Invoke(_memory);
        var ioLock = new Lock();
        Ports = new IoBus("port", 0x10000, ioLock);
        var mmio = new IoBus("mmio", 1UL << 52, ioLock);
        Signals = new SignalPorts(Apic);
        Ports.Map(SignalPorts.Interrupt, 3, Signals);
        mmio.Map(DeviceWindow, 4096, Signals);
        Cpu = new VirtualCpu(index, model ?? CpuModels.Version3, new PhysicalAddressSpace(_memory, mmio), Ports, clock ?? new FrozenClock()) { Apic = Apic };
        Apic.Cpu = Cpu;
        if (engine == "kvm")
            _kvm = new KvmMachine(Cpu);
        Engine = engine switch
        {
            "translator" => new TranslatorEngine(Cpu) { PromotionThreshold = 0 },
            "kvm" => new KvmEngine(Cpu, _kvm!),
            _ => new Interpreter(Cpu),
        };
        // A program that never ends shall fail its test, not hang it.
        _watchdog = new Timer(_ => Cpu.Signal(PendingEvents.Kick), null, TimeSpan.FromMinutes(2), Timeout.InfiniteTimeSpan);
        WriteTables();
    }

    /// <summary>The engines that every 64-bit program is run on.</summary>
    public static TheoryData<string> Engines => ["interpreter", "translator"];

    internal VirtualCpu Cpu { get; }

    internal IExecutionEngine Engine { get; }

    internal IoBus Ports { get; }

    internal QueueApic Apic { get; } = new();

    internal SignalPorts Signals { get; }

    internal CpuState* State => Cpu.State;

    internal ulong Rax => State->Gpr[0];

    internal ulong Rcx => State->Gpr[1];

    internal ulong Rdx => State->Gpr[2];

    internal ulong Rbx => State->Gpr[3];

    internal ulong Rsp => State->Gpr[4];

    internal ulong Rsi => State->Gpr[6];

    internal ulong Rdi => State->Gpr[7];

    /// <summary>The vector whose stub halted the program; -1 when it halted by itself.</summary>
    internal int Vector => State->Rip is > Stubs and <= Stubs + 0x1000 ? (int)((State->Rip - 1 - Stubs) / 16) : -1;

    public void Dispose()
    {
        _watchdog.Dispose();
        Engine.Dispose();
        _kvm?.Dispose();
        Cpu.Dispose();
        _memory.Dispose();
    }

    internal ulong Read64(ulong address) => Unsafe.ReadUnaligned<ulong>(_memory.Base + address);

    internal GuestMemory Memory => _memory;

    internal void Write64(ulong address, ulong value) => Assert.True(_memory.TryWrite(address, BitConverter.GetBytes(value)));

    internal void Write(ulong address, ReadOnlySpan<byte> bytes) => Assert.True(_memory.TryWrite(address, bytes));

    internal byte[] Read(ulong address, int count) => new ReadOnlySpan<byte>(_memory.Base + address, count).ToArray();

    /// <summary>Points a vector at a handler: an interrupt gate of privilege 3.</summary>
    internal void SetGate(int vector, ulong handler)
    {
        ulong address = Idt + (16 * (ulong)vector);
        Write64(address, (handler & 0xFFFF) | ((ulong)Code64 << 16) | (0xEEUL << 40) | ((handler & 0xFFFF0000) << 32));
        Write64(address + 8, handler >> 32);
    }

    /// <summary>Assembles a program at an address and returns where each of its labels is, in the order asked for.</summary>
    internal ulong[] Assemble(int bits, ulong address, Func<Assembler, Label[]> program)
    {
        var assembler = new Assembler(bits);
        Label[] labels = program(assembler);
        using var stream = new MemoryStream();
        AssemblerResult result = assembler.Assemble(new StreamCodeWriter(stream), address, BlockEncoderOptions.ReturnNewInstructionOffsets);
        Write(address, stream.ToArray());
        return [.. labels.Select(label => result.GetLabelRIP(label))];
    }

    internal void Assemble(int bits, ulong address, Action<Assembler> program) =>
        _ = Assemble(bits, address, assembler =>
        {
            program(assembler);
            return [];
        });

    /// <summary>64-bit mode at privilege 0, at <see cref="Code"/>, with interrupts off.</summary>
    internal void EnterLong()
    {
        CpuState* s = State;
        s->Cr0 = Cr0.Pe | Cr0.Pg | Cr0.Wp | Cr0.Ne | Cr0.Mp | Cr0.Et;
        s->Cr3 = Tables;
        s->Cr4 = Cr4.Pae | Cr4.Osfxsr | Cr4.Osxmmexcpt | Cr4.Osxsave | Cr4.De;
        s->Xcr0 = 7;
        s->Efer = Efer.Lme | Efer.Lma | Efer.Sce;
        s->Flags = CpuFlags.Fixed;
        s->Es = s->Ss = s->Ds = s->Fs = s->Gs = Segment(Data64, 0xC093);
        s->Cs = Segment(Code64, 0xA09B);
        s->Gdtr = new DescriptorTableRegister { Base = Gdt, Limit = 0x4F };
        s->Idtr = new DescriptorTableRegister { Base = Idt, Limit = 0xFFF };
        s->Tr = new SegmentRegister { Selector = 0x38, Base = Tss, Limit = 0x67, Attributes = (SegmentAttributes)0x8B };
        *(ushort*)s->XsaveArea = 0x37F;
        for (int i = 0; i < 16; i++)
            s->Gpr[i] = 0;
        s->Gpr[4] = Stack;
        s->Rip = Code;
        s->Activity = ActivityState.Running;
        Cpu.Tlb.FlushAll();
        Cpu.ModeChanged();
    }

    /// <summary>Real mode at an address below 64 KiB, all segments 0, the stack below the code.</summary>
    internal void EnterReal(ushort address)
    {
        CpuState* s = State;
        s->Cs = new SegmentRegister { Limit = 0xFFFF, Attributes = (SegmentAttributes)0x9B };
        s->Gdtr = new DescriptorTableRegister { Base = Gdt, Limit = 0x4F };
        s->Gpr[4] = address;
        s->Rip = address;
        s->Activity = ActivityState.Running;
    }

    /// <summary>Runs the program until its HLT.</summary>
    internal void RunToHalt()
    {
        Assert.Equal(ExitReason.Halt, Engine.Run(ulong.MaxValue));
        Engine.Settle();
    }

    /// <summary>Assembles a 64-bit program, enters it and runs it until its HLT or that of a vector's stub.</summary>
    internal ulong[] Run(Func<Assembler, Label[]> program)
    {
        ulong[] labels = Assemble(64, Code, program);
        EnterLong();
        RunToHalt();
        return labels;
    }

    internal void Run(Action<Assembler> program)
    {
        Assemble(64, Code, program);
        EnterLong();
        RunToHalt();
    }

    private static SegmentRegister Segment(ushort selector, uint rights) =>
        new() { Selector = selector, Limit = uint.MaxValue, Attributes = (SegmentAttributes)rights };

    private void WriteTables()
    {
        Write64(Gdt + Code64, 0x00AF9B000000FFFF);
        Write64(Gdt + Data64, 0x00CF93000000FFFF);
        Write64(Gdt + Code32, 0x00CF9B000000FFFF);
        Write64(Gdt + 0x20, 0x00CFF3000000FFFF);
        Write64(Gdt + 0x28, 0x00AFFB000000FFFF);
        Write64(Gdt + Code16, 0x00009B000000FFFF);
        Write64(Tss + 4, Stack - 0x10000);
        for (int vector = 0; vector < 256; vector++)
        {
            SetGate(vector, Stubs + (16 * (ulong)vector));
            Write(Stubs + (16 * (ulong)vector), [0xF4]);
        }

        Write64(Tables, (Tables + 0x1000) | 7);
        Write64(Tables + 0x1000, (Tables + 0x2000) | 7);
        for (ulong i = 0; i < 8; i++)
            Write64(Tables + 0x2000 + (8 * i), (i << 21) | 0x87);
        Write64(Tables + 0x2000 + (8 * (Window >> 21)), DeviceWindow | 0x87);
        Write64(Tables + 0x2000 + (8 * (SmallPages >> 21)), (Tables + 0x3000) | 7);
        for (ulong i = 0; i < 512; i++)
            Write64(Tables + 0x3000 + (8 * i), (SmallPages + (i << 12)) | (i == 1 ? 6UL : i == 3 ? 5UL : 7UL));
    }
}
