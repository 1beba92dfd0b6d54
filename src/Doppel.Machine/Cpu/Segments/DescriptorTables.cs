namespace Doppel.Machine.Cpu.Segments;

/// <summary>Finds and reads descriptors in the GDT and the LDT, as the processor itself (Intel SDM vol. 3, 3.5.1).</summary>
public static unsafe class DescriptorTables
{
    /// <summary>Selector bits that go into an error code: all but the RPL.</summary>
    internal const uint ErrorMask = 0xFFFC;

    /// <summary>The linear address of a selector's descriptor.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="selector">Selector; null ones find the unused first entry of the GDT.</param>
    /// <param name="size">8, or 16 for a system descriptor in long mode.</param>
    /// <param name="address">The address, when true is returned.</param>
    /// <returns>False when the descriptor is not wholly inside its table.</returns>
    public static bool TryLocate(VirtualCpu cpu, ushort selector, int size, out ulong address)
    {
        CpuState* s = cpu.State;
        uint offset = selector & 0xFFF8u;
        uint last = offset + (uint)size - 1;
        if ((selector & 4) == 0)
        {
            address = s->Gdtr.Base + offset;
            return last <= s->Gdtr.Limit;
        }

        address = s->Ldtr.Base + offset;
        return s->Ldtr.IsUsable && last <= s->Ldtr.Limit;
    }

    /// <summary>
    /// Reads a descriptor; a system descriptor in long mode whole. Throws <paramref name="vector"/> with the selector when
    /// it is outside its table or its upper half is malformed, and #PF.
    /// </summary>
    public static SegmentDescriptor Read(VirtualCpu cpu, ushort selector, ExceptionVector vector = ExceptionVector.GeneralProtection) =>
        TryRead(cpu, selector, out SegmentDescriptor descriptor) ? descriptor : throw cpu.Fault(vector, selector & ErrorMask);

    /// <summary>The same without a fault for a bad selector. Throws #PF.</summary>
    public static bool TryRead(VirtualCpu cpu, ushort selector, out SegmentDescriptor descriptor)
    {
        if (!TryLocate(cpu, selector, 8, out ulong address))
        {
            descriptor = default;
            return false;
        }

        descriptor = new SegmentDescriptor(cpu.Linear.ReadSystem(address, 8));
        if (descriptor.IsCodeOrData || !cpu.State->IsLongMode)
            return true;
        if (!TryLocate(cpu, selector, 16, out address))
            return false;
        // Bits 8 to 12 of the last doubleword must be zero, so that the upper half cannot pass for a descriptor of its own.
        ulong high = cpu.Linear.ReadSystem(address + 8, 8);
        if (((high >> 40) & 0x1F) != 0)
            return false;
        descriptor = new SegmentDescriptor(descriptor.Low, high & 0xFFFFFFFF);
        return true;
    }

    /// <summary>Sets the accessed bit of a code or data descriptor in its table, unless it is set. Throws #PF.</summary>
    public static void MarkAccessed(VirtualCpu cpu, ushort selector, SegmentDescriptor descriptor)
    {
        if (descriptor.IsAccessed)
            return;
        _ = TryLocate(cpu, selector, 8, out ulong address);
        ulong rights = cpu.Linear.ReadSystem(address + 5, 1);
        cpu.Linear.WriteSystem(address + 5, 1, rights | 1);
    }

    /// <summary>Sets or clears the busy bit of a TSS descriptor in the GDT. Throws #PF.</summary>
    public static void SetBusy(VirtualCpu cpu, ushort selector, bool busy)
    {
        _ = TryLocate(cpu, selector, 8, out ulong address);
        ulong rights = cpu.Linear.ReadSystem(address + 5, 1);
        cpu.Linear.WriteSystem(address + 5, 1, busy ? rights | 2 : rights & ~2UL);
    }
}
