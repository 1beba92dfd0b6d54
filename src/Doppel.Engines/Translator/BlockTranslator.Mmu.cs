using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// Memory management: what happens on a TLB miss, the instructions that change address spaces, which are translated for CPL 0
/// only, and those that move blocks of memory.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    private static bool IsLoadCr3(in Instruction instruction) => instruction.Code == Code.Mov_cr_r64 && instruction.Op0Register == Register.CR3;

    private static bool IsMmu(in Instruction instruction) => IsRepeated(instruction) || IsLoadCr3(instruction) || instruction.Code switch
    {
        Code.Mov_r64_cr or Code.Mov_r32_cr => instruction.Op1Register is Register.CR0 or Register.CR2 or Register.CR3 or Register.CR4,
        Code.Invlpg_m or Code.Stac or Code.Clac => true,
        _ => false,
    };

    private static bool IsRepeated(in Instruction instruction) =>
        instruction.HasRepPrefix && !instruction.HasRepnePrefix && instruction.SegmentPrefix is not (Register.FS or Register.GS) &&
        instruction.Op0Kind is OpKind.MemoryESRDI or OpKind.MemoryESEDI && instruction.Code is
            Code.Movsb_m8_m8 or Code.Movsw_m16_m16 or Code.Movsd_m32_m32 or Code.Movsq_m64_m64 or
            Code.Stosb_m8_AL or Code.Stosw_m16_AX or Code.Stosd_m32_EAX or Code.Stosq_m64_RAX;

    private bool CanTranslateMmu(in Instruction instruction)
    {
        if (IsRepeated(instruction))
            return Is64 ? instruction.Op0Kind == OpKind.MemoryESRDI : IsFlat32 && instruction.Op0Kind == OpKind.MemoryESEDI && instruction.SegmentPrefix != Register.CS;
        if (!IsMmu(instruction) || IsUser || instruction.HasRepPrefix || instruction.HasRepnePrefix || instruction.HasLockPrefix)
            return false;
        if (Is64)
            return !Uses32BitAddress(instruction);
        return instruction.Code == Code.Mov_r32_cr || (IsFlat32 && (instruction.Mnemonic != Mnemonic.Invlpg || IsKnownFlat(instruction.MemorySegment)));
    }

    /// <summary>Emits such an instruction; false when control never goes on to the next.</summary>
    private bool EmitMmu(in Instruction instruction)
    {
        if (IsRepeated(instruction))
        {
            int shift = instruction.Code switch
            {
                Code.Movsb_m8_m8 or Code.Stosb_m8_AL => 0,
                Code.Movsw_m16_m16 or Code.Stosw_m16_AX => 1,
                Code.Movsd_m32_m32 or Code.Stosd_m32_EAX => 2,
                _ => 3,
            };
            bool moves = instruction.Mnemonic is Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq;
            if (!Is64)
                EmitRepeatReach(shift, moves);
            EmitStubCall(moves ? _stubs.Repeat.Move(shift) : _stubs.Repeat.Store(shift));
            return true;
        }

        switch (instruction.Mnemonic)
        {
            case Mnemonic.Invlpg:
                EmitAddress(instruction, 1, isWrite: false);
                EmitStubCall(_stubs.InvalidatePage);
                return true;
            case Mnemonic.Stac:
                EmitAlignmentFlag((int)CpuFlags.Ac);
                _code.LoadSlot(RegisterMap.Temporary, StateLayout.TlbModes + (8 * (int)TlbMode.Supervisor));
                _code.StoreSlot(StateLayout.Tlb, RegisterMap.Temporary);
                return true;
            case Mnemonic.Clac:
                EmitAlignmentFlag(0);
                _code.LoadSlot(RegisterMap.Temporary, StateLayout.KernelMode);
                _code.LoadSlotIndexed(RegisterMap.Temporary, RegisterMap.Temporary, StateLayout.TlbModes);
                _code.StoreSlot(StateLayout.Tlb, RegisterMap.Temporary);
                return true;
        }

        if (!IsLoadCr3(instruction))
        {
            int slot = instruction.Op1Register switch
            {
                Register.CR0 => StateLayout.Cr0,
                Register.CR2 => StateLayout.Cr2,
                Register.CR3 => StateLayout.Cr3,
                _ => SystemSlots.Cr4,
            };
            if (Is64)
                _code.LoadSlot(RegisterMap.Temporary, slot);
            else
                _code.LoadSlot32(RegisterMap.Temporary, slot);
            StoreTo(Number(instruction.Op0Register), RegisterMap.Temporary);
            return true;
        }

        _code.Move(RegisterMap.Address, Reach(Number(instruction.Op1Register), RegisterMap.Address));
        EmitStubCall(_stubs.LoadCr3);
        // The next instruction may be another one now.
        _code.LoadSlot(RegisterMap.Address, StateLayout.CodePage);
        _code.Lea(RegisterMap.Address, RegisterMap.Address, (int)instruction.NextIP);
        EmitLookup();
        return false;
    }

    private void EmitAlignmentFlag(int value)
    {
        _code.LoadSlot(RegisterMap.Temporary, SystemSlots.FlagSystem);
        _code.Pext(RegisterMap.Temporary, RegisterMap.Temporary, StateLayout.AllButAlignment);
        _code.Pdep(RegisterMap.Temporary, RegisterMap.Temporary, StateLayout.AllButAlignment);
        if (value != 0)
            _code.Lea(RegisterMap.Temporary, RegisterMap.Temporary, value);
        _code.StoreSlot(SystemSlots.FlagSystem, RegisterMap.Temporary);
    }

    /// <summary>A stub that comes back behind this, or has the current instruction interpreted.</summary>
    private void EmitStubCall(byte* stub)
    {
        EmitExitNumber(Interpreted);
        _code.LeaCode(RegisterMap.Temporary, _code.Position + 12);
        _code.JumpTo(stub);
    }

    /// <summary>A check of the TLB that failed: refill and try again, or leave. A single write may pass where it hits no code.</summary>
    private void EmitMiss(in ColdExit exit)
    {
        ExitRecord record = exit.Record with { CheckBytes = (int)(exit.PatchSite + sizeof(int) - exit.Check) };
        _code.MoveImmediate(RegisterMap.Check, (ulong)NumberOf(record.IsGrouped ? exit.Record : record));
        _code.LeaCode(RegisterMap.Temporary, (byte*)exit.Check);
        // Only the fetch of an instruction's second page is no data access.
        _code.JumpTo(record.Kind == ExitKind.Interpret ? _stubs.RefillExecute : !record.IsWrite ? _stubs.RefillRead : record.IsGrouped || record.Size > WriteBesideCodeStub.LongestWrite ? _stubs.RefillWrite : _stubs.WriteBesideCode);
    }
}
