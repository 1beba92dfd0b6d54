using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Doppel.Host.Memory;
using Doppel.Machine.Cpu.Interpreter.Handlers;
using Doppel.Machine.Memory;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>
/// Decoded instructions of one vCPU, by guest-physical page. A write to a byte that was decoded empties its page: the
/// tables forget the blocks, and the operations of a block that may be executing are replaced by one that leaves it.
/// Everything is emptied when operations and tables together take as much memory as they may.
/// </summary>
internal sealed unsafe class CodeCache : IDisposable
{
    private const ulong TableBytes = 4096 * sizeof(uint);
    private readonly VirtualCpu _cpu;
    private readonly ulong _bytes;
    private readonly AnonymousMemory _arena;
    private readonly AnonymousMemory _directory;
    private readonly HashSet<nint> _pages = [];
    private readonly ConcurrentQueue<(ulong Address, int Length)> _foreignWrites = new();
    private int _ownerThread;
    private uint _next = 1;
    private ulong _held;
    private ulong _tables;

    /// <summary>Creates an empty cache.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="bytes">Host memory for operations and tables.</param>
    internal CodeCache(VirtualCpu cpu, ulong bytes)
    {
        _cpu = cpu;
        _bytes = bytes;
        _arena = new AnonymousMemory(bytes);
        _directory = new AnonymousMemory(cpu.Physical.Memory.AddressSpaceSize / GuestMemory.PageSize * (ulong)sizeof(nint));
        cpu.Physical.Memory.WatchedPageWritten += OnWrite;
        cpu.Physical.Memory.AddCodeHolder(Holds);
    }

    /// <summary>Operations decoded since the start.</summary>
    internal ulong Decoded { get; private set; }

    /// <summary>Blocks decoded since the start.</summary>
    internal ulong Blocks { get; private set; }

    /// <summary>Blocks that were forgotten because the memory was used up.</summary>
    internal ulong Evicted { get; private set; }

    /// <summary>Pages emptied because their code was overwritten.</summary>
    internal ulong Invalidations { get; private set; }

    /// <summary>Times that everything was emptied.</summary>
    internal ulong Flushes { get; private set; }

    private DecodedOp* Arena => (DecodedOp*)_arena.Base;

    private CodePage** Directory => (CodePage**)_directory.Base;

    /// <summary>True when another block may not fit: <see cref="Clear"/> must be called before the next look-up.</summary>
    internal bool IsFull => ((_next + (2 * BlockDecoder.MaximumBlock)) * (ulong)sizeof(DecodedOp)) + ((_tables + 1) * TableBytes) > _bytes;

    /// <summary>The page's code, or null when nothing was decoded from it yet.</summary>
    internal CodePage* Find(ulong physicalPage) => Directory[physicalPage >> 12];

    /// <summary>The block at an offset, or null.</summary>
    internal DecodedOp* Find(CodePage* page, CodeMode mode, int offset)
    {
        uint* table = page->Table(mode);
        uint index = table == null ? 0 : table[offset];
        return index == 0 ? null : Arena + index;
    }

    /// <summary>Must be called by the vCPU's thread before it executes.</summary>
    internal void TakeOwnership() => _ownerThread = Environment.CurrentManagedThreadId;

    /// <summary>Empties the pages that other threads have written. Called on the vCPU's thread between blocks.</summary>
    internal void ApplyForeignWrites()
    {
        while (_foreignWrites.TryDequeue(out (ulong Address, int Length) write))
            Overwrite(write.Address, write.Length);
    }

    /// <summary>
    /// Decodes the block at an offset of a page and remembers it. Null when its first instruction goes beyond the page, or
    /// while writes of other vCPUs may still be under way to it: the instruction must be executed alone.
    /// </summary>
    internal DecodedOp* Add(ulong physicalPage, CodeMode mode, int offset, BlockDecoder decoder)
    {
        CodePage* page = Find(physicalPage);
        if (page == null)
        {
            page = (CodePage*)NativeMemory.AllocZeroed((nuint)sizeof(CodePage));
            page->Physical = physicalPage;
            Volatile.Write(ref *(nint*)(Directory + (physicalPage >> 12)), (nint)page);
            _pages.Add((nint)page);
        }

        // The page is write-protected before its bytes are read, so that no write between the two goes unseen.
        if (!_cpu.Physical.TryProtectCode(physicalPage, _cpu))
            return null;
        DecodedOp* link = Arena + _next;
        DecodedOp* first = link + 1;
        byte* bytes = _cpu.Physical.Memory.Base + physicalPage;
        int count = decoder.Decode(bytes, offset, mode, first, out int end);
        if (count == 0)
            return null;
        *link = default;
        link->Immediate = page->NewestBlock;
        link->Extra = count;
        page->NewestBlock = _next;
        page->MarkDecoded(offset, end - offset);
        _cpu.Physical.Memory.MarkCode(physicalPage + (uint)offset, end - offset);
        if (page->Tables[(int)mode] == 0)
        {
            page->Tables[(int)mode] = (ulong)NativeMemory.AllocZeroed((nuint)TableBytes);
            _tables++;
        }

        page->Table(mode)[offset] = _next + 1;
        _next += (uint)count + 1;
        Decoded += (uint)count;
        Blocks++;
        _held++;
        return first;
    }

    /// <summary>Forgets everything. No operation may be executing.</summary>
    internal void Clear()
    {
        Flushes++;
        Evicted += _held;
        _held = 0;
        // A page that stayed protected with nobody to hear of its writes would be written to the slow way for ever.
        foreach (nint address in _pages)
        {
            ulong physical = ((CodePage*)address)->Physical;
            Free((CodePage*)address);
            _cpu.Physical.Memory.ReleaseCode(physical);
        }

        _pages.Clear();
        _next = 1;
    }

    public void Dispose()
    {
        _cpu.Physical.Memory.WatchedPageWritten -= OnWrite;
        _cpu.Physical.Memory.RemoveCodeHolder(Holds);
        // The machine's memory may be gone already: its marks are left as they are.
        foreach (nint address in _pages)
            Free((CodePage*)address);
        _arena.Dispose();
        _directory.Dispose();
    }

    // Other threads ask this too, but never look into the page, which the owner may free.
    private bool Holds(ulong address) => Volatile.Read(ref *(nint*)(Directory + (address >> 12))) != 0;

    private void Free(CodePage* page)
    {
        Directory[page->Physical >> 12] = null;
        for (int i = 0; i < CodePage.Modes; i++)
        {
            if (page->Tables[i] == 0)
                continue;
            NativeMemory.Free((void*)page->Tables[i]);
            _tables--;
        }

        NativeMemory.Free(page);
    }

    private void OnWrite(ulong address, int length)
    {
        if (Environment.CurrentManagedThreadId != _ownerThread)
        {
            // A page that is not held yet is read after it will have been registered, so after this write.
            if (!Holds(address))
                return;
            _foreignWrites.Enqueue((address, length));
            _cpu.Signal(PendingEvents.Flush);
            return;
        }

        Overwrite(address, length);
    }

    private void Overwrite(ulong address, int length)
    {
        CodePage* page = Find(address & ~0xFFFUL);
        // Nothing was decoded from a page whose only instruction so far goes on in the next one.
        if (page != null && (page->NewestBlock == 0 || page->Overlaps((int)(address & 0xFFF), length)))
            Invalidate(address);
    }

    private void Invalidate(ulong address)
    {
        CodePage* page = Find(address & ~0xFFFUL);
        if (page == null)
            return;
        Invalidations++;
        for (uint block = page->NewestBlock; block != 0;)
        {
            DecodedOp* link = Arena + block;
            _held--;
            for (int i = 1; i <= link->Extra; i++)
                link[i].Handler = &BranchHandlers.Stale;
            block = (uint)link->Immediate;
        }

        _pages.Remove((nint)page);
        Free(page);
        _cpu.Physical.Memory.ReleaseCode(address);
    }
}
