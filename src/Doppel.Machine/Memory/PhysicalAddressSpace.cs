using System.Runtime.CompilerServices;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;

namespace Doppel.Machine.Memory;

/// <summary>
/// The guest-physical address space as a CPU sees it: memory where there is memory, the bus elsewhere. Each vCPU has a
/// view of its own (<see cref="CreateView"/>), in which one page may be its local window: the registers of its local
/// APIC, which answer before memory and bus. Memory, bus, A20 mask and the list of TLBs are the same in all views.
/// </summary>
public sealed unsafe class PhysicalAddressSpace
{
    private const ulong NoWindow = ulong.MaxValue;
    private readonly Shared _shared;
    private readonly List<SoftTlb> _ownTlbs = [];
    private IIoRegion? _window;
    private ulong _windowPage = NoWindow;

    /// <summary>Joins memory and the memory-mapped I/O bus.</summary>
    public PhysicalAddressSpace(GuestMemory memory, IoBus mmio)
        : this(memory, mmio, new Shared())
    {
        memory.KindChanged += (_, _) => RequestFlush();
    }

    private PhysicalAddressSpace(GuestMemory memory, IoBus mmio, Shared shared)
    {
        Memory = memory;
        Mmio = mmio;
        _shared = shared;
    }

    /// <summary>RAM and ROM.</summary>
    public GuestMemory Memory { get; }

    /// <summary>Everything else.</summary>
    public IoBus Mmio { get; }

    /// <summary>ANDed to every physical address: all ones, or without bit 20 when the A20 gate is closed. Change it with <see cref="SetA20"/>.</summary>
    public ulong AddressMask => _shared.AddressMask;

    /// <summary>Where the vCPUs of this address space meet.</summary>
    public VcpuRendezvous Rendezvous => _shared.Rendezvous;

    /// <summary>The same address space for another CPU, with a local window of its own.</summary>
    public PhysicalAddressSpace CreateView() => new(Memory, Mmio, _shared);

    /// <summary>
    /// Places, moves or (null) removes the local window: one page that answers this view's accesses before memory and
    /// bus, without the bus's lock. TLBs of this view are flushed before their vCPU's next instruction. Any thread.
    /// </summary>
    /// <param name="page">Page-aligned guest-physical address.</param>
    /// <param name="region">What answers there.</param>
    public void SetLocalWindow(ulong? page, IIoRegion region)
    {
        lock (_ownTlbs)
        {
            _window = region;
            Volatile.Write(ref _windowPage, page & ~0xFFFUL ?? NoWindow);
            foreach (SoftTlb tlb in _ownTlbs)
                tlb.RequestFlush();
        }
    }

    /// <summary>True when an address is in this view's local window.</summary>
    public bool IsLocal(ulong address) => (address & ~0xFFFUL) == Volatile.Read(ref _windowPage);

    /// <summary>Whether this view's local window lies where there is RAM or ROM.</summary>
    public bool HasWindowOverMemory => Volatile.Read(ref _windowPage) is var page && page != NoWindow && Memory.IsMemory(page);

    /// <summary>The flags of the page that holds an address as this view's CPU sees it: none inside the local window.</summary>
    public PageFlags FlagsOf(ulong address) => IsLocal(address) ? PageFlags.None : Memory.FlagsOf(address);

    /// <summary>Opens or closes the A20 gate. Takes effect on other vCPUs at their next TLB flush.</summary>
    public void SetA20(bool open)
    {
        ulong mask = open ? ulong.MaxValue : ~(1UL << 20);
        lock (_shared.Tlbs)
        {
            if (mask == _shared.AddressMask)
                return;
            _shared.AddressMask = mask;
            foreach (SoftTlb tlb in _shared.Tlbs)
                tlb.RequestFlush();
        }
    }

    /// <summary>Makes every vCPU forget all translations before its next instruction. Any thread.</summary>
    public void RequestFlush()
    {
        lock (_shared.Tlbs)
        {
            foreach (SoftTlb tlb in _shared.Tlbs)
                tlb.RequestFlush();
        }
    }

    /// <summary>Registers a TLB of this view's CPU, so that pages can lose their write permission in it, from any view.</summary>
    public void AddTlb(SoftTlb tlb)
    {
        lock (_shared.Tlbs)
            _shared.Tlbs.Add(tlb);
        lock (_ownTlbs)
            _ownTlbs.Add(tlb);
    }

    /// <summary>Removes what <see cref="AddTlb"/> registered.</summary>
    public void RemoveTlb(SoftTlb tlb)
    {
        lock (_shared.Tlbs)
            _ = _shared.Tlbs.Remove(tlb);
        lock (_ownTlbs)
            _ = _ownTlbs.Remove(tlb);
    }

    /// <summary>
    /// Marks a page as watched for writes and takes the right to write to it without notice from every TLB. The flag is
    /// set first, and a TLB that fills an entry checks the flag again after: one of the two sees the other.
    /// </summary>
    public void Protect(ulong address, PageFlags kind)
    {
        // Who finds the flag set must know that every TLB has lost its tag, so both happen under the lock.
        lock (_shared.Tlbs)
        {
            if ((Memory.FlagsOf(address) & kind) == kind)
                return;
            Memory.SetFlags(address, kind);
            Interlocked.MemoryBarrier();
            foreach (SoftTlb tlb in _shared.Tlbs)
                tlb.DropWrite(address & ~0xFFFUL);
        }
    }

    /// <summary>
    /// Protects a page with <see cref="PageFlags.Code"/> for a cache that has registered it as held. Code may be taken from
    /// it only when this returns true: another vCPU may be between the check of its TLB and its store, so each must have
    /// been between two instructions once since the page was protected. Until then its instructions are executed one at a
    /// time, their bytes fetched each time. The vCPU's thread, between two instructions; waits for nobody.
    /// </summary>
    public bool TryProtectCode(ulong address, VirtualCpu cpu)
    {
        ulong page = address & ~0xFFFUL;
        lock (Memory.CodeLock)
        {
            bool isNew = (Memory.FlagsOf(page) & PageFlags.Code) == 0;
            if (isNew)
            {
                Protect(page, PageFlags.Code);
                _shared.Unsettled.Remove(page);
                if (Rendezvous.AskAll(cpu) is not { } asked)
                    return true;
                _shared.Unsettled.Add(page, asked);
            }

            if (!_shared.Unsettled.TryGetValue(page, out (VirtualCpu, long)[]? waiting))
                return true;
            if (!Rendezvous.HasPassed(waiting, cpu))
                return false;
            return _shared.Unsettled.Remove(page);
        }
    }

    /// <summary>True when an address (A20 mask applied) is RAM or ROM for this view's CPU, so that code can be cached from it.</summary>
    public bool IsPlainMemory(ulong address) => !IsLocal(address) && Memory.IsMemory(address);

    /// <summary>Reads 1, 2, 4 or 8 bytes that do not cross a page.</summary>
    public ulong Read(ulong address, int size)
    {
        address &= AddressMask;
        if (IsLocal(address))
            return ReadLocal(address, size);
        if (!Memory.IsMemory(address))
            return Mmio.Read(address, size);
        byte* p = Memory.Base + address;
        return size switch
        {
            1 => *p,
            2 => Unsafe.ReadUnaligned<ushort>(p),
            4 => Unsafe.ReadUnaligned<uint>(p),
            _ => Unsafe.ReadUnaligned<ulong>(p),
        };
    }

    /// <summary>Writes 1, 2, 4 or 8 bytes that do not cross a page.</summary>
    public void Write(ulong address, int size, ulong value)
    {
        address &= AddressMask;
        if (IsLocal(address))
        {
            WriteLocal(address, size, value);
            return;
        }

        PageFlags flags = Memory.FlagsOf(address);
        if ((flags & PageFlags.Ram) == 0)
        {
            // A ROM's may be flash memory's commands, or go to RAM that is hidden behind it.
            Mmio.Write(address, size, value);
            return;
        }

        byte* p = Memory.Base + address;
        switch (size)
        {
            case 1:
                *p = (byte)value;
                break;
            case 2:
                Unsafe.WriteUnaligned(p, (ushort)value);
                break;
            case 4:
                Unsafe.WriteUnaligned(p, (uint)value);
                break;
            default:
                Unsafe.WriteUnaligned(p, value);
                break;
        }

        Memory.NoteWrite(address, size);
    }
    private ulong ReadLocal(ulong address, int size)
    {
        IIoRegion window = _window!;
        ulong value = window.Read(address & 0xFFF, size);
        Mmio.Trace?.Io(Mmio, window.Name, address, size, value, isWrite: false);
        return value;
    }

    private void WriteLocal(ulong address, int size, ulong value)
    {
        IIoRegion window = _window!;
        window.Write(address & 0xFFF, size, value);
        Mmio.Trace?.Io(Mmio, window.Name, address, size, value, isWrite: true);
    }

    private sealed class Shared
    {
        internal List<SoftTlb> Tlbs { get; } = [];

        internal VcpuRendezvous Rendezvous { get; } = new();

        /// <summary>Protected pages that a write may still reach, with the vCPUs that were asked for a safe point. Under the code lock.</summary>
        internal Dictionary<ulong, (VirtualCpu Cpu, long SafePoints)[]> Unsettled { get; } = [];

        internal ulong AddressMask { get; set; } = ulong.MaxValue;
    }
}
