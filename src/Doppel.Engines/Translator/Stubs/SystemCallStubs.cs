using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Segments;
using Iced.Intel;
using static Doppel.Engines.Translator.EmittedStub;
using static Doppel.Engines.Translator.StubCode;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Translator;

/// <summary>
/// SYSCALL and SYSRET to and from 64-bit code, as <see cref="SystemCalls"/> has them. What is unusual (EFER.SCE clear, TF or
/// AC, a return address that is not canonical, an interrupt that SYSRET would let in) leaves by the exit whose number the
/// block has stored, before anything has changed.
/// </summary>
internal sealed unsafe class SystemCallStubs
{
    private const ulong Attention = CpuFlags.Tf | CpuFlags.Ac;
    private const ulong Returned = CpuFlags.All & ~(CpuFlags.Rf | CpuFlags.Vm);

    /// <summary>Emits both.</summary>
    /// <param name="code">Where, in the writable mapping.</param>
    /// <param name="stubs">Exit and look-up.</param>
    /// <param name="isAmd">Whether SYSRET leaves SS's hidden part alone.</param>
    internal SystemCallStubs(ref Emitter code, Stubs stubs, bool isAmd)
    {
        Syscall = Assemble(ref code, a => EmitSyscall(a, stubs));
        StatusFlags.EmitLoad(ref code);
        code.LoadSlot(RegisterMap.Address, SystemSlots.Lstar);
        stubs.EmitBranch(ref code, CodeSpace.Kernel);
        Sysret = Assemble(ref code, a => EmitSysret(a, stubs, isAmd));
        StatusFlags.EmitLoad(ref code);
        code.Move(RegisterMap.Address, RegisterMap.GuestCounter);
        stubs.EmitBranch(ref code, CodeSpace.User);
    }

    /// <summary>SYSCALL; the linear address of the next instruction is in <see cref="RegisterMap.Address"/>. In the writable mapping.</summary>
    internal byte* Syscall { get; }

    /// <summary>SYSRET with REX.W at CPL 0. In the writable mapping.</summary>
    internal byte* Sysret { get; }

    private static Label EmitSyscall(Assembler a, Stubs stubs)
    {
        Label leave = a.CreateLabel(), entry = a.CreateLabel();
        EmitLeave(a, stubs, ref leave);
        a.Label(ref entry);
        a.pushfq();
        a.pop(Check);
        a.mov(Temporary, Slot(SystemSlots.FlagSystem));
        a.test(Temporary32, (int)Attention);
        a.jnz(leave);
        a.test(__byte_ptr.gs[(ulong)SystemSlots.Efer], (int)Efer.Sce);
        a.jz(leave);
        a.and(Check32, (int)CpuFlags.Status);
        a.or(Check, Temporary);
        StoreGuest(a, 1, Address);
        StoreGuest(a, 11, Check);
        a.mov(Temporary, Slot(SystemSlots.SyscallMask));
        a.andn(Address, Temporary, Check);
        StoreFlagSystem(a, Address32, Temporary, Temporary32);
        a.mov(Check32, Slot32(SystemSlots.Star + sizeof(uint)));
        a.and(Check32, 0xFFFC);
        a.mov(Slot(SystemSlots.Cs + SystemSlots.Selector), Check);
        a.add(Check32, 8);
        a.movzx(Check32, Check16);
        a.mov(Slot(SystemSlots.Ss + SystemSlots.Selector), Check);
        EmitFlat(a, SystemSlots.Cs, SystemCalls.FlatCode(0, 0, isLong: true));
        EmitFlat(a, SystemSlots.Ss, SystemCalls.FlatData(0, 0));
        EnterKernel(a, Temporary, Temporary32);
        return entry;
    }

    private static Label EmitSysret(Assembler a, Stubs stubs, bool isAmd)
    {
        Label leave = a.CreateLabel(), entry = a.CreateLabel();
        EmitLeave(a, stubs, ref leave);
        a.Label(ref entry);
        a.pushfq();
        a.pop(Check);
        LoadGuest(a, Address, 11);
        a.mov(Temporary, Slot(SystemSlots.FlagSystem));
        a.or(Temporary32, Address32);
        a.test(Temporary32, (int)Attention);
        a.jnz(leave);
        a.test(__byte_ptr.gs[(ulong)SystemSlots.Efer], (int)Efer.Sce);
        a.jz(leave);
        RequireCanonical(a, GuestCounter, Temporary, leave);
        RequireQuiet(a, Address32, leave);
        a.and(Address32, (int)Returned);
        StoreFlagSystem(a, Address32, Temporary, Temporary32);
        a.movzx(Check32, __word_ptr.gs[(ulong)SystemSlots.Star + 6]);
        a.lea(Temporary32, __[Check + 16]);
        a.or(Temporary32, 3);
        a.movzx(Temporary32, Temporary16);
        a.mov(Slot(SystemSlots.Cs + SystemSlots.Selector), Temporary);
        a.add(Check32, 8);
        a.or(Check32, 3);
        a.mov(__word_ptr.gs[(ulong)(SystemSlots.Ss + SystemSlots.Selector)], Check16);
        EmitFlat(a, SystemSlots.Cs, SystemCalls.FlatCode(0, 3, isLong: true));
        if (isAmd)
            a.or(Slot32(SystemSlots.Ss + SystemSlots.Attributes), (int)SegmentAttributes.DplMask);
        else
            EmitFlat(a, SystemSlots.Ss, SystemCalls.FlatData(0, 3));
        EnterUser(a, Temporary);
        return entry;
    }

    // The flags are in RCX.
    private static void EmitLeave(Assembler a, Stubs stubs, ref Label leave)
    {
        a.Label(ref leave);
        a.push(Check);
        a.popfq();
        a.jmp((ulong)stubs.Exit);
    }

    private static void EmitFlat(Assembler a, int segment, SegmentRegister value)
    {
        a.mov(Slot(segment), 0);
        a.mov(Temporary, Hidden(value));
        a.mov(Slot(segment + SystemSlots.Limit), Temporary);
    }
}
