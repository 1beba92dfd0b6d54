using Doppel.Engines.Kvm;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Interrupts;
using Doppel.Machine.Memory;
using Doppel.Machine.State;
using Doppel.Machine.Time;
using Iced.Intel;

namespace Doppel.Engines.Tests.Kvm;

/// <summary>
/// vCPUs in real mode with local APICs, an IOAPIC and a source of external interrupts. GS shows the local APIC's page. A write
/// to <see cref="EndPort"/> ends what runs; one to <see cref="DropPort"/> lowers the IOAPIC's input 5.
/// </summary>
internal sealed unsafe class ApicGuest : IDisposable
{
    internal const byte EndPort = 0x90;
    internal const byte DropPort = 0x91;
    internal const ushort Code = 0x7000;
    internal const int LevelInput = 5;
    private const ushort Handlers = 0x4000;
    private const ushort Counts = 0x6000;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);
    private readonly GuestMemory _memory = new(1 << 20);
    private readonly Lock _ioLock = new();
    private readonly HostClock _clock;
    private readonly KvmMachine? _kvm;
    private readonly List<IExecutionEngine> _engines = [];
    private volatile bool _isOver;

    internal ApicGuest(string engine, int count = 1)
    {
        _clock = new HostClock(_ioLock, KvmMachine.FindTscFrequency());
        var ports = new IoBus("port", 0x10000, _ioLock);
        var mmio = new IoBus("mmio", 1UL << 52, _ioLock);
        ports.Map(EndPort, 2, new Ports(this));
        var physical = new PhysicalAddressSpace(_memory, mmio);
        IoApic = new IoApic(Bus);
        for (int i = 0; i < count; i++)
        {
            var cpu = new VirtualCpu(i, Model, physical, ports, _clock) { CpuCount = count };
            var apic = new LocalApic(i, cpu, Bus, _clock, new LocalApicOptions { PhysicalAddressBits = Model.PhysicalAddressBits });
            cpu.Apic = apic;
            apic.Write(ApicRegister.SpuriousVector, 4, 0x1FF);
            Cpus.Add(cpu);
            Apics.Add(apic);
        }

        _clock.Resume();
        if (engine == "kvm")
            _kvm = new KvmMachine(Cpus[0]);
        foreach (VirtualCpu cpu in Cpus)
            _engines.Add(engine == "kvm" ? new KvmEngine(cpu, _kvm!) : new Interpreter(cpu));
    }

    internal List<VirtualCpu> Cpus { get; } = [];

    internal List<LocalApic> Apics { get; } = [];

    internal ApicBus Bus { get; } = new();

    internal IoApic IoApic { get; }

    internal IExecutionEngine Engine => _engines[0];

    internal VirtualCpu Cpu => Cpus[0];

    internal CpuState* State => Cpu.State;

    internal HostClock Clock => _clock;

    /// <summary>Runs of the handler that <see cref="Handle"/> has set for a vector.</summary>
    internal int CountOf(int vector) => *(ushort*)(_memory.Base + Counts + (2 * vector));

    internal Span<byte> Memory => new(_memory.Base, 1 << 20);

    internal void Assemble(ushort address, Action<Assembler> program)
    {
        var assembler = new Assembler(16);
        program(assembler);
        using var stream = new MemoryStream();
        _ = assembler.Assemble(new StreamCodeWriter(stream), address);
        stream.ToArray().CopyTo(Memory[address..]);
    }

    /// <summary>Sets a handler that counts, does something, and returns.</summary>
    internal void Handle(byte vector, Action<Assembler> action)
    {
        ushort address = (ushort)(Handlers + (vector * 32));
        *(uint*)(_memory.Base + (4 * vector)) = address;
        Assemble(address, c =>
        {
            c.inc(AssemblerRegisters.__word_ptr[Counts + (2 * vector)]);
            action(c);
            c.iret();
        });
    }

    /// <summary>Puts the first vCPU to a program at <see cref="Code"/>.</summary>
    internal void Enter(Action<Assembler> program)
    {
        Assemble(Code, program);
        CpuState* s = State;
        var data = new SegmentRegister { Limit = 0xFFFF, Attributes = (SegmentAttributes)0x93 };
        s->Ds = s->Es = s->Fs = s->Ss = data;
        s->Gs = new SegmentRegister { Selector = 0xFEE0, Base = PcMemoryMap.LocalApic, Limit = 0xFFFF, Attributes = (SegmentAttributes)0x93 };
        s->Cs = new SegmentRegister { Limit = 0xFFFF, Attributes = (SegmentAttributes)0x9B };
        s->Idtr = new DescriptorTableRegister { Limit = 0x3FF };
        s->Gpr[4] = Code;
        s->Rip = Code;
        s->Activity = ActivityState.Running;
        Cpu.ModeChanged();
    }

    /// <summary>Runs all vCPUs, each on a thread, until the guest ends it; then all stand still.</summary>
    /// <param name="meanwhile">What this thread does once they have been started.</param>
    internal void Run(Action? meanwhile = null)
    {
        _isOver = false;
        var errors = new List<Exception>();
        List<Thread> threads = [.. Enumerable.Range(0, Cpus.Count).Select(i => new Thread(() => Loop(i, errors)) { IsBackground = true })];
        threads.ForEach(thread => thread.Start());
        meanwhile?.Invoke();
        foreach (Thread thread in threads)
            Assert.True(thread.Join(Patience), "the guest has not ended");
        Assert.Empty(errors);
    }

    internal void End()
    {
        _isOver = true;
        Cpus.ForEach(cpu => cpu.Signal(PendingEvents.Kick));
    }

    /// <summary>Memory and state of a guest that stands still go to another one.</summary>
    internal void MoveTo(ApicGuest other)
    {
        Memory.CopyTo(other.Memory);
        _clock.Pause();
        other._clock.Pause();
        Copy(_clock, other._clock);
        other._clock.Resume();
        for (int i = 0; i < Cpus.Count; i++)
        {
            Copy(new CpuStateSection(Cpus[i]), new CpuStateSection(other.Cpus[i]));
            Copy(Apics[i], other.Apics[i]);
        }
    }

    public void Dispose()
    {
        _engines.ForEach(engine => engine.Dispose());
        _kvm?.Dispose();
        Apics.ForEach(apic => apic.Dispose());
        _clock.Dispose();
        Cpus.ForEach(cpu => cpu.Dispose());
        _memory.Dispose();
    }

    private void Loop(int index, List<Exception> errors)
    {
        VirtualCpu cpu = Cpus[index];
        try
        {
            while (!_isOver)
            {
                cpu.EnterGuest();
                ExitReason reason;
                try
                {
                    reason = _engines[index].Run(ulong.MaxValue);
                }
                finally
                {
                    cpu.LeaveGuest();
                }

                if (reason == ExitReason.Halt)
                    cpu.WaitForSignal(CancellationToken.None);
                Assert.NotEqual(ExitReason.Shutdown, reason);
            }

            _engines[index].Settle();
        }
        catch (Exception e)
        {
            lock (errors)
                errors.Add(e);
            End();
        }
    }

    private static void Copy(IStateful from, IStateful to)
    {
        var writer = new StateWriter();
        from.Save(writer);
        to.Restore(new StateReader(writer.ToArray()), from.SectionVersion);
    }

    // What a KVM that only emulates has, and all that a local APIC can have.
    private static CpuModel Model { get; } = new()
    {
        Name = "small",
        Signature = 0x000806F8,
        PhysicalAddressBits = 36,
        Has1GiBPages = false,
        Features = default(CpuFeatureSet).With(
            CpuFeature.Fpu, CpuFeature.Tsc, CpuFeature.Msr, CpuFeature.Pae, CpuFeature.Cx8, CpuFeature.Apic, CpuFeature.Cmov, CpuFeature.Pat,
            CpuFeature.Fxsr, CpuFeature.Sse, CpuFeature.Sse2, CpuFeature.Syscall, CpuFeature.Nx, CpuFeature.Lm, CpuFeature.X2Apic, CpuFeature.TscDeadline),
    };

    private sealed class Ports(ApicGuest owner) : IIoRegion
    {
        public string Name => "ends";

        public ulong Read(ulong offset, int size) => 0;

        public void Write(ulong offset, int size, ulong value)
        {
            if (offset == 0)
                owner.End();
            else
                owner.IoApic.Pin(LevelInput).Set(false);
        }
    }
}
