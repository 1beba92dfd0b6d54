using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>Memory operands: each checked in the TLB on its own, or a whole group at once (<see cref="AccessGroups"/>).</summary>
internal sealed unsafe partial class BlockTranslator
{
    private readonly AccessGroups _groups = new();
    private readonly List<GroupExit> _coldGroups = [];

    // The group whose distance is still in the temporary register.
    private int _loadedGroup;

    /// <summary>A group's check that failed.</summary>
    private readonly record struct GroupExit(nint PatchSite, nint Start, int Group, AccessGroups.Access Access, ExitRecord Miss);

    private void FindGroups(ReadOnlySpan<Instruction> instructions)
    {
        _coldGroups.Clear();
        _loadedGroup = -1;
        if ((_variant & TranslationVariant.Ungrouped) != 0 || IsSegmented)
            _groups.Clear(instructions.Length);
        else
            _groups.Find(instructions, _isLoopHead, _info, static i => ChangesTranslation(i), Is64);
    }

    private static bool ChangesTranslation(in Instruction instruction) => instruction.Mnemonic is not (Mnemonic.Cli or Mnemonic.Sti) &&
        (instruction.IsPrivileged || instruction.Mnemonic is Mnemonic.Stac or Mnemonic.Clac or Mnemonic.Swapgs or Mnemonic.Wrfsbase or Mnemonic.Wrgsbase);

    /// <summary>Makes the memory operand of an instruction reachable; misses leave. Uses the scratch registers and no flags.</summary>
    private HostOperand EmitOperand(in Instruction instruction, int size, bool isWrite, bool isAligned)
    {
        int group = _groups.Of(_position);
        if (group < 0)
        {
            EmitAddress(instruction, size, isWrite);
            if (isAligned)
                EmitAlignmentCheck(size);
            EmitTlbCheck(size, isWrite);
            return HostOperand.Checked;
        }

        if (isAligned)
        {
            _loadedGroup = -1;
            EmitAddress(instruction, size, isWrite);
            EmitAlignmentCheck(size);
        }

        _ = AccessGroups.TryGetAccess(instruction, _info.GetInfo(instruction), Is64, out AccessGroups.Access access);
        return EmitGrouped(group, access);
    }

    /// <summary>The same for an operand on the stack, at a distance from RSP or RBP.</summary>
    private HostOperand EmitStackOperand(in AccessGroups.Access access)
    {
        int group = _groups.Of(_position);
        if (group >= 0)
            return EmitGrouped(group, access);
        EmitLea(RegisterMap.Address, RegisterMap.Home(access.Base), access.Displacement);
        if (IsStack16)
            _code.ZeroExtend16(RegisterMap.Address, RegisterMap.Address);
        EmitSegment(Register.SS, access.Size, access.IsWrite);
        EmitTlbCheck(access.Size, access.IsWrite);
        return HostOperand.Checked;
    }

    private HostOperand EmitGrouped(int number, in AccessGroups.Access access)
    {
        ref readonly AccessGroups.Group group = ref _groups[number];
        if (group.Leader == _position)
        {
            byte* start = _code.Position;
            HostRegister address = ReachBase(access.Base);
            if (group.Start != 0 || !Is64)
            {
                EmitLea(RegisterMap.Address, address, group.Start);
                address = RegisterMap.Address;
            }

            byte* miss = EmitTlbLookup(address, group.End - group.Start, group.IsWrite ? TlbLayout.WriteTag : TlbLayout.ReadTag);
            _coldGroups.Add(new GroupExit((nint)miss, (nint)start, number, access, TlbMiss(access.Size, access.IsWrite) with { IsGrouped = true }));
            _code.StoreSlot(StateLayout.Group(number), RegisterMap.Temporary);
        }
        else if (_loadedGroup != number)
        {
            _code.LoadSlot(RegisterMap.Temporary, StateLayout.Group(number));
        }

        _loadedGroup = number;
        if (Is64)
            return new HostOperand(ReachBase(access.Base), RegisterMap.Temporary, access.Displacement);

        // The sum is one of 32 bits.
        _code.Lea32(RegisterMap.Address, ReachBase(access.Base), access.Displacement);
        return HostOperand.Checked;
    }

    private HostRegister ReachBase(int number)
    {
        if (number < AccessGroups.FsBase)
            return Reach(number, RegisterMap.Address);
        int slot = number switch
        {
            AccessGroups.FsBase => StateLayout.FsBase,
            AccessGroups.GsBase => StateLayout.GsBase,
            _ => StateLayout.CodePage,
        };
        _code.LoadSlot(RegisterMap.Address, slot);
        return RegisterMap.Address;
    }

    // A range that crosses a page is left to code in which every access is checked alone. Otherwise the leader's own
    // address missed: that it lies in the same page makes the range hit when the entry was filled.
    private void EmitColdGroup(in GroupExit exit)
    {
        ref readonly AccessGroups.Group group = ref _groups[exit.Group];
        Emitter.Bind32((byte*)exit.PatchSite, _code.Position);
        HostRegister @base = ReachBase(exit.Access.Base);
        EmitLea(RegisterMap.Temporary, @base, group.End - 1);
        EmitLea(RegisterMap.Address, @base, group.Start);
        _code.Pext(RegisterMap.Temporary, RegisterMap.Temporary, StateLayout.PageMask);
        _code.Pext(RegisterMap.Check, RegisterMap.Address, StateLayout.PageMask);
        _code.Not(RegisterMap.Check);
        _code.LeaIndexed(RegisterMap.Check, RegisterMap.Check, RegisterMap.Temporary, 0, 1);
        byte* isOnePage = _code.JumpIfRcxZero();
        if (_shadowed.Contains(exit.Miss.PageOffset))
        {
            // A branch would let events in, which STI still holds off.
            EmitExit(exit.Miss with { Kind = ExitKind.Interpret });
        }
        else
        {
            EmitRetire(-exit.Miss.NotRetired);
            byte* jump = _code.JumpPatchable();
            Emitter.Bind32(jump, _code.Position);
            EmitExit(new ExitRecord { Kind = ExitKind.Branch, PageOffset = exit.Miss.PageOffset, PatchSite = (nint)jump, IsUngrouped = true });
        }

        _code.Bind8(isOnePage);
        EmitLea(RegisterMap.Address, ReachBase(exit.Access.Base), exit.Access.Displacement);
        EmitMiss(new ColdExit(exit.PatchSite, exit.Miss, true, exit.Start));
    }
}
