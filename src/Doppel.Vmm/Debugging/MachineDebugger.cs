using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Debugging;
using Doppel.Machine.Cpu.Models;

namespace Doppel.Vmm.Debugging;

/// <summary>
/// Debugs a <see cref="VirtualMachine"/>. Its breakpoints outlive a reset of the machine. One debugger at a time uses
/// it, from one thread at a time.
/// </summary>
public sealed class MachineDebugger : IDebugTarget
{
    private readonly VirtualMachine _machine;
    private readonly HashSet<DebugStop> _taken = new(ReferenceEqualityComparer.Instance);
    private BreakpointSet _breakpoints = BreakpointSet.Empty;
    private IReadOnlyList<VirtualCpu> _cpus = [];
    private bool _stepsIntoInterrupts;

    internal MachineDebugger(VirtualMachine machine)
    {
        _machine = machine;
        _ = machine.WaitAsync().ContinueWith(_ => Changed?.Invoke(), TaskScheduler.Default);
    }

    /// <inheritdoc/>
    public event Action? Changed;

    /// <inheritdoc/>
    public int CpuCount => WithCpus(cpus => cpus.Count);

    /// <inheritdoc/>
    public bool HasAvx => CpuModels.Find(_machine.Spec.CpuModel).Has(CpuFeature.Avx);

    /// <inheritdoc/>
    public bool HasEnded => _machine.State == VmState.Ended;

    /// <inheritdoc/>
    public bool HasStop => WithCpus(cpus => cpus.Any(c => IsNew(c.Debug?.Stop)));

    /// <inheritdoc/>
    public bool StepsIntoInterrupts
    {
        get => _stepsIntoInterrupts;
        set
        {
            _stepsIntoInterrupts = value;
            _ = WithCpus(cpus =>
            {
                foreach (VirtualCpu cpu in cpus)
                    ControlOf(cpu).StepsIntoInterrupts = value;
                return true;
            });
        }
    }

    /// <inheritdoc/>
    public Task StopAsync() => _machine.StopForDebuggerAsync();

    /// <inheritdoc/>
    public DebugStop? TakeStop() => WithCpus(cpus =>
    {
        foreach (VirtualCpu cpu in cpus)
        {
            if (cpu.Debug?.Stop is { } stop && _taken.Add(stop))
                return stop;
        }

        return null;
    });

    /// <inheritdoc/>
    public void Resume(IReadOnlyList<CpuAction> actions)
    {
        ArgumentNullException.ThrowIfNull(actions);
        bool hasStop = WithCpus(cpus =>
        {
            if (cpus.Any(IsOwed))
                return true;
            for (int i = 0; i < cpus.Count; i++)
            {
                VirtualCpu cpu = cpus[i];
                CpuAction action = i < actions.Count ? actions[i] : CpuAction.Hold;
                DebugControl control = ControlOf(cpu);
                // Who was told of a stop at an instruction goes on with that instruction, as under RFLAGS.RF.
                bool wasTold = control.Stop is not null && !IsNew(control.Stop);
                control.IsStepping = action == CpuAction.Step;
                control.IsHeld = action == CpuAction.Hold;
                control.Prepare(wasTold || control.IsStepping ? cpu.GetCodeAddress() : null);
            }

            _taken.Clear();
            return false;
        });
        if (hasStop)
            Changed?.Invoke();
        else
            _machine.ResumeForDebugger();
    }

    /// <inheritdoc/>
    public void Detach()
    {
        _ = WithCpus(cpus =>
        {
            SetBreakpoints(cpus, BreakpointSet.Empty);
            foreach (VirtualCpu cpu in cpus)
                cpu.Debug = null;
            _taken.Clear();
            return true;
        });
        _machine.ResumeForDebugger();
    }

    /// <inheritdoc/>
    public void Kill() => _ = _machine.StopAsync();

    /// <inheritdoc/>
    public Task ResetAsync() => _machine.ResetAsync();

    /// <inheritdoc/>
    public void ReadRegister(int cpu, CpuRegister register, Span<byte> destination)
    {
        byte[] value = new byte[register.Size];
        _ = WithCpu(cpu, c =>
        {
            CpuRegisters.Read(c, register, value);
            return true;
        });
        value.CopyTo(destination);
    }

    /// <inheritdoc/>
    public bool TryWriteRegister(int cpu, CpuRegister register, ReadOnlySpan<byte> source)
    {
        byte[] value = source[..register.Size].ToArray();
        return WithCpu(cpu, c => CpuRegisters.TryWrite(c, register, value));
    }

    /// <inheritdoc/>
    public int ReadMemory(int cpu, ulong address, Span<byte> destination, bool isPhysical)
    {
        byte[] bytes = new byte[destination.Length];
        int count = WithCpu(cpu, c => isPhysical ? DebugMemory.ReadPhysical(c, address, bytes) : DebugMemory.Read(c, address, bytes));
        bytes.AsSpan(0, count).CopyTo(destination);
        return count;
    }

    /// <inheritdoc/>
    public int WriteMemory(int cpu, ulong address, ReadOnlySpan<byte> source, bool isPhysical)
    {
        byte[] bytes = source.ToArray();
        return WithCpu(cpu, c => isPhysical ? DebugMemory.WritePhysical(c, address, bytes) : DebugMemory.Write(c, address, bytes));
    }

    /// <inheritdoc/>
    public ulong? Translate(int cpu, ulong address) =>
        WithCpu(cpu, c => DebugMemory.TryTranslate(c, address, out ulong physical) ? physical : (ulong?)null);

    /// <inheritdoc/>
    public void Add(Breakpoint breakpoint) => Change(set => set.With(breakpoint));

    /// <inheritdoc/>
    public void Remove(Breakpoint breakpoint) => Change(set => set.Without(breakpoint));

    /// <inheritdoc/>
    public string Describe(int cpu) => WithCpu(cpu, c => c.GetLocation().ToString()) ?? "";

    /// <summary>A machine has been built, at first or by a reset: its vCPUs take over what is set. The VM's lock is held.</summary>
    internal void Attach(IReadOnlyList<VirtualCpu> cpus)
    {
        _cpus = cpus;
        if (_breakpoints.IsEmpty)
            return;
        SetBreakpoints(cpus, _breakpoints);
    }

    /// <summary>The machine is being taken apart. The VM's lock is held.</summary>
    internal void Release() => _cpus = [];

    /// <summary>A vCPU has stopped for the debugger; called on its thread, when all have been told to stop.</summary>
    internal void OnStop() => Changed?.Invoke();

    // A step or an access that was finished on another vCPU would be lost; a breakpoint is hit again.
    private bool IsOwed(VirtualCpu cpu) => cpu.Debug?.Stop is { Breakpoint: null or { IsCode: false } } stop && IsNew(stop);

    private bool IsNew(DebugStop? stop) => stop is not null && !_taken.Contains(stop);

    private void Change(Func<BreakpointSet, BreakpointSet> change) => WithCpus(cpus =>
    {
        SetBreakpoints(cpus, change(_breakpoints));
        return true;
    });

    private void SetBreakpoints(IReadOnlyList<VirtualCpu> cpus, BreakpointSet breakpoints)
    {
        bool watched = _breakpoints.HasWatchpoints || breakpoints.HasWatchpoints;
        _breakpoints = breakpoints;
        foreach (VirtualCpu cpu in cpus)
        {
            ControlOf(cpu).Breakpoints = breakpoints;
            if (watched)
                cpu.Tlb.RequestFlush();
        }
    }

    private DebugControl ControlOf(VirtualCpu cpu) => cpu.Debug ??= new DebugControl { StepsIntoInterrupts = _stepsIntoInterrupts, Breakpoints = _breakpoints };

    private T? WithCpu<T>(int index, Func<VirtualCpu, T> use) => WithCpus(cpus => index >= 0 && index < cpus.Count ? use(cpus[index]) : default);

    private T WithCpus<T>(Func<IReadOnlyList<VirtualCpu>, T> use) => _machine.Locked(() => use(_cpus));
}
