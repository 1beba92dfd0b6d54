using System.Diagnostics;
using System.Runtime.Intrinsics.X86;
using Doppel.Host.Processor;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Events;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.Statistics;
using Doppel.Machine.Memory;

namespace Doppel.Engines.Translator;

/// <summary>
/// Binary translation of code of every mode to the host's own 64-bit code, whole systems included, with the interpreter for
/// everything that is not translated: most system instructions, CPL 1 and 2, what is rare. Belongs to its vCPU's thread.
/// </summary>
public sealed unsafe class TranslatorEngine : IExecutionEngine
{
    // How long the interpreter runs alone in a mode that is not translated before the mode is looked at again.
    private const ulong InterpretedStretch = 2000;

    // Of the writes of groups that fail in pages of code, one in so many has its block translated anew: it is one of the frequent ones.
    private const int GroupedWrites = 16;

    // What is interpreted is executed a few times only; 4 MiB hold the code of a boot between two flushes.
    private const ulong ColdCodeBytes = 4UL << 20;

    private readonly VirtualCpu _cpu;
    private readonly CpuState* _s;
    private readonly Interpreter _interpreter;
    private readonly TranslationCache _cache;
    private readonly bool _ownsCache;
    private readonly JumpCache _jumps;
    private readonly TranslationStatistics _statistics = new();
    private readonly HostTime _hostTime;
    private readonly delegate* unmanaged<CpuState*, byte*, void> _enter;
    private readonly bool _hasAvx;
    private readonly bool _isCounted;
    private readonly BlockHeat _heat = new();
    private int _groupedWrites;
    private ulong _missedLast, _missedBefore;
    private bool _interpretNext;
    private bool _interpretBlock;
    private ExitRecord _lastMiss;
    private TranslationVariant _lastVariant;
    private int _alternations;
    private bool _budgetExit;
    private ulong _evictions;
    private (ulong Physical, TranslationVariant Variant) _found;
    private bool _isWholeBlocks;
    private ulong _limit;
    private int _blockLimit = BlockTranslator.MaximumInstructions;

    /// <summary>Creates the engine of a vCPU.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="cache">The code of its machine, which outlives the engine; null for one of the engine's own.</param>
    /// <exception cref="PlatformNotSupportedException">The host's CPU lacks BMI2, AVX or WRGSBASE.</exception>
    public TranslatorEngine(VirtualCpu cpu, TranslationCache? cache = null)
    {
        if (!IsSupported(out string? reason))
            throw new PlatformNotSupportedException(reason);
        _cpu = cpu;
        _s = cpu.State;
        _isCounted = cpu.Clock.IsDeterministic;
        _interpreter = new Interpreter(cpu, ColdCodeBytes);
        _hasAvx = cpu.Model.Has(CpuFeature.Avx);
        _ownsCache = cache is null;
        _cache = cache ?? new TranslationCache(cpu);
        InitializeSlots();
        _jumps = new JumpCache(cpu, _cache);
        _cache.AddUser(this);
        _hostTime = new HostTime(cpu, _cache.Stubs.System.ReadTsc + _cache.ToExecutable);
        cpu.TscSource = _hostTime.Read;
        _enter = (delegate* unmanaged<CpuState*, byte*, void>)(_cache.Stubs.Enter + _cache.ToExecutable);
    }

    /// <summary>
    /// Executions of code in the interpreter before it is translated, 0 to 255; ignored with a deterministic clock, where
    /// all is translated at once.
    /// </summary>
    public int PromotionThreshold
    {
        get => _heat.Threshold;
        set
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value, byte.MaxValue);
            _heat.Threshold = value;
        }
    }

    /// <inheritdoc/>
    public string Name => "translator";

    /// <summary>What has been translated and why it returned.</summary>
    public TranslationStatistics Statistics => _statistics;

    /// <summary>The vCPU.</summary>
    internal VirtualCpu Cpu => _cpu;

    /// <summary>The managed thread that last ran the vCPU; 0 before.</summary>
    internal int Thread { get; private set; }

    /// <summary>Whether this host can run translated code; if not, why.</summary>
    public static bool IsSupported(out string? reason)
    {
        reason = !Bmi2.X64.IsSupported ? "the translator needs a host CPU with BMI2"
            : !Avx.IsSupported ? "the translator needs a host CPU with AVX"
            : !KernelCapabilities.HasFsGsBase ? "the translator needs a host kernel that allows WRGSBASE (Linux 5.9 or later)"
            : null;
        return reason is null;
    }

    /// <summary>
    /// Most guest instructions in a block, 1 to 64. Setting it drops what was translated; with 1, a comparison with another
    /// engine finds the very instruction. Not while the engine runs.
    /// </summary>
    public int BlockLimit
    {
        get => _blockLimit;
        set
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value, BlockTranslator.MaximumInstructions);
            _blockLimit = value;
            _cache.SetBlockLimit(value);
        }
    }

    /// <summary>The host code of the block at a guest-physical address, in the current variant. Not while the engine runs.</summary>
    public TranslatedCode GetCode(ulong physical) => _cache.GetCode(physical, CurrentVariant(_s));

    /// <inheritdoc/>
    public ExitReason Run(ulong maximumInstructions)
    {
        // Only blocks made for a deterministic clock can stop at an exact instruction.
        if (!_isCounted && maximumInstructions != ulong.MaxValue)
            return _interpreter.Run(maximumInstructions);
        Thread = Environment.CurrentManagedThreadId;
        if (_cpu.Debug is { IsActive: true })
            return _interpreter.Run(maximumInstructions);
        _hostTime.Resume();
        *(ulong*)((byte*)_s + SystemSlots.Traced) = _cpu.Trace is null ? 0u : 1u;
        ulong retired = _s->InstructionsRetired;
        // Emitted code compares with a signed difference.
        _limit = retired + Math.Min(maximumInstructions, long.MaxValue / 2);
        *(ulong*)((byte*)_s + StateLayout.NegatedLimit) = ulong.MaxValue - _limit;
        while (true)
        {
            ExitReason? reason = RunSome();
            if (reason is not null)
            {
                _statistics.EndExit();
                return reason.Value;
            }
        }
    }

    /// <summary>
    /// Runs like <see cref="Run"/>, but returns before a block that is longer than the rest of the budget instead of
    /// interpreting that rest. Deterministic clocks only.
    /// </summary>
    public ExitReason RunWholeBlocks(ulong maximumInstructions)
    {
        _isWholeBlocks = true;
        try
        {
            return Run(maximumInstructions);
        }
        finally
        {
            _isWholeBlocks = false;
        }
    }

    /// <inheritdoc/>
    public EngineStatistics GetStatistics()
    {
        TranslationStatistics statistics = _statistics;
        return _cpu.GetStatistics() with
        {
            BlocksTranslated = statistics.Blocks,
            InstructionsTranslated = statistics.Instructions,
            TranslationSeconds = Stopwatch.GetElapsedTime(0, statistics.TranslationTicks).TotalSeconds,
            BlocksPromoted = statistics.Promoted,
            BranchesChained = statistics.Chained,
            BlocksEvicted = statistics.Evicted,
            PagesOverwritten = _cache.IsReportedBy(this) ? _cache.Overwritten : 0,
            Entries = statistics.Entries,
            Exits = statistics.ListExits(),
        };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cpu.TscSource = null;
        _cache.RemoveUser(this);
        if (_ownsCache)
            _cache.Dispose();
        _interpreter.Dispose();
    }

    private void InitializeSlots()
    {
        byte* s = (byte*)_s;
        *(ulong*)(s + StateLayout.IndexMask) = TlbLayout.IndexMask;
        *(ulong*)(s + StateLayout.DirectionMask) = CpuFlags.Df;
        *(ulong*)(s + StateLayout.AllButAlignment) = ~CpuFlags.Ac;
        *(ulong*)(s + StateLayout.DeniedMask) = (1UL << 63) | 6;
        *(ulong*)(s + StateLayout.PageMask) = ~0xFFFUL;
        *(ulong*)(s + StateLayout.OffsetMask) = 0xFFF;
        *(ulong*)(s + StateLayout.AlignMask) = 15;
        *(ulong*)(s + StateLayout.AlignMask32) = 31;
        *(ulong*)(s + StateLayout.SignMask) = 1UL << 63;
        *(ulong*)(s + StateLayout.BitMask64) = 63;
        _cpu.QuietMask = JumpCache.Entries - 1;
        *(ulong*)(s + StateLayout.HalfMask) = 1UL << 47;
        *(ulong*)(s + StateLayout.CodePageMask) = 0x800000FFF000;
        *(ulong*)(s + StateLayout.BlockTable) = (ulong)_cache.Table.Words;
        *(ulong*)(s + StateLayout.BlockTableMask) = BlockTable.IndexMask;
        *(ulong*)(s + StateLayout.CodeBase) = (ulong)_cache.CodeBase;
        SystemSlots.Initialize(_s);
        SegmentSlots.Initialize(_s);
        *(ulong*)(s + SystemSlots.ExitOffsets) = (ulong)_cache.Exits.Offsets;
        *(ulong*)(s + SystemSlots.ExitRecords) = (ulong)_cache.Exits.RecordBase;
        *(ulong*)(s + SystemSlots.CodeGranules) = _cpu.CpuCount == 1 ? (ulong)_cpu.Physical.Memory.CodeGranules : 0;
        *(ulong*)(s + StateLayout.NegatedRam) = 0UL - (ulong)_s->Ram;
    }

    private ExitReason? RunSome()
    {
        CpuState* s = _s;
        for (int i = 0; i < 4096; i++)
        {
            _evictions = _cache.Evictions;
            _hostTime.Update();
            ulong rest = _limit - s->InstructionsRetired;
            if (_budgetExit || rest == 0)
            {
                // What is left is shorter than a block.
                _budgetExit = false;
                _interpretNext = false;
                return _interpreter.Run(_isWholeBlocks ? 0 : rest);
            }

            if (_interpretBlock)
            {
                _interpretBlock = false;
                if (!s->HasWork && !MustInterpret(s))
                {
                    _interpreter.ExecuteBlock();
                    continue;
                }
            }

            if (_interpretNext && !_isCounted && !s->HasWork && !MustInterpret(s))
            {
                _interpretNext = false;
                _interpreter.ExecuteNext();
                continue;
            }

            if (s->HasWork || _interpretNext || MustInterpret(s))
            {
                _interpretNext = false;
                ExitReason reason = _interpreter.Run(1);
                if (reason != ExitReason.Budget)
                    return reason;
                continue;
            }

            if (!SegmentMode.TryGet(s, out _) || s->Cpl is 1 or 2)
            {
                ExitReason reason = _interpreter.Run(Math.Min(InterpretedStretch, rest));
                if (reason != ExitReason.Budget)
                    return reason;
                continue;
            }

            byte* code = FindCode(s);
            if (code != null)
                Enter(s, code);
        }

        return null;
    }

    private bool MustInterpret(CpuState* s) =>
        (s->FlagSystem & (CpuFlags.Tf | CpuFlags.Rf)) != 0 ||
        (s->Shadow & (InterruptShadow.Sti | InterruptShadow.MovSs)) != 0 ||
        (s->Dr[7] & 0xFF) != 0 ||
        _cpu.Trace is { WantsInstructions: true };

    /// <summary>The code at RIP, or null when the interpreter must take the next instruction.</summary>
    private byte* FindCode(CpuState* s, TranslationVariant also = TranslationVariant.None)
    {
        bool is64 = s->Is64Bit;
        if (is64 ? !LinearMemory.IsCanonical(s->Rip) : s->Rip > s->Cs.Limit)
        {
            _interpretNext = true;
            return null;
        }

        ulong linear = SegmentMode.LinearOf(s, s->Rip);
        if (_cpu.Tlb.TryTranslate(linear, AccessKind.Execute, out ulong physical) is { } fault)
        {
            EventDelivery.Deliver(_cpu, fault);
            return null;
        }

        if (!_cpu.Physical.IsPlainMemory(physical))
        {
            _interpretNext = true;
            return null;
        }

        TranslationVariant variant = CurrentVariant(s);
        // Addresses that are cached lead to code of one kind.
        if (((variant ^ _lastVariant) & TranslationVariant.TrappedVectors) != 0)
            _jumps.Clear();
        _lastVariant = variant;
        *(ulong*)((byte*)s + StateLayout.Variant) = BlockTable.Count(variant);
        s->CodePage = s->Rip - (linear & 0xFFF);
        if (!is64)
            SegmentSlots.Update(s, variant);
        _found = (physical, variant | also);
        byte* code = _cache.Find(physical, variant | also);
        if (code != null)
            return code;
        // With a deterministic clock every engine must see events at the same instructions.
        if (!_isCounted && also == TranslationVariant.None && _heat.IsCold(physical))
        {
            _interpretBlock = true;
            return null;
        }

        if (BlockTranslator.MayCross(physical) && _cache.CrossesPage(physical, variant))
        {
            ulong nextPage = SegmentMode.LinearOf(s, s->CodePage + GuestMemory.PageSize);
            code = SegmentMode.IsFlat(variant) && _cpu.Tlb.TryTranslate(nextPage, AccessKind.Execute, out ulong next) is null && _cpu.Physical.IsPlainMemory(next)
                ? _cache.AddCrossing(_cpu, _statistics, physical, next, variant)
                : null;
        }
        else
        {
            code = _cache.Add(_cpu, _statistics, physical, variant | also);
        }

        _interpretNext = code == null;
        return code;
    }

    private TranslationVariant CurrentVariant(CpuState* s) =>
        (SegmentMode.TryGet(s, out TranslationVariant mode) ? mode : TranslationVariant.None) |
        (VectorsAreNative(s) ? TranslationVariant.None : TranslationVariant.TrappedVectors) |
        (s->Cpl == 3 ? TranslationVariant.User : TranslationVariant.None);

    // Vector instructions run natively only while nothing about them can trap.
    private bool VectorsAreNative(CpuState* s)
    {
        if ((s->Cr0 & (Cr0.Em | Cr0.Ts)) != 0 || (s->Cr4 & Cr4.Osfxsr) == 0 || (s->Mxcsr & 0x1F80) != 0x1F80)
            return false;
        return !_hasAvx || ((s->Cr4 & Cr4.Osxsave) != 0 && (s->Xcr0 & 6) == 6);
    }

    /// <summary>Runs translated code until an exit that the interpreter or the loop must look at.</summary>
    private void Enter(CpuState* s, byte* code)
    {
        ref ulong flags = ref *(ulong*)((byte*)s + StateLayout.HostFlags);
        while (code != null)
        {
            _jumps.Follow();
            if (s->EventMask == 0)
                _cpu.ShowQuiet();
            // IF is the host's own and always set; the guest's DF is kept in the state, the host's stays clear.
            flags = (s->Flags & CpuFlags.Status) | CpuFlags.Fixed | CpuFlags.If;
            _statistics.CountEntry();
            _enter(s, code);
            s->StatusFlags = flags;
            code = Handle(s);
        }
    }

    /// <summary>Deals with an exit: returns where to go on, or null with RIP set.</summary>
    private byte* Handle(CpuState* s)
    {
        int id = *(int*)((byte*)s + StateLayout.ExitId);
        ExitRecord exit = _cache.Exits[id];
        _statistics.CountExit((int)exit.Kind);
        s->InstructionsRetired -= (uint)exit.NotRetired;
        s->Rip = exit.Kind == ExitKind.Indirect
            ? *(ulong*)((byte*)s + StateLayout.ExitAddress)
            : s->CodePage + (uint)exit.PageOffset;
        if (!s->Is64Bit)
            s->Rip = (uint)s->Rip;
        if (exit.IsInShadow)
            s->Shadow |= InterruptShadow.Sti;
        switch (exit.Kind)
        {
            case ExitKind.Indirect:
                ReportNotedWrite(s);
                return s->PendingEvents == 0 ? FindTarget(s) : null;
            case ExitKind.Branch:
                if (s->PendingEvents != 0)
                    return null;
                byte* target = FindCode(s, exit.IsUngrouped ? TranslationVariant.Ungrouped : TranslationVariant.None);
                if (target != null)
                    _cache.Chain(_statistics, _evictions, exit, _found.Physical, _found.Variant);
                return target;
            case ExitKind.TlbMiss:
                return Refill(s, exit);
            case ExitKind.Interpret:
                ReportNotedWrite(s);
                _interpretNext = true;
                return null;
            default:
                // Without an event it was the budget's end, or the block's code was overwritten.
                if (s->PendingEvents != 0)
                    return null;
                if (!_isCounted)
                    return FindTarget(s);
                _budgetExit = _limit - s->InstructionsRetired < BlockTranslator.MaximumInstructions;
                return null;
        }
    }

    private byte* FindTarget(CpuState* s)
    {
        byte* code = FindCode(s);
        if (code != null)
            _jumps.Set(SegmentMode.LinearOf(s, s->Rip), code - BlockTranslator.FarEntryBytes());
        return code;
    }

    // A page walk in emitted code has set bits in a table that is watched.
    private void ReportNotedWrite(CpuState* s)
    {
        ref ulong noted = ref *(ulong*)((byte*)s + StateLayout.NotedWrite);
        if (noted == 0)
            return;
        _cpu.Physical.Memory.NoteWrite(noted - 1, sizeof(ulong));
        noted = 0;
    }

    private byte* Refill(CpuState* s, in ExitRecord exit)
    {
        ulong address = *(ulong*)((byte*)s + StateLayout.ExitAddress);
        ReportNotedWrite(s);
        if ((address & 0xFFF) + (uint)exit.Size > 4096 || !LinearMemory.IsCanonical(address))
        {
            _interpretNext = true;
            return null;
        }

        if (_cpu.Tlb.TryTranslate(address, exit.IsWrite ? AccessKind.Write : AccessKind.Read, out ulong physical) is { } fault)
        {
            EventDelivery.Deliver(_cpu, fault);
            return null;
        }

        if (!_cpu.Tlb.Hits(address, exit.Size, exit.IsWrite))
        {
            // Not plain memory, or a page whose writes are watched.
            if (exit.IsGrouped && exit.IsWrite && _cpu.CpuCount == 1 && (_cpu.Physical.FlagsOf(physical) & PageFlags.Code) != 0 && ++_groupedWrites % GroupedWrites == 0)
                _cache.Ungroup(exit.Retry);
            _interpretNext = true;
            return null;
        }

        if (IsThrashing(exit, address & ~0xFFFUL))
        {
            _interpretNext = true;
            return null;
        }

        s->InstructionsRetired += (uint)exit.NotRetired;
        s->Shadow &= ~InterruptShadow.Sti;
        return (byte*)exit.Retry;
    }

    // An instruction with two operands in memory whose pages share an entry of the TLB would miss for ever, each access
    // evicting the other. A copy over many pages misses in turn too, but never again in the page before the last.
    private bool IsThrashing(in ExitRecord exit, ulong page)
    {
        bool alternates = exit.Retry == _lastMiss.Retry && page == _missedBefore && (exit.IsWrite != _lastMiss.IsWrite || exit.Size != _lastMiss.Size);
        _lastMiss = exit;
        _missedBefore = _missedLast;
        _missedLast = page;
        _alternations = alternates ? _alternations + 1 : 0;
        return _alternations > 2;
    }
}
