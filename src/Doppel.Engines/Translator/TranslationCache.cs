using System.Diagnostics;
using System.Runtime.InteropServices;
using Doppel.Host.Memory;
using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;
using Doppel.Machine.Trace;
using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// Translated code of a machine, for all of its vCPUs: blocks by guest-physical address and variant of translation, in
/// segments that are filled in turn. Code is found by one vCPU while another translates and a third drops.
/// </summary>
/// <remarks>
/// Nothing of a dropped block is overwritten while a vCPU may be in it: its address is forgotten and the branches to it
/// taken back (<see cref="ChainTable"/>), and its segment is filled again when every vCPU has been between two
/// instructions since, outside of emitted code (<see cref="VcpuRendezvous"/>). The next segment is dropped when one is
/// begun, so that nobody waits for it.
/// <para>Safe for use by several threads. What a device overwrites is dropped on the device's thread.</para>
/// </remarks>
public sealed unsafe partial class TranslationCache : IDisposable
{
    /// <summary>Bytes of code that a machine gets when nothing else was asked for.</summary>
    public const ulong DefaultBytes = 32UL << 20;

    /// <summary>Fewest bytes of code.</summary>
    public const ulong MinimumBytes = 1UL << 20;

    /// <summary>Most bytes of code: exits and branches count in 31 bits.</summary>
    public const ulong MaximumBytes = 1UL << 30;

    private const int Segments = 8;
    private const int MostUngrouped = 1 << 14;
    private readonly Lock _gate = new();
    private readonly GuestMemory _guest;
    private readonly ExecutableMemory _memory;
    private readonly AnonymousMemory _heldPages;
    private readonly BlockTable _table = new();
    private readonly Dictionary<ulong, int> _numbers = [];
    private readonly Dictionary<ulong, TranslatedPage> _pages = [];
    private readonly List<CodeBlock> _blocks = [default];
    private readonly Stack<int> _freeNumbers = [];
    private readonly ChainTable _chains;
    private readonly List<CodeSegment> _segments = [];
    private readonly List<TranslatorEngine> _users = [];
    private readonly BlockTranslator _translator;
    private readonly HashSet<ulong> _ungrouped = [];
    private readonly bool _isCounted;
    private readonly int _entryBytes;
    private int _current;
    private int _generation;
    private ulong _evictions;

    /// <summary>Creates the cache of a machine.</summary>
    /// <param name="cpu">Any vCPU of the machine; all are of one model.</param>
    /// <param name="bytes">Host memory for code, <see cref="MinimumBytes"/> to <see cref="MaximumBytes"/>, a multiple of 64 KiB.</param>
    public TranslationCache(VirtualCpu cpu, ulong bytes = DefaultBytes)
    {
        ArgumentNullException.ThrowIfNull(cpu);
        if (bytes is < MinimumBytes or > MaximumBytes || bytes % (64 << 10) != 0)
            throw new ArgumentOutOfRangeException(nameof(bytes), bytes, "the code cache must have 1 MiB to 1 GiB, a multiple of 64 KiB");
        _guest = cpu.Physical.Memory;
        _isCounted = cpu.Clock.IsDeterministic;
        _entryBytes = BlockTranslator.FarEntryBytes();
        _memory = new ExecutableMemory("doppel-translations", bytes);
        _heldPages = new AnonymousMemory(_guest.AddressSpaceSize / GuestMemory.PageSize);
        _chains = new ChainTable(_memory, _blocks);
        Exits = new ExitTable(_memory);
        ToExecutable = (nint)(_memory.Executable - _memory.Writable);
        var code = new Emitter(_memory.Writable, _memory.Writable + bytes);
        // Code begins behind offset 0, which stands for none.
        code.Byte(0xCC);
        Stubs = new Stubs(ref code, cpu, ToExecutable, _entryBytes);
        DecoderOptions options = cpu.Model.DecoderOptions & ~DecoderOptions.ForceReservedNop;
        _translator = new BlockTranslator(Exits, ToExecutable, Stubs, options, instruction => cpu.Model.Allows(instruction) && !IsSpin(cpu, instruction), _isCounted)
        {
            ReadsHostTime = () => HostTime.IsFor(cpu),
        };
        Divide(Align(code.Position));
        _guest.WatchedPageWritten += OnWrite;
        _guest.AddCodeHolder(Holds);
    }

    /// <summary>Distance from the writable to the executable mapping.</summary>
    internal nint ToExecutable { get; }

    internal Stubs Stubs { get; }

    /// <summary>All exits by number.</summary>
    internal ExitTable Exits { get; }

    /// <summary>Where emitted look-ups find blocks.</summary>
    internal BlockTable Table => _table;

    /// <summary>Offset 0 of the code, in the executable mapping.</summary>
    internal byte* CodeBase => _memory.Executable;

    /// <summary>Changes whenever code was dropped: addresses of code that were kept elsewhere are to be forgotten.</summary>
    internal int Generation => Volatile.Read(ref _generation);

    /// <summary>Times that a segment was dropped: exits taken before may be those of other code afterwards.</summary>
    internal ulong Evictions => Volatile.Read(ref _evictions);

    /// <summary>Pages dropped because their code was overwritten.</summary>
    internal ulong Overwritten { get; private set; }

    /// <summary>Whether an engine is the one that reports what happens to the whole cache.</summary>
    internal bool IsReportedBy(TranslatorEngine engine)
    {
        lock (_gate)
            return _users.Count > 0 && _users[0] == engine;
    }

    internal void AddUser(TranslatorEngine engine)
    {
        lock (_gate)
            _users.Add(engine);
    }

    internal void RemoveUser(TranslatorEngine engine)
    {
        lock (_gate)
            _ = _users.Remove(engine);
    }

    /// <summary>The code of an address in the executable mapping; null when it is not translated.</summary>
    internal byte* Find(ulong physical, TranslationVariant variant)
    {
        ulong key = BlockTable.Key(physical, variant);
        uint head = _table.Find(key);
        if (head != 0)
            return _memory.Executable + head;
        lock (_gate)
        {
            if (TryGetCode(key, out byte* code))
                _table.Set(key, (uint)(code - _memory.Executable));
            return code;
        }
    }

    /// <summary>
    /// Translates the code at an address for a vCPU at a point between two instructions. Null when the instruction must be
    /// interpreted: while writes of other vCPUs may still be under way to its page, or while others leave the code that is
    /// in the way of new code.
    /// </summary>
    internal byte* Add(VirtualCpu cpu, TranslationStatistics statistics, ulong physical, TranslationVariant variant)
    {
        lock (_gate)
        {
            // Another vCPU may have been quicker.
            if (TryGetCode(BlockTable.Key(physical, variant), out byte* known))
                return known;
            ulong pageAddress = physical & ~0xFFFUL;
            if (!TryMakeRoom(cpu, statistics) || !TryPrepare(cpu, pageAddress))
                return null;
            int offset = (int)(physical & 0xFFF);
            CodeSegment segment = _segments[_current];
            var code = new Emitter(segment.Position, segment.End);
            long begin = Stopwatch.GetTimestamp();
            TranslationVariant form = _ungrouped.Contains(BlockTable.Key(physical, variant)) ? variant | TranslationVariant.Ungrouped : variant;
            int count = _translator.Translate(_guest.Base + pageAddress, offset, form, ref code, out int end);
            statistics.TranslationTicks += Stopwatch.GetTimestamp() - begin;
            return Enter(cpu, statistics, physical, variant, count, end - offset, code.Position, CodeBlock.NoPage);
        }
    }

    /// <summary>Whether the instruction at an address, near the end of its page, ends in the next page.</summary>
    internal bool CrossesPage(ulong physical, TranslationVariant variant)
    {
        lock (_gate)
            return _translator.CrossesPage(_guest.Base + (physical & ~0xFFFUL), (int)(physical & 0xFFF), variant);
    }

    /// <summary>
    /// Translates one instruction that ends in another page. Its code looks itself whether that page is still mapped
    /// behind the first. Null as in <see cref="Add"/>, and when the instruction is not translated.
    /// </summary>
    internal byte* AddCrossing(VirtualCpu cpu, TranslationStatistics statistics, ulong physical, ulong nextPage, TranslationVariant variant)
    {
        lock (_gate)
        {
            // Another vCPU may have been quicker.
            if (TryGetCode(BlockTable.Key(physical, variant), out byte* known))
                return known;
            ulong pageAddress = physical & ~0xFFFUL;
            if (!TryMakeRoom(cpu, statistics) || !TryPrepare(cpu, nextPage) || !TryPrepare(cpu, pageAddress))
                return null;
            int offset = (int)(physical & 0xFFF);
            CodeSegment segment = _segments[_current];
            var code = new Emitter(segment.Position, segment.End);
            int length = _translator.TranslateCrossing(_guest.Base + pageAddress, offset, _guest.Base + nextPage, variant, ref code);
            if (length == 0)
                return null;
            byte* result = Enter(cpu, statistics, physical, variant, 1, length, code.Position, nextPage);
            TranslatedPage next = _pages[nextPage];
            next.Mark(0, offset + length - GuestMemory.PageSize);
            _guest.MarkCode(nextPage, offset + length - GuestMemory.PageSize);
            if (nextPage != pageAddress)
                next.Blocks.Add(_numbers[BlockTable.Key(physical, variant)]);
            return result;
        }
    }

    /// <summary>
    /// Lets an exit's jump lead straight to a block, unless either was dropped meanwhile.
    /// </summary>
    /// <param name="statistics">Of the vCPU that took the exit and has been in code since.</param>
    /// <param name="evictions"><see cref="Evictions"/> when the vCPU was last outside of emitted code.</param>
    /// <param name="exit">The exit of a direct branch.</param>
    /// <param name="physical">Where it leads.</param>
    /// <param name="variant">To which translation.</param>
    internal void Chain(TranslationStatistics statistics, ulong evictions, in ExitRecord exit, ulong physical, TranslationVariant variant)
    {
        lock (_gate)
        {
            if (_evictions != evictions || !_numbers.TryGetValue(BlockTable.Key(physical, variant), out int target))
                return;
            var site = (byte*)exit.PatchSite;
            int source = FindBlock(site);
            // Another vCPU may have come by the same exit.
            if (_blocks[source].Key == 0 || _memory.Writable + _blocks[target].Head == site + sizeof(int) + *(int*)site)
                return;
            _chains.Link(site, source, target);
            statistics.Chained++;
        }
    }

    /// <summary>
    /// Drops a block that is translated anew with each of its accesses checked alone: a write of a group keeps failing because the
    /// group reaches into a page of code, where <see cref="WriteBesideCodeStub"/> lets single writes pass. The thread of a vCPU that is
    /// outside of emitted code.
    /// </summary>
    /// <param name="place">In the block's code, in the executable mapping.</param>
    internal void Ungroup(nint place)
    {
        lock (_gate)
        {
            int number = FindBlock((byte*)(place - ToExecutable));
            CodeBlock block = _blocks[number];
            if (block.Key == 0)
                return;
            if (_ungrouped.Count == MostUngrouped)
                _ungrouped.Clear();
            _ = _ungrouped.Add(block.Key);
            Drop(number);
            Leave(block.Page, number);
            if (block.OtherPage != CodeBlock.NoPage)
                Leave(block.OtherPage, number);
            Announce();
        }
    }

    /// <summary>Most guest instructions in a block from now on; what was translated before is dropped. While no vCPU runs.</summary>
    internal void SetBlockLimit(int instructions)
    {
        lock (_gate)
        {
            _translator.BlockLimit = instructions;
            foreach (CodeSegment segment in _segments)
            {
                _ = Evict(segment);
                segment.Leaving = null;
                Reset(segment);
            }

            _current = 0;
            Exits.Next = _segments[0].FirstExit;
        }
    }

    /// <summary>The host code of the block at a guest-physical address; empty when there is none.</summary>
    internal TranslatedCode GetCode(ulong physical, TranslationVariant variant)
    {
        lock (_gate)
        {
            if (!_numbers.TryGetValue(BlockTable.Key(physical, variant), out int number))
                return default;
            CodeBlock block = _blocks[number];
            return new TranslatedCode((ulong)(_memory.Executable + block.Head), new ReadOnlySpan<byte>(_memory.Writable + block.Head, block.Length).ToArray());
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _guest.WatchedPageWritten -= OnWrite;
        _guest.RemoveCodeHolder(Holds);
        _memory.Dispose();
        _heldPages.Dispose();
        _table.Dispose();
        Exits.Dispose();
    }

    // With several vCPUs the interpreter's PAUSE lets another of their threads run.
    private static bool IsSpin(VirtualCpu cpu, in Instruction instruction) => instruction.Mnemonic == Mnemonic.Pause && cpu.CpuCount > 1;

    // Heads, which loops go back to, begin at lines that the host fetches at once.
    private byte* Align(byte* position) => (byte*)(((nuint)position + (nuint)_entryBytes + 15) & ~(nuint)15) - _entryBytes;

    private void Divide(byte* start)
    {
        byte* end = _memory.Writable + _memory.Length;
        int length = (int)((end - start) / Segments) & ~63;
        for (int i = 0; i < Segments; i++)
        {
            byte* first = start + (i * length);
            // The first number must not be an exit of the segment before, nor 0.
            int exit = (int)((first - _memory.Writable) / ExitTable.BytesPerExit) + 1;
            _segments.Add(new CodeSegment(first, first + length, exit));
        }

        Exits.Next = _segments[0].FirstExit;
    }

    private bool TryGetCode(ulong key, out byte* code)
    {
        bool isKnown = _numbers.TryGetValue(key, out int number);
        code = isKnown ? _memory.Executable + _blocks[number].Head : null;
        return isKnown;
    }

    private bool TryMakeRoom(VirtualCpu cpu, TranslationStatistics statistics)
    {
        if (_segments[_current].HasRoom)
            return true;
        int next = (_current + 1) % Segments;
        CodeSegment segment = _segments[next];
        if (segment.Blocks.Count != 0)
        {
            if (segment.Leaving is { } leaving && !cpu.Physical.Rendezvous.HasPassed(leaving, cpu))
                return false;
            segment.Leaving = null;
            Reset(segment);
        }

        _current = next;
        Exits.Next = segment.FirstExit;
        CodeSegment after = _segments[(next + 1) % Segments];
        if (after.Blocks.Count != 0)
        {
            statistics.Evicted += Evict(after);
            after.Leaving = cpu.Physical.Rendezvous.AskAll(cpu);
        }

        return true;
    }

    /// <summary>Drops the blocks of a segment; returns how many.</summary>
    private uint Evict(CodeSegment segment)
    {
        uint count = 0;
        foreach (int number in segment.Blocks)
        {
            CodeBlock block = _blocks[number];
            if (block.Key == 0)
                continue;
            count++;
            Drop(number);
            Leave(block.Page, number);
            if (block.OtherPage != CodeBlock.NoPage)
                Leave(block.OtherPage, number);
        }

        Volatile.Write(ref _evictions, _evictions + 1);
        Announce();
        return count;
    }

    private void Leave(ulong pageAddress, int number)
    {
        if (!_pages.TryGetValue(pageAddress, out TranslatedPage? page))
            return;
        _ = page.Blocks.Remove(number);
        if (page.Blocks.Count == 0)
            Release(pageAddress);
    }

    private void Reset(CodeSegment segment)
    {
        foreach (int number in segment.Blocks)
            _freeNumbers.Push(number);
        segment.Blocks.Clear();
        segment.Position = segment.Start;
    }

    private bool TryPrepare(VirtualCpu cpu, ulong pageAddress)
    {
        if (!_pages.ContainsKey(pageAddress))
        {
            _pages.Add(pageAddress, new TranslatedPage());
            Volatile.Write(ref _heldPages.Base[pageAddress >> 12], 1);
        }

        return cpu.Physical.TryProtectCode(pageAddress, cpu);
    }

    private byte* Enter(VirtualCpu cpu, TranslationStatistics statistics, ulong physical, TranslationVariant variant, int count, int length, byte* end, ulong otherPage)
    {
        CodeSegment segment = _segments[_current];
        byte* start = segment.Position;
        byte* head = start + _entryBytes;
        ulong key = BlockTable.Key(physical, variant);
        var block = new CodeBlock
        {
            Key = key,
            Page = physical & ~0xFFFUL,
            OtherPage = otherPage,
            Head = (uint)(head - _memory.Writable),
            Length = (int)(end - head),
        };
        if (!_freeNumbers.TryPop(out int number))
        {
            number = _blocks.Count;
            _blocks.Add(default);
        }

        _blocks[number] = block;
        segment.Blocks.Add(number);
        segment.Position = Align(end);
        TranslatedPage page = _pages[block.Page];
        page.Mark((int)(physical & 0xFFF), length);
        _guest.MarkCode(physical, length);
        page.Blocks.Add(number);
        _numbers.Add(key, number);
        _table.Set(key, block.Head);
        statistics.Blocks++;
        statistics.Instructions += (uint)count;
        if (!_isCounted && (variant & TranslationVariant.Ungrouped) == 0)
            statistics.Promoted++;
        if (cpu.Trace is { WantsTranslations: true } trace)
            Report(trace, cpu, physical, count, length, start, (int)(end - start));
        return head + ToExecutable;
    }

    private void Report(ITraceSink trace, VirtualCpu cpu, ulong physical, int instructions, int length, byte* host, int hostLength)
    {
        const int LongestInstruction = 15;
        int offset = (int)(physical & 0xFFF);
        trace.Translation(cpu, new TranslatedBlock
        {
            Linear = SegmentMode.LinearOf(cpu.State, cpu.State->CodePage + (uint)offset),
            Physical = physical,
            Instructions = instructions,
            Guest = new ReadOnlySpan<byte>(_guest.Base + physical, instructions != 0 ? length : Math.Min(LongestInstruction, GuestMemory.PageSize - offset)),
            HostAddress = (ulong)(host + ToExecutable),
            Host = new ReadOnlySpan<byte>(host, hostLength),
        });
    }

    private int FindBlock(byte* position)
    {
        CodeSegment segment = _segments.Find(s => position >= s.Start && position < s.End)!;
        var offset = (uint)(position - _memory.Writable);
        int low = 0;
        int high = segment.Blocks.Count - 1;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (_blocks[segment.Blocks[middle]].Head <= offset)
                low = middle;
            else
                high = middle - 1;
        }

        return segment.Blocks[low];
    }

    // Asked by other threads without the lock.
    private bool Holds(ulong address) => Volatile.Read(ref _heldPages.Base[address >> 12]) != 0;

    private void OnWrite(ulong address, int length)
    {
        // A page that is not held yet is read after it will have been registered, so after this write.
        if (!Holds(address))
            return;
        lock (_gate)
        {
            ulong pageAddress = address & ~0xFFFUL;
            if (!_pages.TryGetValue(pageAddress, out TranslatedPage? page) || (page.Blocks.Count != 0 && !page.Overlaps((int)(address & 0xFFF), length)))
                return;
            Overwritten++;
            foreach (int number in page.Blocks)
            {
                CodeBlock block = _blocks[number];
                Drop(number);
                ulong other = block.Page == pageAddress ? block.OtherPage : block.Page;
                if (other != CodeBlock.NoPage && other != pageAddress)
                    Leave(other, number);
            }

            Release(pageAddress);
            Announce();
        }
    }

    private void Drop(int number)
    {
        ref CodeBlock block = ref CollectionsMarshal.AsSpan(_blocks)[number];
        _ = _numbers.Remove(block.Key);
        _table.Remove(block.Key);
        _chains.UnlinkIncoming(number);
        _chains.ForgetOutgoing(number);
        block.Key = 0;
    }

    private void Release(ulong pageAddress)
    {
        _ = _pages.Remove(pageAddress);
        Volatile.Write(ref _heldPages.Base[pageAddress >> 12], 0);
        _guest.ReleaseCode(pageAddress);
    }

    // A vCPU of this thread is outside of emitted code, and looks at the generation before it enters it again.
    private void Announce()
    {
        Volatile.Write(ref _generation, _generation + 1);
        int thread = Environment.CurrentManagedThreadId;
        foreach (TranslatorEngine user in _users)
        {
            if (user.Thread != thread)
                user.Cpu.Signal(PendingEvents.Flush);
        }
    }
}
