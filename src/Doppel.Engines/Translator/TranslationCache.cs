using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;
using Doppel.Host.Memory;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Memory;
using Doppel.Machine.Trace;
using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// Translated code of one vCPU, by guest-physical page. When a translated byte is overwritten its page is dropped: the
/// directory forgets it, and each of its blocks begins with a jump to its own exit from then on. When the cache is full
/// everything is dropped.
/// </summary>
internal sealed unsafe class TranslationCache : IDisposable
{
    private const ulong CodeBytes = 64UL << 20;
    private readonly VirtualCpu _cpu;
    private readonly ExecutableMemory _memory = new("doppel-translations", CodeBytes);
    private readonly AnonymousMemory _directory;
    private readonly AnonymousMemory _emptyTable = new(4096 * sizeof(uint));
    private readonly Dictionary<ulong, List<Block>> _pages = [];
    private readonly ConcurrentQueue<(ulong Address, int Length)> _foreignWrites = new();
    private readonly BlockTranslator _translator;
    private readonly byte* _start;
    private byte* _next;
    private int _ownerThread;
    private volatile bool _hasForeignWrites;

    internal TranslationCache(VirtualCpu cpu)
    {
        _cpu = cpu;
        _directory = new AnonymousMemory(cpu.Physical.Memory.AddressSpaceSize / GuestMemory.PageSize * (ulong)sizeof(nint));
        ToExecutable = (nint)(_memory.Executable - _memory.Writable);
        var code = new Emitter(_memory.Writable, _memory.Writable + CodeBytes);

        // Code begins behind offset 0, which stands for none.
        code.Byte(0xCC);
        Exits.Add(new ExitRecord { Kind = ExitKind.Indirect });
        Stubs = new Stubs(ref code, cpu, ToExecutable, BlockTranslator.FarEntryBytes(cpu.Clock.IsDeterministic));
        _translator = new BlockTranslator(Exits, ToExecutable, Stubs, cpu.Model.DecoderOptions & ~DecoderOptions.ForceReservedNop, instruction => cpu.Model.Allows(instruction) && !IsSpin(cpu, instruction), cpu.Clock.IsDeterministic)
        {
            ReadsHostTime = () => HostTime.IsFor(cpu),
        };
        _start = _next = code.Position;
        Jumps = new JumpCache(cpu);
        InitializeSlots();
        cpu.Physical.Memory.WatchedPageWritten += OnWrite;
        cpu.Physical.Memory.AddCodeHolder(Holds);
    }

    /// <summary>A block: where it begins and where its exit before the first instruction is, in the writable mapping, its length, and the other page that it is in.</summary>
    private readonly record struct Block(nint Head, nint Exit, int Length, ulong? OtherPage);

    /// <summary>Distance from the writable to the executable mapping.</summary>
    internal nint ToExecutable { get; }

    internal Stubs Stubs { get; }

    /// <summary>Where linear addresses lead.</summary>
    internal JumpCache Jumps { get; }

    /// <summary>All exits by number.</summary>
    internal ExitTable Exits { get; } = new(CodeBytes);

    /// <summary>Blocks and guest instructions translated, pages dropped, and complete flushes.</summary>
    internal TranslationStatistics Statistics { get; } = new();

    private TranslatedPage** Directory => (TranslatedPage**)_directory.Base;

    private bool IsFull => _memory.Writable + CodeBytes - _next < 2 * BlockTranslator.MaximumBytes;

    internal void TakeOwnership() => _ownerThread = Environment.CurrentManagedThreadId;

    /// <summary>
    /// Drops what other threads have overwritten. Called while no translated code runs. It goes by a word of its own:
    /// the interpreter may have answered and cleared the event that came with the write.
    /// </summary>
    internal void ApplyForeignWrites()
    {
        if (!_hasForeignWrites)
            return;
        _hasForeignWrites = false;
        Interlocked.MemoryBarrier();
        while (_foreignWrites.TryDequeue(out (ulong Address, int Length) write))
            Overwrite(write.Address, write.Length);
    }

    /// <summary>The code of an address in the executable mapping; null when it is not translated.</summary>
    internal byte* Find(ulong physical, TranslationVariant variant)
    {
        TranslatedPage* page = Directory[physical >> 12];
        uint head = page == null ? 0 : page->Table(variant)[physical & 0xFFF];
        return head == 0 ? null : _memory.Executable + head;
    }

    /// <summary>
    /// Translates the code at an address. Null while writes of other vCPUs may still be under way to its page: the
    /// instruction must be interpreted.
    /// </summary>
    internal byte* Add(ulong physical, TranslationVariant variant)
    {
        ulong pageAddress = physical & ~0xFFFUL;
        TranslatedPage* page = Prepare(pageAddress, out bool isReady);
        if (!isReady)
            return null;
        int offset = (int)(physical & 0xFFF);
        var code = new Emitter(_next, _memory.Writable + CodeBytes);
        long begin = Stopwatch.GetTimestamp();
        int count = _translator.Translate(_cpu.Physical.Memory.Base + pageAddress, offset, variant, ref code, out int end);
        Statistics.TranslationTicks += Stopwatch.GetTimestamp() - begin;
        return Enter(page, variant, physical, count, end - offset, code.Position, otherPage: null);
    }

    /// <summary>Whether the instruction at an address, near the end of its page, ends in the next page.</summary>
    internal bool CrossesPage(ulong physical, TranslationVariant variant) =>
        _translator.CrossesPage(_cpu.Physical.Memory.Base + (physical & ~0xFFFUL), (int)(physical & 0xFFF), variant);

    /// <summary>
    /// Translates one instruction that ends in another page. Its code looks itself whether that page is still mapped
    /// behind the first.
    /// </summary>
    internal byte* AddCrossing(ulong physical, ulong nextPage, TranslationVariant variant)
    {
        ulong pageAddress = physical & ~0xFFFUL;
        _ = Prepare(nextPage, out bool isNextReady);
        TranslatedPage* page = Prepare(pageAddress, out bool isReady);
        if (!isReady || !isNextReady || Directory[nextPage >> 12] == null)
            return null;
        int offset = (int)(physical & 0xFFF);
        var code = new Emitter(_next, _memory.Writable + CodeBytes);
        byte* memory = _cpu.Physical.Memory.Base;
        int length = _translator.TranslateCrossing(memory + pageAddress, offset, memory + nextPage, variant, ref code);
        if (length == 0)
            return null;
        TranslatedPage* next = Directory[nextPage >> 12];
        next->Mark(0, offset + length - GuestMemory.PageSize);
        _pages[nextPage].Add(new Block((nint)_next + BlockTranslator.FarEntryBytes(_cpu.Clock.IsDeterministic), (nint)_translator.EventExit, 0, pageAddress));
        return Enter(page, variant, physical, 1, length, code.Position, nextPage);
    }

    private TranslatedPage* Prepare(ulong pageAddress, out bool isReady)
    {
        if (IsFull)
            Clear();
        TranslatedPage* page = Directory[pageAddress >> 12];
        page = page != null ? page : AddPage(pageAddress);
        isReady = _cpu.Physical.TryProtectCode(pageAddress, _cpu);
        return page;
    }

    private byte* Enter(TranslatedPage* page, TranslationVariant variant, ulong physical, int count, int length, byte* end, ulong? otherPage)
    {
        int offset = (int)(physical & 0xFFF);
        Statistics.Blocks++;
        Statistics.Instructions += (ulong)count;
        if (!_cpu.Clock.IsDeterministic && (variant & TranslationVariant.Ungrouped) == 0)
            Statistics.Promoted++;
        if (page->Tables[(int)variant] == (ulong)_emptyTable.Base)
            page->Tables[(int)variant] = (ulong)NativeMemory.AllocZeroed(4096, sizeof(uint));
        byte* head = _next + BlockTranslator.FarEntryBytes(_cpu.Clock.IsDeterministic);
        page->Table(variant)[offset] = (uint)(head - _memory.Writable);
        page->Mark(offset, length);
        _pages[physical & ~0xFFFUL].Add(new Block((nint)head, (nint)_translator.EventExit, (int)(end - head), otherPage));
        byte* result = head + ToExecutable;
        if (_cpu.Trace is { WantsTranslations: true } trace)
            Report(trace, physical, count, length, _next, (int)(end - _next));
        _next = (byte*)(((nuint)end + 15) & ~(nuint)15);
        return result;
    }

    private void Report(ITraceSink trace, ulong physical, int instructions, int length, byte* host, int hostLength)
    {
        const int LongestInstruction = 15;
        int offset = (int)(physical & 0xFFF);
        trace.Translation(_cpu, new TranslatedBlock
        {
            Linear = SegmentMode.LinearOf(_cpu.State, _cpu.State->CodePage + (uint)offset),
            Physical = physical,
            Instructions = instructions,
            Guest = new ReadOnlySpan<byte>(_cpu.Physical.Memory.Base + physical, instructions != 0 ? length : Math.Min(LongestInstruction, GuestMemory.PageSize - offset)),
            HostAddress = (ulong)(host + ToExecutable),
            Host = new ReadOnlySpan<byte>(host, hostLength),
        });
    }

    /// <summary>Most guest instructions in a block from now on; what was translated before is dropped.</summary>
    internal void SetBlockLimit(int instructions)
    {
        _translator.BlockLimit = instructions;
        Clear();
    }

    /// <summary>The host code of the block at a guest-physical address; empty when there is none.</summary>
    internal TranslatedCode GetCode(ulong physical, TranslationVariant variant)
    {
        TranslatedPage* page = Directory[physical >> 12];
        uint start = page == null ? 0 : page->Table(variant)[physical & 0xFFF];
        if (start == 0)
            return default;
        nint head = (nint)(_memory.Writable + start);
        int length = _pages[physical & ~0xFFFUL].Find(b => b.Head == head).Length;
        return new TranslatedCode((ulong)(head + ToExecutable), new ReadOnlySpan<byte>((void*)head, length).ToArray());
    }

    /// <summary>Lets an exit's jump lead to a block.</summary>
    internal void Chain(in ExitRecord exit, byte* target)
    {
        Emitter.Bind32((byte*)exit.PatchSite, target - ToExecutable);
        Statistics.Chained++;
    }

    public void Dispose()
    {
        _cpu.Physical.Memory.WatchedPageWritten -= OnWrite;
        _cpu.Physical.Memory.RemoveCodeHolder(Holds);
        Clear();
        _memory.Dispose();
        _directory.Dispose();
        _emptyTable.Dispose();
        Exits.Dispose();
    }

    // With several vCPUs the interpreter's PAUSE lets another of their threads run.
    private static bool IsSpin(VirtualCpu cpu, in Instruction instruction) => instruction.Mnemonic == Mnemonic.Pause && cpu.CpuCount > 1;

    private void InitializeSlots()
    {
        byte* s = (byte*)_cpu.State;
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
        *(ulong*)(s + StateLayout.JumpMask) = JumpCache.Entries - 1;
        *(ulong*)(s + StateLayout.HalfMask) = 1UL << 47;
        *(ulong*)(s + StateLayout.CodePageMask) = 0x800000FFF000;
        *(ulong*)(s + StateLayout.Directory) = (ulong)_directory.Base;
        *(ulong*)(s + StateLayout.CodeBase) = (ulong)_memory.Executable;
        SystemSlots.Initialize(_cpu.State);
        SegmentSlots.Initialize(_cpu.State);
        *(ulong*)(s + SystemSlots.ExitOffsets) = (ulong)Exits.Offsets;
        *(ulong*)(s + StateLayout.NegatedRam) = 0UL - (ulong)_cpu.State->Ram;
    }

    private TranslatedPage* AddPage(ulong address)
    {
        var page = (TranslatedPage*)NativeMemory.AllocZeroed((nuint)sizeof(TranslatedPage));
        page->Physical = address;
        for (int i = 0; i < TranslatedPage.Variants; i++)
            page->Tables[i] = (ulong)_emptyTable.Base;
        Volatile.Write(ref *(nint*)(Directory + (address >> 12)), (nint)page);
        _pages[address] = [];
        return page;
    }

    private void Clear()
    {
        Statistics.Flushes++;
        foreach (List<Block> blocks in _pages.Values)
            Statistics.Evicted += (ulong)blocks.Count;
        foreach (ulong address in _pages.Keys)
            Free(address);
        _pages.Clear();
        Jumps.Clear();
        Exits.Reset();
        _next = _start;
    }

    private void Free(ulong address)
    {
        TranslatedPage* page = Directory[address >> 12];
        Directory[address >> 12] = null;
        for (int i = 0; i < TranslatedPage.Variants; i++)
        {
            if (page->Tables[i] != (ulong)_emptyTable.Base)
                NativeMemory.Free((void*)page->Tables[i]);
        }

        NativeMemory.Free(page);
    }

    // Other threads ask this too, but never look into the page, which the owner may free.
    private bool Holds(ulong address) => Volatile.Read(ref *(nint*)(Directory + (address >> 12))) != 0;

    private void OnWrite(ulong address, int length)
    {
        if (Environment.CurrentManagedThreadId != _ownerThread)
        {
            // A page that is not held yet is read after it will have been registered, so after this write.
            if (!Holds(address))
                return;
            _foreignWrites.Enqueue((address, length));
            _hasForeignWrites = true;
            _cpu.Signal(PendingEvents.Flush);
            return;
        }

        Overwrite(address, length);
    }

    private void Overwrite(ulong address, int length)
    {
        TranslatedPage* page = Directory[address >> 12];
        if (page != null && page->Overlaps((int)(address & 0xFFF), length))
            Drop(address & ~0xFFFUL);
    }

    private void Drop(ulong address)
    {
        if (!_pages.Remove(address, out List<Block>? blocks))
            return;
        Statistics.Dropped++;
        foreach (Block block in blocks)
        {
            // A block that only has its instruction interpreted is right whatever the bytes are.
            if (block.Head == block.Exit)
                continue;
            *(byte*)block.Head = 0xE9;
            Emitter.Bind32((byte*)block.Head + 1, (byte*)block.Exit);
        }

        Free(address);
        _cpu.Physical.Memory.ReleaseCode(address);
        foreach (Block block in blocks)
        {
            if (block.OtherPage is { } other)
                Drop(other);
        }
    }
}
