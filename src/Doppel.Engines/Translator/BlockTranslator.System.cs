using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// System instructions that are frequent in a kernel. What is privileged is translated only in blocks for CPL 0: those for
/// CPL 3 leave it to the interpreter, and at CPL 1 and 2 nothing is translated.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    private readonly List<int> _shadowed = [];
    private TranslationVariant _variant;

    /// <summary>Whether the guest's TSC can be read in emitted code (<see cref="HostTime"/>).</summary>
    internal required Func<bool> ReadsHostTime { get; init; }

    private bool IsUser => (_variant & TranslationVariant.User) != 0;

    // Flags of virtual-8086 mode depend on IOPL and CR4.VME.
    private bool MayBeVirtual8086 => CodeMode == TranslationVariant.Real && IsUser;

    private static bool IsSystem(in Instruction instruction) => instruction.Mnemonic is
        Mnemonic.Cli or Mnemonic.Sti or Mnemonic.Cld or Mnemonic.Std or Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Pushfq or Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq or Mnemonic.Swapgs or
        Mnemonic.Rdfsbase or Mnemonic.Rdgsbase or Mnemonic.Wrfsbase or Mnemonic.Wrgsbase or Mnemonic.Rdtsc or Mnemonic.Rdtscp ||
        EndsBlock(instruction);

    /// <summary>True for system instructions behind which the block does not go on.</summary>
    private static bool EndsBlock(in Instruction instruction) => instruction.Code is Code.Syscall or Code.Sysretq or Code.Iretq;

    private bool CanTranslateSystem(in Instruction instruction)
    {
        if (!IsSystem(instruction) || instruction.HasRepPrefix || instruction.HasRepnePrefix)
            return false;
        if (instruction.Mnemonic is Mnemonic.Rdtsc or Mnemonic.Rdtscp)
            return ReadsHostTime();
        if (instruction.Mnemonic is Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Popf or Mnemonic.Popfd)
            return !Is64 && !MayBeVirtual8086;
        // Those below are of 64-bit mode, or work otherwise outside.
        if (!Is64 && instruction.Mnemonic is not (Mnemonic.Cli or Mnemonic.Sti or Mnemonic.Cld or Mnemonic.Std))
            return false;
        return instruction.Mnemonic is not (Mnemonic.Cli or Mnemonic.Sti or Mnemonic.Swapgs or Mnemonic.Sysretq or Mnemonic.Iretq) || !IsUser;
    }

    /// <summary>
    /// STI holds interrupts off for one more instruction. Translated code looks at events only between blocks, so that
    /// comes of itself when the next instruction is part of the block; a STI at the end is left to the interpreter.
    /// </summary>
    private void DropLastSti(Span<Instruction> instructions, ref int count, ref int end)
    {
        _shadowed.Clear();
        while (count > 0 && instructions[count - 1].Mnemonic == Mnemonic.Sti)
            end = (int)instructions[--count].IP;
    }

    /// <summary>Marks an exit of the instruction after STI: it is still in the shadow.</summary>
    private ExitRecord WithShadow(in ExitRecord record) =>
        record.Kind is ExitKind.Interpret or ExitKind.TlbMiss && _shadowed.Contains(record.PageOffset) ? record with { IsInShadow = true } : record;

    /// <summary>Emits a system instruction.</summary>
    private void EmitSystem(in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Syscall:
                _code.LoadSlot(RegisterMap.Address, StateLayout.CodePage);
                _code.Lea(RegisterMap.Address, RegisterMap.Address, (int)instruction.NextIP);
                EmitStub(_stubs.System.Calls.Syscall);
                break;
            case Mnemonic.Sysretq:
                EmitStub(_stubs.System.Calls.Sysret);
                break;
            case Mnemonic.Iretq:
                EmitStub(_stubs.System.Iret);
                break;
            case Mnemonic.Cli:
                EmitClearFlag(SystemSlots.AllButInterrupt, 0);
                break;
            case Mnemonic.Cld:
                EmitClearFlag(SystemSlots.AllButDirection, 0);
                break;
            case Mnemonic.Std:
                EmitClearFlag(SystemSlots.AllButDirection, (int)Machine.Cpu.CpuFlags.Df);
                break;
            case Mnemonic.Sti:
                EmitSti(instruction);
                break;
            case Mnemonic.Rdtsc or Mnemonic.Rdtscp:
                EmitReadTsc(instruction);
                break;
            case Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Pushfq:
                EmitPushFlags(instruction);
                break;
            case Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq:
                EmitPopFlags(instruction);
                break;
            case Mnemonic.Swapgs:
                _code.LoadSlot(RegisterMap.Address, StateLayout.GsBase);
                _code.LoadSlot(RegisterMap.Temporary, SystemSlots.KernelGsBase);
                _code.StoreSlot(SystemSlots.KernelGsBase, RegisterMap.Address);
                _code.StoreSlot(StateLayout.GsBase, RegisterMap.Temporary);
                break;
            case Mnemonic.Rdfsbase or Mnemonic.Rdgsbase:
                EmitReadBase(instruction);
                break;
            default:
                EmitWriteBase(instruction);
                break;
        }
    }

    // DF is kept in the state only: the host's stays clear.
    private void EmitClearFlag(int mask, int thenAdd)
    {
        _code.LoadSlot(RegisterMap.Temporary, SystemSlots.FlagSystem);
        _code.Pext(RegisterMap.Temporary, RegisterMap.Temporary, mask);
        _code.Pdep(RegisterMap.Temporary, RegisterMap.Temporary, mask);
        _code.Lea(RegisterMap.Temporary, RegisterMap.Temporary, thenAdd);
        _code.StoreSlot(SystemSlots.FlagSystem, RegisterMap.Temporary);
    }

    // With IF set already there is no shadow; with an interrupt waiting the interpreter casts it. Neither is frequent.
    private void EmitSti(in Instruction instruction)
    {
        _shadowed.Add((int)instruction.NextIP);
        _code.LoadSlot(RegisterMap.Check, SystemSlots.Work);
        byte* quiet = _code.JumpIfRcxZero();
        byte* leave = EmitLeaveToInterpreter();
        _code.Bind8(quiet);
        _code.LoadSlot(RegisterMap.Temporary, SystemSlots.FlagSystem);
        _code.Pext(RegisterMap.Check, RegisterMap.Temporary, SystemSlots.InterruptMask);
        _code.Lea(RegisterMap.Check, RegisterMap.Check, -1);
        _code.JumpIfRcxZeroTo(leave);
        _code.Lea(RegisterMap.Temporary, RegisterMap.Temporary, (int)Machine.Cpu.CpuFlags.If);
        _code.StoreSlot(SystemSlots.FlagSystem, RegisterMap.Temporary);
    }

    // RF and VM are clear: with the one instructions are stepped, with the other this is not translated.
    private void EmitPushFlags(in Instruction instruction)
    {
        AccessGroups.Access access = StackAccess.Pushed(instruction);
        _ = EmitPushCheck(access);
        _code.LeaIndexed(RegisterMap.Address, RegisterMap.Address, RegisterMap.Temporary, 0, 0);
        _code.Byte(0x9C); // pushfq
        _code.Byte(0x59); // pop rcx
        _code.Pext(RegisterMap.Check, RegisterMap.Check, SystemSlots.StatusMask);
        _code.Pdep(RegisterMap.Check, RegisterMap.Check, SystemSlots.StatusMask);
        _code.LoadSlot(RegisterMap.Temporary, SystemSlots.FlagSystem);
        _code.LeaIndexed(RegisterMap.Check, RegisterMap.Check, RegisterMap.Temporary, 0, 0);
        if (access.Size == 2)
            _code.Byte(0x66);
        _code.MemoryForm(0x89, RegisterMap.Check, RegisterMap.Address, 0, wide: access.Size == 8);
        EmitMoveStack(RegisterMap.GuestStack, -access.Size);
    }

    // What is more than a bit of RFLAGS (TF, a change of AC, an interrupt that waits for IF) goes to the interpreter.
    private void EmitPopFlags(in Instruction instruction)
    {
        const HostRegister Value = RegisterMap.Address;
        AccessGroups.Access access = StackAccess.Popped(instruction);
        HostOperand operand = EmitStackOperand(access);
        _code.LoadSized(Value, operand, access.Size);
        _code.LoadSlot(RegisterMap.Temporary, SystemSlots.FlagSystem);
        if (access.Size == 2)
        {
            _code.Pext(RegisterMap.Check, RegisterMap.Temporary, SegmentSlots.IdentificationMask);
            _code.Pdep(RegisterMap.Check, RegisterMap.Check, SegmentSlots.IdentificationMask);
            _code.LeaIndexed(Value, Value, RegisterMap.Check, 0, 0);
        }

        _code.Pext(RegisterMap.Check, RegisterMap.Temporary, IsUser ? SystemSlots.UnusualUser : SystemSlots.UnusualKernel);
        byte* usual = _code.JumpIfRcxZero();
        byte* leave = EmitLeaveToInterpreter();
        _code.Bind8(usual);
        _code.Pext(RegisterMap.Check, Value, SystemSlots.UnusualPopped);
        byte* plain = _code.JumpIfRcxZero();
        _code.JumpTo(leave);
        _code.Bind8(plain);
        int kept = 2;
        if (IsUser)
        {
            _code.Pext(RegisterMap.Check, RegisterMap.Temporary, SystemSlots.InterruptMask);
            _code.Pdep(RegisterMap.Check, RegisterMap.Check, SystemSlots.InterruptMask);
            _code.Pext(RegisterMap.Temporary, Value, SystemSlots.UserFlags);
            _code.Pdep(RegisterMap.Temporary, RegisterMap.Temporary, SystemSlots.UserFlags);
            _code.LeaIndexed(RegisterMap.Temporary, RegisterMap.Temporary, RegisterMap.Check, 0, kept);
        }
        else
        {
            _code.Pext(RegisterMap.Check, Value, SystemSlots.InterruptMask);
            byte* disabled = _code.JumpIfRcxZero();
            _code.LoadSlot(RegisterMap.Check, SystemSlots.Work);
            byte* quiet = _code.JumpIfRcxZero();
            _code.JumpTo(leave);
            _code.Bind8(disabled);
            _code.Bind8(quiet);
            _code.Pext(RegisterMap.Temporary, Value, SystemSlots.KernelFlags);
            _code.Pdep(RegisterMap.Temporary, RegisterMap.Temporary, SystemSlots.KernelFlags);
            _code.Lea(RegisterMap.Temporary, RegisterMap.Temporary, kept);
        }

        _code.StoreSlot(SystemSlots.FlagSystem, RegisterMap.Temporary);
        EmitMoveStack(RegisterMap.GuestStack, access.Size);
        StatusFlags.EmitLoad(ref _code);
    }

    private void EmitReadTsc(in Instruction instruction)
    {
        const HostRegister Ticks = RegisterMap.Temporary;
        _code.LoadSlot(RegisterMap.Check, SystemSlots.TscScale);
        byte* known = _code.JumpIfRcxZero();
        byte* isKnown = _code.JumpShort();
        _code.Bind8(known);
        byte* leave = EmitLeaveToInterpreter();
        _code.Bind8(isKnown);
        if (IsUser)
        {
            _code.LoadSlot(RegisterMap.Check, SystemSlots.Cr4);
            _code.Pext(RegisterMap.Check, RegisterMap.Check, SystemSlots.TsdMask);
            byte* allowed = _code.JumpIfRcxZero();
            _code.JumpTo(leave);
            _code.Bind8(allowed);
        }

        _code.Byte(0x0F);
        if (instruction.Mnemonic == Mnemonic.Rdtscp)
        {
            // It waits for what comes before; the host's own IA32_TSC_AUX goes to RCX.
            _code.Byte(0x01);
            _code.Byte(0xF9);
        }
        else
        {
            _code.Byte(0x31);
        }

        _code.Rorx(HostRegister.Rdx, HostRegister.Rdx, 32);
        _code.LeaIndexed(HostRegister.Rdx, HostRegister.Rdx, HostRegister.Rax, 0, 0);
        _code.LoadSlot(Ticks, SystemSlots.TscNegatedBase);
        _code.LeaIndexed(HostRegister.Rdx, HostRegister.Rdx, Ticks, 0, 0);
        _code.Mulx(Ticks, RegisterMap.Check, SystemSlots.TscScale);
        _code.LoadSlot(RegisterMap.Check, SystemSlots.TscBias);
        _code.LeaIndexed(Ticks, Ticks, RegisterMap.Check, 0, 0);
        _code.LoadSlot(RegisterMap.Check, SystemSlots.TscOffset);
        _code.LeaIndexed(Ticks, Ticks, RegisterMap.Check, 0, 0);
        _code.Move32(HostRegister.Rax, Ticks);
        _code.Rorx(HostRegister.Rdx, Ticks, 32);
        _code.Move32(HostRegister.Rdx, HostRegister.Rdx);
        if (instruction.Mnemonic != Mnemonic.Rdtscp)
            return;
        _code.LoadSlot32(RegisterMap.Check, SystemSlots.TscAux);
        StoreTo(1, RegisterMap.Check);
    }

    private void EmitReadBase(in Instruction instruction)
    {
        int slot = instruction.Mnemonic == Mnemonic.Rdfsbase ? StateLayout.FsBase : StateLayout.GsBase;
        EmitFsGsBaseCheck();
        if (instruction.Op0Register.IsGPR64())
            _code.LoadSlot(RegisterMap.Temporary, slot);
        else
            _code.LoadSlot32(RegisterMap.Temporary, slot);
        StoreTo(Number(instruction.Op0Register), RegisterMap.Temporary);
    }

    private void EmitWriteBase(in Instruction instruction)
    {
        int slot = instruction.Mnemonic == Mnemonic.Wrfsbase ? StateLayout.FsBase : StateLayout.GsBase;
        byte* leave = EmitFsGsBaseCheck();
        HostRegister value = Reach(Number(instruction.Op0Register), RegisterMap.Address);
        if (instruction.Op0Register.IsGPR64())
        {
            _code.LoadSlot(RegisterMap.Temporary, SystemSlots.HalfSpace);
            _code.LeaIndexed(RegisterMap.Check, value, RegisterMap.Temporary, 0, 0);
            _code.Pext(RegisterMap.Check, RegisterMap.Check, SystemSlots.BeyondCanonical);
            byte* canonical = _code.JumpIfRcxZero();
            _code.JumpTo(leave);
            _code.Bind8(canonical);
        }
        else
        {
            _code.Move32(RegisterMap.Address, value);
            value = RegisterMap.Address;
        }

        _code.StoreSlot(slot, value);
    }

    // Without CR4.FSGSBASE they are undefined.
    private byte* EmitFsGsBaseCheck()
    {
        _code.LoadSlot(RegisterMap.Check, SystemSlots.Cr4);
        _code.Pext(RegisterMap.Check, RegisterMap.Check, SystemSlots.FsGsBaseMask);
        _code.Lea(RegisterMap.Check, RegisterMap.Check, -1);
        byte* enabled = _code.JumpIfRcxZero();
        byte* leave = EmitLeaveToInterpreter();
        _code.Bind8(enabled);
        return leave;
    }

    /// <summary>Goes to a stub that executes the current instruction, or has it interpreted.</summary>
    private void EmitStub(byte* stub)
    {
        EmitExitNumber(Interpreted);
        _code.JumpTo(stub);
    }

    /// <summary>Has the current instruction interpreted; returns where the jump is, for other checks of the instruction.</summary>
    private byte* EmitLeaveToInterpreter()
    {
        byte* jump = _code.Jump();
        _cold.Add(new ColdExit((nint)jump, Interpreted, false));
        return jump - 1;
    }

    /// <summary>The exit that has the current instruction interpreted.</summary>
    private ExitRecord Interpreted => new() { Kind = ExitKind.Interpret, PageOffset = _pageOffset, NotRetired = Remaining };
}
