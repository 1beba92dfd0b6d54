using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Models;

namespace Doppel.Engines.Translator;

/// <summary>
/// The ways into and out of emitted code. In: the guest's registers, flags and vector state are loaded, GS points at the
/// vCPU's state, and so does RSP, with room for a stack below. Out: everything is stored, the host's MXCSR and stack are back.
/// </summary>
internal sealed unsafe class Stubs
{
    private static readonly HostRegister[] Saved = [HostRegister.Rbx, HostRegister.Rbp, HostRegister.R12, HostRegister.R13, HostRegister.R14, HostRegister.R15];

    private readonly byte*[] _lookups = new byte*[4];

    /// <summary>Emits all stubs.</summary>
    /// <param name="code">Where, in the writable mapping.</param>
    /// <param name="cpu">The vCPU, for the offsets of its vector registers and for its model.</param>
    /// <param name="toExecutable">Distance from the writable to the executable mapping.</param>
    /// <param name="farEntryBytes">Distance of a block's head from its way in from other pages.</param>
    internal Stubs(ref Emitter code, VirtualCpu cpu, nint toExecutable, int farEntryBytes)
    {
        CpuState* state = cpu.State;
        bool hasAvx = cpu.Model.Has(CpuFeature.Avx);
        int vectors = (int)(state->XsaveArea - (byte*)state);
        Enter = code.Position;
        EmitEnter(ref code, vectors, hasAvx);
        NumberedExit = code.Position;
        code.StoreSlot(StateLayout.ExitId, RegisterMap.Check);
        Exit = code.Position;
        EmitExit(ref code, vectors, hasAvx);
        // The look-up needs the refill, which may fault, which needs the look-up.
        byte* pageFault = code.Position;
        byte* toPageFault = code.Jump();
        RefillRead = RefillStub.Emit(ref code, toExecutable, AccessKind.Read, Exit, pageFault);
        RefillWrite = RefillStub.Emit(ref code, toExecutable, AccessKind.Write, Exit, pageFault);
        WriteBesideCode = WriteBesideCodeStub.Emit(ref code, toExecutable, RefillWrite);
        RefillExecute = RefillStub.Emit(ref code, toExecutable, AccessKind.Execute, Exit, pageFault);
        LoadCr3 = AddressSpaceStub.EmitLoadCr3(ref code, toExecutable, Exit, cpu.Model.PhysicalAddressBits);
        InvalidatePage = AddressSpaceStub.EmitInvalidatePage(ref code, toExecutable, Exit);
        Repeat = new RepeatStub(ref code, toExecutable, this);
        SegmentLoad = new SegmentLoadStub(ref code, toExecutable, Exit);
        foreach (CodeSpace space in Enum.GetValues<CodeSpace>())
            EmitLookup(ref code, farEntryBytes, space);
        System = new SystemStubs(ref code, this, cpu);
        Emitter.Bind32(toPageFault, System.PageFault);
    }

    /// <summary>void Enter(CpuState*, target), in the writable mapping.</summary>
    internal byte* Enter { get; }

    /// <summary>Where most exits jump to, with their number in <see cref="RegisterMap.Check"/>, in the writable mapping.</summary>
    internal byte* NumberedExit { get; }

    /// <summary>Where exits jump to with their number stored, in the writable mapping.</summary>
    internal byte* Exit { get; }

    /// <summary>Fills the TLB for a read (<see cref="RefillStub"/>), in the writable mapping.</summary>
    internal byte* RefillRead { get; }

    /// <summary>Fills the TLB for a write.</summary>
    internal byte* RefillWrite { get; }

    /// <summary>Lets writes pass that hit no code of a page with code; else goes on to <see cref="RefillWrite"/>.</summary>
    internal byte* WriteBesideCode { get; }

    /// <summary>Fills the TLB for an instruction fetch.</summary>
    internal byte* RefillExecute { get; }

    /// <summary>REP MOVS and REP STOS.</summary>
    internal RepeatStub Repeat { get; }

    /// <summary>Loads of segment registers in 32-bit kernels.</summary>
    internal SegmentLoadStub SegmentLoad { get; }

    /// <summary>MOV to CR3 (<see cref="AddressSpaceStub"/>).</summary>
    internal byte* LoadCr3 { get; }

    /// <summary>INVLPG (<see cref="AddressSpaceStub"/>).</summary>
    internal byte* InvalidatePage { get; }

    /// <summary>
    /// Goes to the code at the offset in CS in <see cref="StateLayout.ExitAddress"/>, by the execute tag of the TLB and
    /// <see cref="BlockTable"/>, and enters it into <see cref="JumpCache"/>. What is not found leaves to
    /// C# (exit 0). Uses the three scratch registers and no flags. In the writable mapping.
    /// </summary>
    /// <param name="space">What runs from here on; the TLB and the variant of translation are already those for it.</param>
    internal byte* Lookup(CodeSpace space) => _lookups[(int)space];

    /// <summary>What instructions that change privilege go to.</summary>
    internal SystemStubs System { get; }

    /// <summary>
    /// Goes to the code at the offset in CS in <see cref="RegisterMap.Address"/> by <see cref="JumpCache"/>, in line so
    /// that the host predicts each branch on its own; what is not there goes on in <see cref="Lookup"/>. Uses the three
    /// scratch registers and no flags.
    /// </summary>
    /// <param name="code">Where to.</param>
    /// <param name="space">As for <see cref="Lookup"/>.</param>
    internal void EmitBranch(ref Emitter code, CodeSpace space)
    {
        const HostRegister Address = RegisterMap.Address;
        const HostRegister Temporary = RegisterMap.Temporary;
        const HostRegister Check = RegisterMap.Check;
        code.StoreSlot(StateLayout.ExitAddress, Address);
        EmitLinear(ref code, space);
        EmitKey(ref code, space);
        code.Rorx(Temporary, Address, JumpCache.Rotation);
        code.LeaIndexed(Temporary, Temporary, Address, 0, 0);
        code.Pext(Temporary, Temporary, StateLayout.EventMask);
        code.LoadSlotIndexed(Check, Temporary, JumpCache.Keys);
        code.LeaIndexed(Check, Check, Address, 0, 0);
        code.LoadSlot(Address, TagOf(space));
        code.LeaIndexed(Check, Check, Address, 0, 0);
        byte* hit = code.JumpIfRcxZero();
        code.JumpTo(Lookup(space));
        code.Bind8(hit);
        code.JumpSlotIndexed(Temporary, JumpCache.Codes);
    }

    private static int TagOf(CodeSpace space) => StateLayout.CodeTags + (space == CodeSpace.Kernel ? CodeTags.Upper : CodeTags.Lower) * sizeof(ulong);

    // Of an offset in CS its linear address.
    private static void EmitLinear(ref Emitter code, CodeSpace space)
    {
        if (space != CodeSpace.Segmented)
            return;
        code.LoadSlot(RegisterMap.Temporary, SegmentSlots.Base(Segment.Cs));
        code.LeaIndexed32(RegisterMap.Address, RegisterMap.Address, RegisterMap.Temporary, 0, 0);
    }

    // Of a linear address what stands for it in the jump cache.
    private static void EmitKey(ref Emitter code, CodeSpace space)
    {
        if (space is CodeSpace.Kernel or CodeSpace.User)
            return;
        code.LoadSlot(RegisterMap.Temporary, SegmentSlots.CodeKey);
        code.LeaIndexed(RegisterMap.Address, RegisterMap.Address, RegisterMap.Temporary, 0, 0);
    }

    private void EmitLookup(ref Emitter code, int farEntryBytes, CodeSpace space)
    {
        const HostRegister Address = RegisterMap.Address;
        const HostRegister Temporary = RegisterMap.Temporary;
        const HostRegister Check = RegisterMap.Check;
        byte* leave = code.Position;
        code.StoreSlotImmediate(StateLayout.ExitId, 0);
        code.JumpTo(Exit);
        byte* start = code.Position;
        _lookups[(int)space] = start;
        code.LoadSlot32(Check, StateLayout.PendingEvents);
        byte* quiet = code.JumpIfRcxZero();
        code.JumpTo(leave);
        code.Bind8(quiet);
        code.LoadSlot(Address, StateLayout.ExitAddress);
        EmitLinear(ref code, space);
        code.Pext(Temporary, Address, StateLayout.IndexMask);
        code.LoadSlot(Check, StateLayout.Tlb);
        code.LeaIndexed(Temporary, Check, Temporary, 3, 0);
        code.Load(Check, Temporary, TlbLayout.ExecuteTag);
        code.LeaIndexed(Check, Check, Address, 0, 0);
        code.Pext(Check, Check, StateLayout.PageMask);
        byte* mapped = code.JumpIfRcxZero();
        if (space == CodeSpace.Segmented)
        {
            // A refill would report a linear address where RIP is expected.
            code.JumpTo(leave);
        }
        else
        {
            code.MoveImmediate(Check, 0);
            code.LeaCode(Temporary, start);
            code.JumpTo(RefillExecute);
        }

        code.Bind8(mapped);

        // The guest-physical address is the host's less that of RAM. The table's word is compared by a sum.
        code.Load(Temporary, Temporary, TlbLayout.Addend);
        code.LeaIndexed(Temporary, Temporary, Address, 0, 0);
        code.LoadSlot(Check, StateLayout.NegatedRam);
        code.LeaIndexed(Temporary, Temporary, Check, 0, 0);
        code.LoadSlot(Check, StateLayout.Variant);
        code.Rorx(Check, Check, 64 - BlockTable.VariantShift);
        code.LeaIndexed(Temporary, Temporary, Check, 0, 0);
        code.Rorx(Address, Temporary, BlockTable.IndexBits);
        code.LeaIndexed(Check, Address, Temporary, 0, 0);
        code.Pext(Check, Check, StateLayout.BlockTableMask);
        code.LoadSlot(Temporary, StateLayout.BlockTable);
        code.LoadIndexed(Temporary, Temporary, Check, 3, 0);
        code.Rorx(Check, Temporary, 32);
        code.LeaIndexed(Check, Check, Address, 0, 0);
        code.Move32(Check, Check);
        byte* translated = code.JumpIfRcxZero();
        code.JumpTo(leave);
        code.Bind8(translated);
        code.Move32(Temporary, Temporary);
        code.LoadSlot(Check, StateLayout.CodeBase);
        code.LeaIndexed(Temporary, Temporary, Check, 0, -farEntryBytes);
        code.StoreSlot(StateLayout.Found, Temporary);
        code.LoadSlot(Address, StateLayout.ExitAddress);
        EmitLinear(ref code, space);

        if (space is CodeSpace.Kernel or CodeSpace.User)
        {
            // Privileged code caches the upper half only, user code the lower.
            code.Pext(Check, Address, StateLayout.HalfMask);
            byte* isLower = code.JumpIfRcxZero();
            byte* isUpper = code.JumpShort();
            code.Bind8(space == CodeSpace.User ? isUpper : isLower);
            code.JumpRegister(Temporary);
            code.Bind8(space == CodeSpace.User ? isLower : isUpper);
        }

        code.Pext(Check, Address, StateLayout.CodePageMask);
        code.LoadSlotByte(Check, Check, CpuStateBlock.CodePagesOffset);
        byte* unmarked = code.JumpIfRcxZero();
        EmitKey(ref code, space);
        code.Rorx(Temporary, Address, JumpCache.Rotation);
        code.LeaIndexed(Temporary, Temporary, Address, 0, 0);
        code.Pext(Temporary, Temporary, StateLayout.EventMask);
        code.Move(Check, Temporary);
        byte* isFirst = code.JumpIfRcxZero();
        code.LoadSlot(Check, TagOf(space));
        code.LeaIndexed(Check, Check, Address, 0, 0);
        code.Not(Check);
        code.Lea(Check, Check, 1);
        code.StoreSlotIndexed(Temporary, JumpCache.Keys, Check);
        code.LoadSlot(Check, StateLayout.Found);
        code.StoreSlotIndexed(Temporary, JumpCache.Codes, Check);
        code.JumpRegister(Check);
        code.Bind8(isFirst);
        code.LoadSlot(Check, StateLayout.Found);
        code.JumpRegister(Check);
        code.Bind8(unmarked);
        code.JumpTo(leave);
    }

    private static void EmitEnter(ref Emitter code, int vectors, bool hasAvx)
    {
        foreach (HostRegister register in Saved)
            Push(ref code, register);
        // Six pushes after the return address: one more word aligns the stack.
        Push(ref code, HostRegister.Rax);
        code.Byte(0xF3); // wrgsbase rdi
        code.Byte(0x48);
        code.Byte(0x0F);
        code.Byte(0xAE);
        code.Byte(0xDF);
        code.Store(HostRegister.Rdi, StateLayout.HostStack, HostRegister.Rsp);
        code.Lea(HostRegister.Rsp, HostRegister.Rdi, StateLayout.Bias);
        code.StoreSlot(StateLayout.EnterTarget, HostRegister.Rsi);
        MxcsrForm(ref code, 3, StateLayout.HostMxcsr);
        MxcsrForm(ref code, 2, vectors + 24);
        for (int i = 0; i < 16; i++)
        {
            VectorMove(ref code, 0x6F, i, vectors + 160 + (16 * i));
            if (hasAvx)
                InsertHigh(ref code, i, vectors + 576 + (16 * i));
        }

        for (int i = 0; i < 16; i++)
        {
            if (!RegisterMap.IsDisplaced(i))
                code.LoadSlot(RegisterMap.Home(i), StateLayout.Gpr + (8 * i));
        }

        // Guest R14 is loaded: the push overwrites its word (StateLayout.Bias).
        code.Byte(0x65); // push qword gs:[flags]
        code.Byte(0xFF);
        code.Byte(0x34);
        code.Byte(0x25);
        code.Word32(StateLayout.HostFlags);
        code.Byte(0x9D); // popfq
        code.Byte(0x65); // jmp gs:[target]
        code.Byte(0xFF);
        code.Byte(0x24);
        code.Byte(0x25);
        code.Word32(StateLayout.EnterTarget);
    }

    private static void EmitExit(ref Emitter code, int vectors, bool hasAvx)
    {
        // Before guest R14 is stored, whose word the push overwrites.
        code.Byte(0x9C); // pushfq
        code.Byte(0x65); // pop qword gs:[flags]
        code.Byte(0x8F);
        code.Byte(0x04);
        code.Byte(0x25);
        code.Word32(StateLayout.HostFlags);
        for (int i = 0; i < 16; i++)
        {
            if (!RegisterMap.IsDisplaced(i))
                code.StoreSlot(StateLayout.Gpr + (8 * i), RegisterMap.Home(i));
        }

        for (int i = 0; i < 16; i++)
        {
            VectorMove(ref code, 0x7F, i, vectors + 160 + (16 * i));
            if (hasAvx)
                ExtractHigh(ref code, i, vectors + 576 + (16 * i));
        }

        MxcsrForm(ref code, 3, vectors + 24);
        MxcsrForm(ref code, 2, StateLayout.HostMxcsr);
        code.Byte(0xC5); // vzeroupper
        code.Byte(0xF8);
        code.Byte(0x77);
        code.LoadSlot(HostRegister.Rsp, StateLayout.HostStack);
        Pop(ref code, HostRegister.Rax);
        for (int i = Saved.Length - 1; i >= 0; i--)
            Pop(ref code, Saved[i]);
        code.Byte(0xC3);
    }

    private static void Push(ref Emitter code, HostRegister register)
    {
        if ((int)register >= 8)
            code.Byte(0x41);
        code.Byte(0x50 + ((int)register & 7));
    }

    private static void Pop(ref Emitter code, HostRegister register)
    {
        if ((int)register >= 8)
            code.Byte(0x41);
        code.Byte(0x58 + ((int)register & 7));
    }

    // LDMXCSR is /2, STMXCSR /3.
    private static void MxcsrForm(ref Emitter code, int extension, int slot)
    {
        code.Byte(0x65);
        code.Byte(0x0F);
        code.Byte(0xAE);
        code.Byte((extension << 3) | 4);
        code.Byte(0x25);
        code.Word32(slot);
    }

    // VMOVDQU xmm, gs:[slot] (6F) and back (7F).
    private static void VectorMove(ref Emitter code, int opcode, int register, int slot)
    {
        code.Byte(0x65);
        code.Vex(map: 1, prefix: 2, wide: false, register, index: 0, @base: 0, vvvv: 0);
        code.Byte(opcode);
        SlotOperand(ref code, register, slot);
    }

    // VINSERTF128 ymm, ymm, gs:[slot], 1.
    private static void InsertHigh(ref Emitter code, int register, int slot)
    {
        code.Byte(0x65);
        Vex256(ref code, register, vvvv: register);
        code.Byte(0x18);
        SlotOperand(ref code, register, slot);
        code.Byte(1);
    }

    // VEXTRACTF128 gs:[slot], ymm, 1.
    private static void ExtractHigh(ref Emitter code, int register, int slot)
    {
        code.Byte(0x65);
        Vex256(ref code, register, vvvv: 0);
        code.Byte(0x19);
        SlotOperand(ref code, register, slot);
        code.Byte(1);
    }

    // VEX.256.66.0F3A.W0.
    private static void Vex256(ref Emitter code, int register, int vvvv)
    {
        code.Byte(0xC4);
        code.Byte((register >= 8 ? 0 : 0x80) | 0x60 | 3);
        code.Byte(((~vvvv & 15) << 3) | 4 | 1);
    }

    private static void SlotOperand(ref Emitter code, int register, int slot)
    {
        code.Byte(((register & 7) << 3) | 4);
        code.Byte(0x25);
        code.Word32(slot);
    }
}
