namespace Doppel.Machine.Cpu.Segments;

/// <summary>Who may use a port: IOPL, and the I/O permission bitmap in the TSS (Intel SDM vol. 1, 19.5).</summary>
public static unsafe class IoPermission
{
    /// <summary>Throws #GP(0) when the current program may not access the port; #PF from reading the bitmap.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="port">First port.</param>
    /// <param name="size">1, 2 or 4 ports.</param>
    public static void Check(VirtualCpu cpu, ushort port, int size)
    {
        CpuState* s = cpu.State;
        if (s->IsRealMode)
            return;
        if (!s->IsVirtual8086 && s->Cpl <= FlagInstructions.IoplOf(s))
            return;
        // Only 32- and 64-bit TSSs have a bitmap.
        if (!s->Tr.IsUsable || (s->Tr.Type & 9) != 9 || s->Tr.Limit < 103)
            throw cpu.GeneralProtection();
        uint offset = (uint)cpu.Linear.ReadSystem(s->Tr.Base + 102, 2) + ((uint)port >> 3);
        // Hardware always reads two bytes, so the byte after the last one used must be inside the limit too.
        if (offset + 1 > s->Tr.Limit)
            throw cpu.GeneralProtection();
        uint bits = (uint)cpu.Linear.ReadSystem(s->Tr.Base + offset, 2) >> (port & 7);
        if ((bits & ((1u << size) - 1)) != 0)
            throw cpu.GeneralProtection();
    }
}
