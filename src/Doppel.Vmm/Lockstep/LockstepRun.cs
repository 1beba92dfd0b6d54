using System.Text;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Inspection;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Execution;

namespace Doppel.Vmm.Lockstep;

/// <summary>
/// Runs one guest on two engines with deterministic time, compares them at intervals, and finds the first instruction
/// after which they differ by running both again. One thread; a run takes as long as both engines together.
/// </summary>
public sealed class LockstepRun
{
    private readonly LockstepOptions _options;
    private readonly Func<EngineFactory, string, VirtualCpu, IExecutionEngine> _create;
    private readonly IBootLoader _kernel;
    private readonly BootFile? _initrd;

    /// <summary>Reads the guest's files.</summary>
    /// <exception cref="SpecException">The specification or an interval can't be.</exception>
    /// <exception cref="BootException">The kernel or initial RAM disk can't be loaded.</exception>
    public LockstepRun(LockstepOptions options)
        : this(options, static (factory, name, cpu) => factory.Create(name, cpu))
    {
    }

    internal LockstepRun(LockstepOptions options, Func<EngineFactory, string, VirtualCpu, IExecutionEngine> create)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfZero(options.Interval);
        (options.Spec with { Engine = EngineNames.Interpreter }).Validate();
        _options = options;
        _create = create;
        _kernel = BootImage.Open(options.Spec.Kernel);
        _initrd = options.Spec.Initrd is null ? null : BootFile.Read(options.Spec.Initrd, "initial RAM disk");
    }

    private ulong RestEvery => Math.Max(1, (_options.MemoryInterval + _options.Interval - 1) / _options.Interval) * _options.Interval;

    /// <summary>Runs to the guest's end, the given number of instructions, or the first difference.</summary>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public LockstepResult Run(CancellationToken cancel = default)
    {
        using var pair = new Pair(this);
        ulong equal = 0, restEqual = 0;
        int shown = 0;
        while (true)
        {
            cancel.ThrowIfCancellationRequested();
            ulong target = Math.Min(equal + _options.Interval, _options.Instructions ?? ulong.MaxValue);
            pair.RunTo(target);
            bool isEnd = pair.Reference.End is not null || target == _options.Instructions;
            bool looksAtRest = isEnd || target % RestEvery == 0;
            if (!pair.Comparer.RegistersMatch() || (looksAtRest && pair.Comparer.CompareRest().Count != 0))
                return Result(pair, equal, Locate(restEqual, target, cancel));
            equal = target;
            if (!looksAtRest)
                continue;
            restEqual = target;
            _options.Output?.Invoke(pair.Reference.Output[shown..]);
            shown = pair.Reference.Output.Length;
            _options.Progress?.Invoke(new LockstepProgress(pair.Reference.Retired, "compared"));
            if (isEnd)
                return Result(pair, pair.Reference.Retired, null);
        }
    }

    private static LockstepResult Result(Pair pair, ulong instructions, LockstepDifference? difference) => new()
    {
        Instructions = difference?.EqualAt ?? instructions,
        End = difference is null ? pair.Reference.End : null,
        Difference = difference,
        Console = Encoding.UTF8.GetString(pair.Reference.Output.Span),
    };

    /// <summary>Narrows a difference: to an interval, then to an instruction, or at least to a block.</summary>
    private LockstepDifference Locate(ulong from, ulong to, CancellationToken cancel)
    {
        from = NarrowToInterval(from, to, cancel);
        using (var pair = new Pair(this))
        {
            Report("looking for the instruction");
            pair.RunTo(from);
            pair.UseSingleInstructions();
            if (Walk(pair, to, isExact: true, cancel) is { } exact)
                return exact;
        }

        using (var pair = new Pair(this))
        {
            Report("looking for the block");
            pair.RunTo(from);
            return Walk(pair, to, isExact: false, cancel) ?? DescribeInterval(from, to);
        }
    }

    private ulong NarrowToInterval(ulong from, ulong to, CancellationToken cancel)
    {
        using var pair = new Pair(this);
        Report("looking for the interval");
        pair.RunTo(from);
        while (from < to)
        {
            cancel.ThrowIfCancellationRequested();
            pair.RunTo(Math.Min(from + _options.Interval, to));
            if (!pair.Comparer.RegistersMatch() || pair.Comparer.CompareRest().Count != 0)
                return from;
            from += _options.Interval;
        }

        return to >= _options.Interval ? to - _options.Interval : 0;
    }

    /// <summary>Goes on one instruction or one block at a time until something differs; null when nothing does.</summary>
    private LockstepDifference? Walk(Pair pair, ulong to, bool isExact, CancellationToken cancel)
    {
        _ = pair.Comparer.CompareRest();
        var before = new Before(pair.Reference);
        while (pair.Reference.Retired < to && pair.Reference.End is null)
        {
            cancel.ThrowIfCancellationRequested();
            before.Update(pair.Reference);
            if (isExact)
                pair.RunTo(pair.Reference.Retired + 1);
            else
                pair.RunBlock();
            bool registersMatch = pair.Comparer.RegistersMatch();
            IReadOnlyList<string> rest = pair.Comparer.CompareRest();
            if (!registersMatch || rest.Count != 0)
                return Describe(pair, before, isExact, [.. pair.Comparer.DescribeRegisters(), .. rest]);
        }

        return null;
    }

    // The difference shows only when many instructions run at once.
    private LockstepDifference DescribeInterval(ulong from, ulong to)
    {
        using var pair = new Pair(this);
        pair.RunTo(from);
        _ = pair.Comparer.CompareRest();
        var before = new Before(pair.Reference);
        pair.RunTo(to);
        _ = pair.Comparer.RegistersMatch();
        return Describe(pair, before, isExact: false, [.. pair.Comparer.DescribeRegisters(), .. pair.Comparer.CompareRest()]);
    }

    private LockstepDifference Describe(Pair pair, Before before, bool isExact, IReadOnlyList<string> what)
    {
        // Who has executed the instruction is to be shown, unless only another's registers differ.
        int last = pair.Reference.LastCpu;
        int cpu = pair.Comparer.Reference[last].Matches(pair.Comparer.Tested[last]) ? pair.Comparer.DifferentCpu ?? last : last;
        var registers = new List<LockstepRegister>();
        IReadOnlyList<RegisterValue> old = before.Cpus[cpu].List(), a = pair.Comparer.Reference[cpu].List(), b = pair.Comparer.Tested[cpu].List();
        for (int i = 0; i < old.Count; i++)
        {
            // The general registers, RIP and RFLAGS are always of interest.
            if (i < 18 || a[i] != b[i] || old[i] != a[i])
                registers.Add(new LockstepRegister(old[i].Name, old[i].Value, a[i].Value, b[i].Value));
        }

        return new LockstepDifference
        {
            EqualAt = before.Retired,
            DifferentAt = pair.Reference.Retired,
            IsExact = isExact,
            Cpu = cpu,
            What = what,
            Rip = before.Cpus[cpu].Rip,
            Registers = registers,
            Engines = (_options.Reference, _options.Tested),
            GuestCode = before.Code[cpu],
            HostCode = pair.Tested.DisassembleHost(cpu, before.Physical[cpu]),
        };
    }

    private void Report(string phase) => _options.Progress?.Invoke(new LockstepProgress(0, phase));

    /// <summary>Where the reference's vCPUs stood before what is looked at.</summary>
    private sealed class Before
    {
        internal Before(LockstepMachine machine)
        {
            Cpus = [.. machine.Cpus.Select(CpuSnapshot.Take)];
            Code = new IReadOnlyList<string>[Cpus.Length];
            Physical = new ulong?[Cpus.Length];
            Update(machine);
        }

        internal CpuSnapshot[] Cpus { get; }

        internal IReadOnlyList<string>[] Code { get; }

        internal ulong?[] Physical { get; }

        internal ulong Retired { get; private set; }

        internal void Update(LockstepMachine machine)
        {
            Retired = machine.Retired;
            for (int i = 0; i < Cpus.Length; i++)
            {
                Cpus[i].Update(machine.Cpus[i]);
                Code[i] = machine.DisassembleGuest(i);
                Physical[i] = machine.CodeAddress(i, Cpus[i].Rip);
            }
        }
    }

    private sealed class Pair : IDisposable
    {
        internal Pair(LockstepRun run)
        {
            LockstepOptions o = run._options;
            Reference = new LockstepMachine(o, o.Reference, run._create, run._kernel, run._initrd);
            try
            {
                Tested = new LockstepMachine(o, o.Tested, run._create, run._kernel, run._initrd);
            }
            catch
            {
                Reference.Dispose();
                throw;
            }

            Comparer = new LockstepComparer(Reference, Tested);
        }

        internal LockstepMachine Reference { get; }

        internal LockstepMachine Tested { get; }

        internal LockstepComparer Comparer { get; }

        public void Dispose()
        {
            Reference.Dispose();
            Tested.Dispose();
        }

        internal void RunTo(ulong target)
        {
            Reference.RunTo(target);
            Tested.RunTo(target);
        }

        internal void RunBlock()
        {
            Tested.RunBlock();
            Reference.RunTo(Tested.Retired);
        }

        internal void UseSingleInstructions()
        {
            Reference.UseSingleInstructions();
            Tested.UseSingleInstructions();
        }
    }
}
