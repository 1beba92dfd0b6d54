using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Memory;

namespace Doppel.Machine.Cpu.Debugging;

/// <summary>
/// Memory as a debugger sees it: no fault, no accessed or dirty bit, no right that refuses, and no device register, since
/// reading one may have effects. The vCPU must stand still.
/// </summary>
public static unsafe class DebugMemory
{
    /// <summary>Translates a linear address by the guest's page tables.</summary>
    /// <returns>False when it is not mapped or not canonical.</returns>
    public static bool TryTranslate(VirtualCpu cpu, ulong linear, out ulong physical)
    {
        physical = 0;
        if (!cpu.State->IsLongMode)
            linear &= uint.MaxValue;
        else if (!LinearMemory.IsCanonical(linear))
            return false;
        if (!PageWalker.TryProbe(cpu, linear, out physical))
            return false;
        physical &= cpu.Physical.AddressMask;
        return true;
    }

    /// <summary>Reads by linear address.</summary>
    /// <returns>Bytes read: fewer than asked for where a page is not mapped or no memory.</returns>
    public static int Read(VirtualCpu cpu, ulong linear, Span<byte> destination)
    {
        int done = 0;
        while (done < destination.Length)
        {
            int count = Chunk(linear + (uint)done, destination.Length - done);
            if (!TryTranslate(cpu, linear + (uint)done, out ulong physical) || !cpu.Physical.Memory.TryRead(physical, destination.Slice(done, count)))
                break;
            done += count;
        }

        return done;
    }

    /// <summary>Writes RAM by linear address; decoded and translated code follows.</summary>
    /// <returns>Bytes written: fewer than given where a page is not mapped or no RAM.</returns>
    public static int Write(VirtualCpu cpu, ulong linear, ReadOnlySpan<byte> source)
    {
        int done = 0;
        while (done < source.Length)
        {
            int count = Chunk(linear + (uint)done, source.Length - done);
            if (!TryTranslate(cpu, linear + (uint)done, out ulong physical) || !cpu.Physical.Memory.TryWrite(physical, source.Slice(done, count)))
                break;
            done += count;
        }

        return done;
    }

    /// <summary>Reads by guest-physical address.</summary>
    /// <returns>Bytes read: fewer than asked for where there is no memory.</returns>
    public static int ReadPhysical(VirtualCpu cpu, ulong physical, Span<byte> destination)
    {
        int done = 0;
        while (done < destination.Length)
        {
            int count = Chunk(physical + (uint)done, destination.Length - done);
            if (!cpu.Physical.Memory.TryRead(physical + (uint)done, destination.Slice(done, count)))
                break;
            done += count;
        }

        return done;
    }

    /// <summary>Writes RAM by guest-physical address.</summary>
    /// <returns>Bytes written: fewer than given where there is no RAM.</returns>
    public static int WritePhysical(VirtualCpu cpu, ulong physical, ReadOnlySpan<byte> source)
    {
        int done = 0;
        while (done < source.Length)
        {
            int count = Chunk(physical + (uint)done, source.Length - done);
            if (!cpu.Physical.Memory.TryWrite(physical + (uint)done, source.Slice(done, count)))
                break;
            done += count;
        }

        return done;
    }

    private static int Chunk(ulong address, int left) => Math.Min(left, GuestMemory.PageSize - (int)(address & 0xFFF));
}
