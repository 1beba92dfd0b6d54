using Doppel.Host.Kvm;
using Doppel.Host.Memory;
using Doppel.Host.Threads;
using Doppel.Machine.Cpu;
using Iced.Intel;

namespace Doppel.Engines.Kvm;

/// <summary>A guest of a few instructions in 64-bit mode with paging, by which a host's KVM is tried. Belongs to one thread.</summary>
internal sealed unsafe class KvmTrialGuest : IDisposable
{
    private const ulong Size = 64 << 10;
    private const ulong Tables = 0x1000;
    private const ulong Code = 0x8000;
    private readonly AnonymousMemory _memory = new(Size);
    private readonly KvmVm _vm;

    /// <summary>Makes the guest; it begins at the program's first instruction, without an interrupt table.</summary>
    /// <param name="device">The KVM.</param>
    /// <param name="program">Writes the program; at most 256 bytes.</param>
    /// <param name="cr4">Bits of CR4 that it needs beside those of 64-bit mode with vector instructions.</param>
    /// <exception cref="Doppel.Host.HostException">The kernel refuses.</exception>
    internal KvmTrialGuest(KvmDevice device, Action<Assembler> program, ulong cr4 = 0)
    {
        KvmVm? vm = null;
        KvmVcpu? vcpu = null;
        try
        {
            vm = device.CreateVm();
            vm.SetMemory(0, 0, Size, _memory.Base, isReadOnly: false, logsWrites: false);
            vcpu = vm.CreateVcpu(0);
            vcpu.SetCpuid(device.GetSupportedCpuid());
            Write(program);
            Enter(vcpu, cr4);
            (_vm, Vcpu) = (vm, vcpu);
        }
        catch
        {
            vcpu?.Dispose();
            vm?.Dispose();
            _memory.Dispose();
            throw;
        }
    }

    /// <summary>Its vCPU.</summary>
    internal KvmVcpu Vcpu { get; }

    /// <summary>Runs to the next exit.</summary>
    /// <returns>False when there was none in time.</returns>
    internal bool Run(TimeSpan limit)
    {
        int thread = ThreadSignal.Prepare();
        bool isOver = false;
        // Again and again: a signal right before the call would be lost.
        using var watchdog = new Timer(
            _ =>
            {
                Volatile.Write(ref isOver, true);
                ThreadSignal.Interrupt(thread);
            },
            null,
            limit,
            TimeSpan.FromMilliseconds(100));
        while (!Vcpu.Run())
        {
            if (Volatile.Read(ref isOver))
                return false;
        }

        return true;
    }

    public void Dispose()
    {
        Vcpu.Dispose();
        _vm.Dispose();
        _memory.Dispose();
    }

    private void Write(Action<Assembler> program)
    {
        const ulong Rights = 3, Large = 0x80;
        *(ulong*)(_memory.Base + Tables) = (Tables + 0x1000) | Rights;
        *(ulong*)(_memory.Base + Tables + 0x1000) = (Tables + 0x2000) | Rights;
        *(ulong*)(_memory.Base + Tables + 0x2000) = Rights | Large;
        var code = new Assembler(64);
        program(code);
        using var stream = new MemoryStream();
        _ = code.Assemble(new StreamCodeWriter(stream), Code);
        stream.ToArray().CopyTo(new Span<byte>(_memory.Base + Code, 256));
    }

    private static void Enter(KvmVcpu vcpu, ulong cr4)
    {
        vcpu.Get(out KvmSystemRegisters system);
        var data = new KvmSegment { Limit = uint.MaxValue, Selector = 16, Type = 3, Present = 1, Db = 1, S = 1, G = 1 };
        system.Ds = system.Es = system.Fs = system.Gs = system.Ss = data;
        system.Cs = data with { Selector = 8, Type = 11, Db = 0, L = 1 };
        system.Cr3 = Tables;
        system.Cr4 = Cr4.Pae | Cr4.Osfxsr | Cr4.Osxmmexcpt | cr4;
        system.Cr0 = Cr0.Pg | Cr0.Pe | Cr0.Et | Cr0.Ne | Cr0.Mp | Cr0.Wp;
        system.Efer = Efer.Lme | Efer.Lma;
        system.Idt = default;
        system.Flags = 0;
        vcpu.Set(in system);
        var registers = new KvmRegisters { Rip = Code, Rsp = Code, Rflags = CpuFlags.Fixed };
        vcpu.Set(in registers);
    }
}
