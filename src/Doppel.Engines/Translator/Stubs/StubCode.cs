using Doppel.Machine.Cpu;
using Iced.Intel;
using static Doppel.Engines.Translator.EmittedStub;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Translator;

/// <summary>
/// What stubs of system instructions share: the registers of <see cref="RegisterMap"/>, checks, changes of privilege.
/// </summary>
internal static unsafe class StubCode
{
    internal static readonly AssemblerRegister64 Address = Of(RegisterMap.Address);
    internal static readonly AssemblerRegister64 Temporary = Of(RegisterMap.Temporary);
    internal static readonly AssemblerRegister64 Check = Of(RegisterMap.Check);
    internal static readonly AssemblerRegister64 GuestStack = Of(RegisterMap.GuestStack);
    internal static readonly AssemblerRegister64 GuestCounter = Of(RegisterMap.GuestCounter);
    internal static readonly AssemblerRegister32 Address32 = Of32(RegisterMap.Address);
    internal static readonly AssemblerRegister32 Temporary32 = Of32(RegisterMap.Temporary);
    internal static readonly AssemblerRegister32 Check32 = Of32(RegisterMap.Check);
    internal static readonly AssemblerRegister16 Temporary16 = new(Register.AX + (int)RegisterMap.Temporary);
    internal static readonly AssemblerRegister16 Check16 = new(Register.AX + (int)RegisterMap.Check);

    /// <summary>Four bytes of the vCPU's state.</summary>
    internal static AssemblerMemoryOperand Slot32(int offset) => __dword_ptr.gs[(ulong)offset];

    /// <summary>Stores what a guest register becomes, wherever it lives.</summary>
    internal static void StoreGuest(Assembler a, int guest, AssemblerRegister64 value)
    {
        if (RegisterMap.IsDisplaced(guest))
            a.mov(Slot(StateLayout.Gpr + (sizeof(ulong) * guest)), value);
        else
            a.mov(Of(RegisterMap.Home(guest)), value);
    }

    /// <summary>Loads a guest register from wherever it lives.</summary>
    internal static void LoadGuest(Assembler a, AssemblerRegister64 to, int guest)
    {
        if (RegisterMap.IsDisplaced(guest))
            a.mov(to, Slot(StateLayout.Gpr + (sizeof(ulong) * guest)));
        else
            a.mov(to, Of(RegisterMap.Home(guest)));
    }

    /// <summary>Leaves when a value is not a canonical address; changes the scratch register.</summary>
    internal static void RequireCanonical(Assembler a, AssemblerRegister64 value, AssemblerRegister64 scratch, Label leave)
    {
        a.mov(scratch, value);
        a.shl(scratch, 16);
        a.sar(scratch, 16);
        a.cmp(scratch, value);
        a.jne(leave);
    }

    /// <summary>Leaves when an interrupt that waits could be delivered under flags in a register.</summary>
    internal static void RequireQuiet(Assembler a, AssemblerRegister32 flags, Label leave)
    {
        Label quiet = a.CreateLabel();
        a.test(flags, (int)CpuFlags.If);
        a.jz(quiet);
        a.cmp(Slot(SystemSlots.Work), 0);
        a.jne(leave);
        a.Label(ref quiet);
    }

    /// <summary>Sets RFLAGS but for the status flags from a value that holds only bits that may be set.</summary>
    internal static void StoreFlagSystem(Assembler a, AssemblerRegister32 flags, AssemblerRegister64 scratch, AssemblerRegister32 scratch32)
    {
        a.mov(scratch32, flags);
        a.and(scratch32, ~(int)CpuFlags.Status);
        a.or(scratch32, (int)CpuFlags.Fixed);
        a.mov(Slot(SystemSlots.FlagSystem), scratch);
    }

    /// <summary>Enters CPL 3 without alignment checks: privilege, TLB and translations.</summary>
    internal static void EnterUser(Assembler a, AssemblerRegister64 scratch)
    {
        a.mov(scratch, Slot(StateLayout.TlbModes));
        a.mov(Slot(StateLayout.Tlb), scratch);
        a.mov(Slot32(SystemSlots.Cpl), 3);
        a.or(Slot(StateLayout.Variant), (int)TranslationVariant.User);
    }

    /// <summary>Enters 64-bit mode at CPL 0 with RFLAGS.AC clear: privilege, TLB and translations.</summary>
    internal static void EnterKernel(Assembler a, AssemblerRegister64 scratch, AssemblerRegister32 scratch32)
    {
        LoadKernelTable(a, scratch, scratch32);
        a.mov(Slot(StateLayout.Tlb), scratch);
        a.mov(Slot32(SystemSlots.Cpl), 0);
        a.and(Slot(StateLayout.Variant), ~(int)(TranslationVariant.User | TranslationVariant.Mode));
    }

    /// <summary>The table of the TLB for CPL 0 with RFLAGS.AC clear, and for the processor's own accesses.</summary>
    internal static void LoadKernelTable(Assembler a, AssemblerRegister64 to, AssemblerRegister32 to32)
    {
        // Mode 1 is that under SMAP, mode 2 that without.
        a.mov(to32, Slot32(SystemSlots.Cr4));
        a.shr(to32, SmapBit);
        a.and(to32, 1);
        a.xor(to32, 1);
        a.mov(to, __qword_ptr.gs[(to * 8) + StateLayout.TlbModes + sizeof(ulong)]);
    }

    /// <summary>Limit and attributes of a segment register as the qword in which they lie.</summary>
    internal static ulong Hidden(SegmentRegister segment) => segment.Limit | ((ulong)segment.Attributes << 32);

    private const byte SmapBit = 21;

    private static AssemblerRegister64 Of(HostRegister register) => new(Register.RAX + (int)register);

    private static AssemblerRegister32 Of32(HostRegister register) => new(Register.EAX + (int)register);
}
