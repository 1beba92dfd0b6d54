using System.Runtime.CompilerServices;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu.Mmu;

namespace Doppel.Machine.Memory;

/// <summary>The guest-physical address space as a CPU sees it: memory where there is memory, the bus elsewhere.</summary>
public sealed unsafe class PhysicalAddressSpace
{
    private readonly List<SoftTlb> _tlbs = [];

    /// <summary>Joins memory and the memory-mapped I/O bus.</summary>
    public PhysicalAddressSpace(GuestMemory memory, IoBus mmio)
    {
        Memory = memory;
        Mmio = mmio;
    }

    /// <summary>RAM and ROM.</summary>
    public GuestMemory Memory { get; }

    /// <summary>Everything else.</summary>
    public IoBus Mmio { get; }

    /// <summary>ANDed to every physical address: all ones, or without bit 20 when the A20 gate is closed. Change it with <see cref="SetA20"/>.</summary>
    public ulong AddressMask { get; private set; } = ulong.MaxValue;

    /// <summary>Opens or closes the A20 gate. Takes effect on other vCPUs at their next TLB flush.</summary>
    public void SetA20(bool open)
    {
        ulong mask = open ? ulong.MaxValue : ~(1UL << 20);
        if (mask == AddressMask)
            return;
        AddressMask = mask;
        lock (_tlbs)
        {
            foreach (SoftTlb tlb in _tlbs)
                tlb.RequestFlush();
        }
    }

    /// <summary>Registers a TLB, so that pages can lose their write permission in it.</summary>
    public void AddTlb(SoftTlb tlb)
    {
        lock (_tlbs)
            _tlbs.Add(tlb);
    }

    /// <summary>Removes what <see cref="AddTlb"/> registered.</summary>
    public void RemoveTlb(SoftTlb tlb)
    {
        lock (_tlbs)
            _tlbs.Remove(tlb);
    }

    /// <summary>
    /// Marks a page as watched for writes and takes the right to write to it without notice from every TLB. The flag is
    /// set first, and a TLB that fills an entry checks the flag again after: one of the two sees the other.
    /// </summary>
    public void Protect(ulong address, PageFlags kind)
    {
        if ((Memory.FlagsOf(address) & kind) == kind)
            return;
        Memory.SetFlags(address, kind);
        Interlocked.MemoryBarrier();
        lock (_tlbs)
        {
            foreach (SoftTlb tlb in _tlbs)
                tlb.DropWrite(address & ~0xFFFUL);
        }
    }

    /// <summary>True when an address (A20 mask applied) is RAM or ROM, so that code can be cached from it.</summary>
    public bool IsPlainMemory(ulong address) => Memory.IsMemory(address);

    /// <summary>Reads 1, 2, 4 or 8 bytes that do not cross a page.</summary>
    public ulong Read(ulong address, int size)
    {
        address &= AddressMask;
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
        PageFlags flags = Memory.FlagsOf(address);
        if ((flags & PageFlags.Ram) == 0)
        {
            if ((flags & PageFlags.Rom) == 0)
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
}
