using System.Numerics;
using Doppel.Host.Kvm;
using Doppel.Machine.Cpu.Debugging;

namespace Doppel.Engines.Kvm;

/// <summary>
/// A debugger's breakpoints as the processor's own debug registers look for them (SDM volume 3, 18.2): at most four, and none
/// that waits for reads alone. Immutable.
/// </summary>
internal sealed unsafe class KvmBreakpoints
{
    private const int Registers = 4, LongestPart = 8;
    private const ulong ExactAndFixed = 0x700;

    private readonly List<(Breakpoint Breakpoint, ulong Address, int Length)> _parts;

    private KvmBreakpoints(List<(Breakpoint Breakpoint, ulong Address, int Length)> parts) => _parts = parts;

    /// <summary>Places breakpoints in debug registers.</summary>
    /// <returns>Null when there are more than the registers hold, or such as they can't look for.</returns>
    internal static KvmBreakpoints? TryPlace(BreakpointSet set)
    {
        var parts = new List<(Breakpoint, ulong, int)>();
        foreach (Breakpoint breakpoint in set.All)
        {
            if (breakpoint.Kind == BreakpointKind.Read)
                return null;
            if (breakpoint.IsCode)
            {
                // A hardware and a software one at the same place need one register.
                if (!parts.Exists(part => part.Item1.IsCode && part.Item2 == breakpoint.Address))
                    parts.Add((breakpoint, breakpoint.Address, 1));
            }
            else
            {
                Split(breakpoint, parts);
            }

            if (parts.Count > Registers)
                return null;
        }

        return new KvmBreakpoints(parts);
    }

    /// <summary>What the kernel is told.</summary>
    internal KvmGuestDebug Describe()
    {
        var debug = new KvmGuestDebug { Control = KvmGuestDebug.Enable | KvmGuestDebug.UseRegisters };
        ulong control = ExactAndFixed;
        for (int i = 0; i < _parts.Count; i++)
        {
            (Breakpoint breakpoint, ulong address, int length) = _parts[i];
            debug.Registers[i] = address;
            ulong access = breakpoint.Kind switch { BreakpointKind.Write => 1, BreakpointKind.Access => 3, _ => 0 };
            ulong size = length switch { 2 => 1, 4 => 3, 8 => 2, _ => 0 };
            control |= (2UL << (2 * i)) | (access << (16 + (4 * i))) | (size << (18 + (4 * i)));
        }

        debug.Registers[7] = control;
        return debug;
    }

    /// <summary>The breakpoint that DR6 tells of, and the linear address of its instruction or data; null when it is none of these.</summary>
    internal (Breakpoint Breakpoint, ulong Address)? Find(ulong dr6, BreakpointSet set)
    {
        for (int i = 0; i < _parts.Count; i++)
        {
            if ((dr6 & (1UL << i)) == 0)
                continue;
            (Breakpoint breakpoint, ulong address, _) = _parts[i];
            return (breakpoint.IsCode ? set.FindCode(address) ?? breakpoint : breakpoint, address);
        }

        return null;
    }

    // A register watches 1, 2, 4 or 8 bytes at a multiple of that.
    private static void Split(Breakpoint breakpoint, List<(Breakpoint, ulong, int)> parts)
    {
        ulong address = breakpoint.Address;
        for (int left = breakpoint.Length; left > 0 && parts.Count <= Registers;)
        {
            int aligned = address == 0 ? LongestPart : (int)Math.Min(1UL << BitOperations.TrailingZeroCount(address), LongestPart);
            int length = Math.Min(aligned, 1 << BitOperations.Log2((uint)Math.Min(left, LongestPart)));
            parts.Add((breakpoint, address, length));
            address += (uint)length;
            left -= length;
        }
    }
}
