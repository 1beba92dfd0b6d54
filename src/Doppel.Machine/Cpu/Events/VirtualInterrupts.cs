using Doppel.Machine.Cpu.Segments;

namespace Doppel.Machine.Cpu.Events;

/// <summary>INT n in virtual-8086 mode: IOPL, and the redirection bitmap of VME (Intel SDM vol. 3, 21.3.3).</summary>
internal static unsafe class VirtualInterrupts
{
    /// <summary>
    /// Calls the program's own handler through the vector table at linear 0 when the redirection bitmap says so. Throws
    /// #GP(0) for an interrupt that neither the bitmap nor IOPL 3 admits.
    /// </summary>
    /// <returns>False when the interrupt goes through the IDT.</returns>
    internal static bool TryRedirect(VirtualCpu cpu, int vector)
    {
        CpuState* s = cpu.State;
        bool ownsInterrupts = FlagInstructions.IoplOf(s) == 3;
        if ((s->Cr4 & Cr4.Vme) == 0 || !IsRedirected(cpu, vector))
            return ownsInterrupts ? false : throw cpu.GeneralProtection();
        ulong flags = s->Flags;
        ulong pointer = cpu.Linear.ReadSystem((uint)vector * 4, 4);
        cpu.Trace?.Interrupt(cpu, vector, isSoftware: true);
        StackFrame frame = StackFrame.Current(cpu);
        frame.Push(2, ownsInterrupts ? flags : FlagInstructions.VirtualImage(flags));
        frame.Push(2, s->Cs.Selector);
        frame.Push(2, s->Rip);
        frame.Commit();
        FarTransfers.LoadRealCode(s, (ushort)(pointer >> 16));
        s->Rip = pointer & 0xFFFF;
        FlagInstructions.Write(cpu, 0, CpuFlags.Tf | CpuFlags.Rf | (ownsInterrupts ? CpuFlags.If : CpuFlags.Vif));
        return true;
    }

    private static bool IsRedirected(VirtualCpu cpu, int vector)
    {
        CpuState* s = cpu.State;
        if ((s->Tr.Type & 9) != 9 || s->Tr.Limit < 103)
            throw cpu.GeneralProtection();
        // The 32 bytes below the I/O permission bitmap; a clear bit redirects.
        long offset = (long)cpu.Linear.ReadSystem(s->Tr.Base + 102, 2) - 32 + (vector >> 3);
        if (offset < 0 || offset > s->Tr.Limit)
            throw cpu.GeneralProtection();
        ulong bits = cpu.Linear.ReadSystem(s->Tr.Base + (ulong)offset, 1);
        return ((bits >> (vector & 7)) & 1) == 0;
    }
}
