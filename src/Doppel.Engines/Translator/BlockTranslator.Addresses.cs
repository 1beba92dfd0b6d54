using Doppel.Machine.Cpu;
using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// From the operand of an instruction to its linear address. Outside 64-bit mode an offset is cut to the address size, and
/// unless the segment is one of those that the block knows to be flat, its reach is checked and its base is added. What does
/// not fit is interpreted, which raises the fault.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    private TranslationVariant CodeMode => _variant & TranslationVariant.Mode;

    private bool Is64 => CodeMode == TranslationVariant.None;

    private bool IsFlat32 => CodeMode == TranslationVariant.Flat32;

    /// <summary>Segments have bases and limits that the block does not know.</summary>
    private bool IsSegmented => !Is64 && !IsFlat32;

    private bool Is16 => CodeMode is TranslationVariant.Segmented16 or TranslationVariant.Segmented16Stack32 or TranslationVariant.Real;

    private bool IsStack16 => CodeMode is TranslationVariant.Segmented16 or TranslationVariant.Segmented32Stack16 or TranslationVariant.Real;

    private Decoder CodeDecoder => Is64 ? _decoder : Is16 ? _decoder16 : _decoder32;

    /// <summary>Bytes of a pointer in the current mode when nothing says otherwise.</summary>
    private int NativeSize => Is64 ? 8 : Is16 ? 2 : 4;

    /// <summary>Computes the linear address of the memory operand into <see cref="RegisterMap.Address"/>.</summary>
    /// <param name="instruction">The instruction.</param>
    /// <param name="size">Bytes accessed.</param>
    /// <param name="isWrite">Whether it writes, alone or after reading.</param>
    private void EmitAddress(in Instruction instruction, int size, bool isWrite)
    {
        EmitOffset(instruction);
        EmitSegment(instruction.MemorySegment, size, isWrite);
    }

    /// <summary>Computes the offset of the memory operand in its segment into <see cref="RegisterMap.Address"/>.</summary>
    private void EmitOffset(in Instruction instruction)
    {
        const HostRegister Address = RegisterMap.Address;
        const HostRegister Temporary = RegisterMap.Temporary;
        Register @base = instruction.MemoryBase;
        Register index = instruction.MemoryIndex;
        ulong displacement = instruction.MemoryDisplacement64;
        bool wide = Is64;
        if (@base == Register.RIP)
        {
            // The decoder ran with the page offset as its address.
            _code.LoadSlot(Address, StateLayout.CodePage);
            _code.Lea(Address, Address, (int)displacement);
        }
        else if (@base == Register.None && index == Register.None)
        {
            _code.MoveImmediate(Address, displacement);
        }
        else
        {
            int scale = instruction.MemoryIndexScale switch { 2 => 1, 4 => 2, 8 => 3, _ => 0 };
            HostRegister baseRegister = @base == Register.None ? Address : Reach(Number(@base), Address);
            if (index == Register.None)
            {
                EmitLea(Address, baseRegister, (int)displacement);
            }
            else
            {
                HostRegister indexRegister = Reach(Number(index), Temporary);
                if (@base == Register.None)
                    _code.LeaScaled(Address, indexRegister, scale, (int)displacement, wide);
                else if (wide)
                    _code.LeaIndexed(Address, baseRegister, indexRegister, scale, (int)displacement);
                else
                    _code.LeaIndexed32(Address, baseRegister, indexRegister, scale, (int)displacement);
            }
        }

        if (AddressSize(instruction) == 2)
            _code.ZeroExtend16(Address, Address);
    }

    /// <summary>LEA as wide as addresses are: an offset of 32 bits has a clear upper half.</summary>
    private void EmitLea(HostRegister to, HostRegister @base, int displacement)
    {
        if (Is64)
            _code.Lea(to, @base, displacement);
        else
            _code.Lea32(to, @base, displacement);
    }

    /// <summary>Bytes of the address of a memory operand, 2, 4 or 8, that is no string's.</summary>
    private int AddressSize(in Instruction instruction)
    {
        if (Is64)
            return 8;
        if (instruction.MemoryBase != Register.None)
            return instruction.MemoryBase.GetSize();
        return instruction.MemoryIndex != Register.None ? instruction.MemoryIndex.GetSize() : instruction.MemoryDisplSize == 2 ? 2 : 4;
    }

    private static Segment SegmentOf(Register register) => (Segment)(register - Register.ES);

    /// <summary>True when offsets in a segment are linear addresses, and nothing must be checked.</summary>
    private bool IsKnownFlat(Register segment) =>
        Is64 ? segment is not (Register.FS or Register.GS) : IsFlat32 && segment is Register.DS or Register.ES or Register.SS;

    /// <summary>Makes the linear address of the offset in <see cref="RegisterMap.Address"/>; uses the scratch registers.</summary>
    private void EmitSegment(Register register, int size, bool isWrite)
    {
        if (IsFlat32 && IsKnownFlat(register))
            return;
        if (Is64)
        {
            if (IsKnownFlat(register))
                return;
            _code.LoadSlot(RegisterMap.Temporary, register == Register.FS ? StateLayout.FsBase : StateLayout.GsBase);
            _code.LeaIndexed(RegisterMap.Address, RegisterMap.Address, RegisterMap.Temporary, 0, 0);
            return;
        }

        Segment segment = SegmentOf(register);
        EmitReach(isWrite ? SegmentSlots.WriteReach(segment) : SegmentSlots.ReadReach(segment), RegisterMap.Address, size - 1);
        _code.LoadSlot(RegisterMap.Temporary, SegmentSlots.Base(segment));
        _code.LeaIndexed32(RegisterMap.Address, RegisterMap.Address, RegisterMap.Temporary, 0, 0);
    }

    /// <summary>Has the instruction interpreted when an offset is beyond a segment. Uses RCX, which may hold the offset.</summary>
    private void EmitReach(int reachSlot, HostRegister offset, int more)
    {
        HostRegister scratch = offset == RegisterMap.Check ? RegisterMap.Temporary : RegisterMap.Check;
        _code.LoadSlot(scratch, reachSlot);
        _code.LeaIndexed(scratch, scratch, offset, 0, more);
        _code.Rorx(RegisterMap.Check, scratch, 32);
        byte* inside = _code.JumpIfEcxZero();
        _ = EmitLeaveToInterpreter();
        _code.Bind8(inside);
    }

    /// <summary>
    /// At the head of a block of segmented code: leaves unless all of it lies inside CS, whose base may begin anywhere in the
    /// page. The page's own offset in CS is then negative where the segment begins.
    /// </summary>
    private void EmitHeadReach(int offset, int end)
    {
        _code.LoadSlot(RegisterMap.Temporary, SegmentSlots.CodeReach);
        _code.LoadSlot(RegisterMap.Check, StateLayout.CodePage);
        _code.LeaIndexed(RegisterMap.Check, RegisterMap.Check, RegisterMap.Temporary, 0, end - 1);
        _code.Rorx(RegisterMap.Check, RegisterMap.Check, 32);
        byte* inside = _code.JumpIfEcxZero();
        byte* leave = _code.Jump();
        _cold.Add(new ColdExit((nint)leave, new ExitRecord { Kind = ExitKind.Interpret, PageOffset = offset }, false));
        _code.Bind8(inside);
    }

    /// <summary>
    /// Of a direct branch in segmented code, before anything has changed: has it interpreted when its target is beyond CS, or
    /// when the cut to 16 bits makes of an offset in the page another one.
    /// </summary>
    private void EmitTargetReach(long target, int size)
    {
        if (!IsSegmented)
            return;
        if (size != 2)
        {
            _code.LoadSlot(RegisterMap.Check, StateLayout.CodePage);
            _code.Lea32(RegisterMap.Check, RegisterMap.Check, (int)target);
            _loadedGroup = -1;
            EmitReach(SegmentSlots.CodeReach, RegisterMap.Check, 0);
            return;
        }

        if (target is < 0 or >= 4096)
            return;
        _code.LoadSlot(RegisterMap.Check, StateLayout.CodePage);
        _code.Lea(RegisterMap.Check, RegisterMap.Check, (int)target);
        _code.Pext(RegisterMap.Check, RegisterMap.Check, SegmentSlots.AllButLow16);
        byte* isSame = _code.JumpIfRcxZero();
        _ = EmitLeaveToInterpreter();
        _code.Bind8(isSame);
    }
}
