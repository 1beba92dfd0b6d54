using System.Runtime.CompilerServices;
using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// Translates a straight run of guest instructions inside one page, of any mode, to 64-bit host code. The run goes on past conditional
/// branches that fall through. What is not translated ends the block with an exit that has it interpreted.
/// </summary>
/// <remarks>
/// While translated code runs, guest registers are where <see cref="RegisterMap"/> says and guest status flags are the
/// host's. Everything emitted between guest instructions leaves flags alone.
/// </remarks>
internal sealed unsafe partial class BlockTranslator
{
    /// <summary>Most guest instructions in a block.</summary>
    internal const int MaximumInstructions = 64;

    private const int LongestInstruction = 15;

    /// <summary>Room that a block may need in the code cache.</summary>
    internal const int MaximumBytes = 16 << 10;

    private readonly ExitTable _exits;
    private readonly List<ColdExit> _cold = [];
    private readonly InstructionInfoFactory _info = new();
    private readonly PageReader _reader = new();
    private readonly Decoder _decoder;
    private readonly Decoder _decoder32;
    private readonly Decoder _decoder16;
    private readonly nint _toExecutable;
    private readonly Stubs _stubs;
    private readonly Func<Instruction, bool> _isOffered;
    private readonly bool _isCounted;
    private Emitter _code;
    private byte* _instructionStart;
    private int _position;
    private int _count;
    private int _pageOffset;
    private bool _endsBeforeCrossing;

    /// <summary>Creates the translator of one cache.</summary>
    /// <param name="exits">Where exits are numbered.</param>
    /// <param name="toExecutable">Distance from the writable to the executable mapping.</param>
    /// <param name="stubs">The code that all blocks share.</param>
    /// <param name="options">How the guest's CPU model decodes.</param>
    /// <param name="isOffered">Whether an instruction may be translated: the guest's CPU model has it, for one.</param>
    /// <param name="isCounted">Blocks end where an instruction budget does.</param>
    internal BlockTranslator(ExitTable exits, nint toExecutable, Stubs stubs, DecoderOptions options, Func<Instruction, bool> isOffered, bool isCounted)
    {
        _isCounted = isCounted;
        _exits = exits;
        _toExecutable = toExecutable;
        _stubs = stubs;
        _isOffered = isOffered;
        _decoder = Decoder.Create(64, _reader, options);
        _decoder32 = Decoder.Create(32, _reader, options);
        _decoder16 = Decoder.Create(16, _reader, options);
    }

    /// <summary>Most instructions in a block, 1 to <see cref="MaximumInstructions"/>.</summary>
    internal int BlockLimit { get; set; } = MaximumInstructions;

    /// <summary>An exit whose code comes after the block.</summary>
    private readonly record struct ColdExit(nint PatchSite, ExitRecord Record, bool StoresAddress, nint Check = 0);

    /// <summary>
    /// Translates the block at an offset. Returns the number of guest instructions that were translated; with 0 the block
    /// only leaves to have its instruction interpreted.
    /// </summary>
    internal int Translate(byte* page, int offset, TranslationVariant variant, ref Emitter code, out int end)
    {
        _variant = variant;
        Span<Instruction> instructions = stackalloc Instruction[MaximumInstructions];
        _count = Decode(page, offset, instructions, out end);
        _code = code;
        _cold.Clear();
        if (_count == 0)
        {
            end = offset + 1;
            EmitFarEntry(ref _code, offset);
            EmitExit(new ExitRecord { Kind = ExitKind.Interpret, PageOffset = offset });
            code = _code;
            return 0;
        }

        FindLoops(instructions[.._count]);
        FindGroups(instructions[.._count]);
        EmitHead(offset, end);
        bool open = true;
        for (_position = 0; _position < _count; _position++)
        {
            ref readonly Instruction instruction = ref instructions[_position];
            _pageOffset = (int)instruction.IP;
            BindLoopHead();
            _instructionStart = _code.Position;
            int loaded = _loadedGroup;
            open = EmitInstruction(instruction, page + _pageOffset);
            // Only an access of the same group is known to have left the temporary register alone.
            if (_loadedGroup == loaded && _groups.Of(_position) != loaded)
                _loadedGroup = -1;
        }

        if (open)
        {
            _pageOffset = end;
            EmitLeave(end);
        }

        EmitColdBranches();
        foreach (GroupExit exit in _coldGroups)
            EmitColdGroup(exit);
        foreach (ColdExit exit in _cold)
            EmitCold(exit);
        code = _code;
        return _count;
    }

    /// <summary>Whether an instruction at an address might end in the next page.</summary>
    internal static bool MayCross(ulong address) => (address & 0xFFF) > 4096 - LongestInstruction;

    /// <summary>Whether the instruction at an offset does not end in the page.</summary>
    internal bool CrossesPage(byte* page, int offset, TranslationVariant variant)
    {
        _variant = variant;
        _reader.Set(page + offset, 4096 - offset);
        Decoder decoder = CodeDecoder;
        decoder.IP = (ulong)offset;
        decoder.Decode(out _);
        return decoder.LastError == DecoderError.NoMoreBytes;
    }

    /// <summary>Translates one instruction that ends in the next page; returns its length, or 0 when it must be interpreted.</summary>
    internal int TranslateCrossing(byte* page, int offset, byte* nextPage, TranslationVariant variant, ref Emitter code)
    {
        byte* bytes = stackalloc byte[2 * LongestInstruction];
        int first = 4096 - offset;
        Unsafe.CopyBlockUnaligned(bytes, page + offset, (uint)first);
        Unsafe.CopyBlockUnaligned(bytes + first, nextPage, LongestInstruction);
        _reader.Set(bytes, first + LongestInstruction);
        _variant = variant | TranslationVariant.Ungrouped;
        Decoder decoder = CodeDecoder;
        decoder.IP = (ulong)offset;
        decoder.Decode(out Instruction instruction);
        // Where the next page is, segments decide.
        if (IsSegmented || !IsTranslated(instruction) || instruction.Mnemonic == Mnemonic.Sti)
            return 0;
        _code = code;
        _cold.Clear();
        _shadowed.Clear();
        _count = 1;
        _position = 0;
        _pageOffset = offset;
        ForgetLoops();
        FindGroups(new ReadOnlySpan<Instruction>(in instruction));
        EmitHead(offset, offset + instruction.Length);
        EmitPageCheck(nextPage);
        _instructionStart = _code.Position;
        if (EmitInstruction(instruction, bytes))
            EmitBranch(offset + instruction.Length, Is64 ? 8 : 4);
        EmitColdBranches();
        foreach (ColdExit exit in _cold)
            EmitCold(exit);
        code = _code;
        return instruction.Length;
    }

    /// <summary>
    /// Has the instruction interpreted unless the next page of the address space is a given one. A kernel's data often lies so far from
    /// its code that the page's TLB entry is lost to it each time: then it is filled again.
    /// </summary>
    private void EmitPageCheck(byte* nextPage)
    {
        _code.LoadSlot(RegisterMap.Address, StateLayout.CodePage);
        _code.LeaLong(RegisterMap.Address, RegisterMap.Address, 4096);
        byte* start = _code.Position;
        byte* unmapped = EmitTlbLookup(RegisterMap.Address, 1, TlbLayout.ExecuteTag);
        _cold.Add(new ColdExit((nint)unmapped, Interpreted, true, (nint)start));
        _code.LeaIndexed(RegisterMap.Temporary, RegisterMap.Temporary, RegisterMap.Address, 0, 0);
        _code.MoveImmediate(RegisterMap.Check, 0 - (ulong)nextPage);
        _code.LeaIndexed(RegisterMap.Check, RegisterMap.Check, RegisterMap.Temporary, 0, 0);
        byte* isSame = _code.JumpIfRcxZero();
        _ = EmitLeaveToInterpreter();
        _code.Bind8(isSame);
    }

    private bool IsTranslated(in Instruction instruction) =>
        !instruction.IsInvalid && _isOffered(instruction) &&
        (CanTranslate(instruction, (_variant & TranslationVariant.TrappedVectors) == 0) || CanTranslateSystem(instruction) || CanTranslateMmu(instruction));

    /// <summary>Decodes as far as instructions can be translated.</summary>
    private int Decode(byte* page, int offset, Span<Instruction> instructions, out int end)
    {
        _reader.Set(page + offset, 4096 - offset);
        int count = 0;
        end = offset;
        Decoder decoder = CodeDecoder;
        while (count < BlockLimit && end < 4096)
        {
            decoder.IP = (ulong)end;
            decoder.Decode(out Instruction instruction);
            _endsBeforeCrossing = decoder.LastError == DecoderError.NoMoreBytes;
            if (!IsTranslated(instruction))
                break;
            instructions[count++] = instruction;
            end += instruction.Length;
            if (instruction.FlowControl is not (FlowControl.Next or FlowControl.ConditionalBranch) || IsLoadCr3(instruction))
                break;
        }

        DropLastSti(instructions, ref count, ref end);
        return count;
    }

    /// <summary>Bytes before a block's head: the way in from other pages.</summary>
    internal static int FarEntryBytes()
    {
        byte* buffer = stackalloc byte[64];
        var code = new Emitter(buffer, buffer + 64);
        EmitFarEntry(ref code, 0);
        return (int)(code.Position - buffer);
    }

    /// <summary>The way in from other pages, with the linear address in <see cref="StateLayout.ExitAddress"/>; of one length.</summary>
    private static void EmitFarEntry(ref Emitter code, int offset)
    {
        code.LoadSlot(RegisterMap.Address, StateLayout.ExitAddress);
        code.LeaLong(RegisterMap.Address, RegisterMap.Address, -offset);
        code.StoreSlot(StateLayout.CodePage, RegisterMap.Address);
    }

    /// <summary>Leaves with RIP at an offset of the page when an event is pending. Changes no flags.</summary>
    private void EmitEventCheck(int offset)
    {
        _code.LoadSlot32(RegisterMap.Check, StateLayout.PendingEvents);
        byte* quiet = _code.JumpIfRcxZero();
        EmitEventExit(offset);
        _code.Bind8(quiet);
    }

    private void EmitEventExit(int offset)
    {
        byte* busy = _code.Jump();
        _cold.Add(new ColdExit((nint)busy, new ExitRecord { Kind = ExitKind.Event, PageOffset = offset }, false));
    }

    /// <summary>
    /// Counts the block's instructions; touches no flags. Events are looked at where a branch goes back or looks up where it
    /// leads: no guest can run on without either. With a budget they are looked at before each block, so that
    /// every engine sees them at the same instruction.
    /// </summary>
    private void EmitHead(int offset, int end)
    {
        EmitFarEntry(ref _code, offset);
        if (IsSegmented)
            EmitHeadReach(offset, end);
        if (_isCounted)
        {
            EmitEventCheck(offset);
            EmitBudgetCheck(offset);
        }

        EmitRetire(_count);
    }

    private void EmitRetire(int instructions)
    {
        _code.LoadSlot(RegisterMap.Check, StateLayout.InstructionsRetired);
        _code.Lea(RegisterMap.Check, RegisterMap.Check, instructions);
        _code.StoreSlot(StateLayout.InstructionsRetired, RegisterMap.Check);
    }

    /// <summary>Leaves before a block that is longer than the rest of the budget. Changes no flags.</summary>
    private void EmitBudgetCheck(int offset)
    {
        // retired + count - limit - 1 is negative while the block fits.
        _code.LoadSlot(RegisterMap.Check, StateLayout.InstructionsRetired);
        _code.LoadSlot(RegisterMap.Temporary, StateLayout.NegatedLimit);
        _code.LeaIndexed(RegisterMap.Check, RegisterMap.Check, RegisterMap.Temporary, 0, _count);
        _code.Not(RegisterMap.Check);
        _code.Pext(RegisterMap.Check, RegisterMap.Check, StateLayout.SignMask);
        byte* fits = _code.JumpIfRcxZero();
        byte* leave = _code.Jump();
        _cold.Add(new ColdExit((nint)leave, new ExitRecord { Kind = ExitKind.Event, PageOffset = offset }, false));
        _code.Bind8(fits);
    }

    /// <summary>The block ends at the end of its page, before an instruction that crosses it, at its maximum, or before an instruction that is not translated.</summary>
    private void EmitLeave(int next)
    {
        if (next == 4096 || _count == BlockLimit || _endsBeforeCrossing)
        {
            EmitBranch(next, Is64 ? 8 : 4);
            return;
        }

        byte* jump = _code.Jump();
        _cold.Add(new ColdExit((nint)jump, new ExitRecord { Kind = ExitKind.Interpret, PageOffset = next }, false));
    }

    private void EmitCold(ColdExit exit)
    {
        Emitter.Bind32((byte*)exit.PatchSite, _code.Position);
        if (exit.Check != 0)
        {
            EmitMiss(exit);
            return;
        }

        if (exit.StoresAddress)
            _code.StoreSlot(StateLayout.ExitAddress, RegisterMap.Address);
        EmitExit(exit.Record);
    }

    private void EmitExit(in ExitRecord record)
    {
        _code.MoveImmediate(RegisterMap.Check, (ulong)NumberOf(record));
        _code.JumpTo(_stubs.NumberedExit);
    }

    /// <summary>Says by which exit the code leaves, if it does.</summary>
    private void EmitExitNumber(in ExitRecord record) => _code.StoreSlotImmediate(StateLayout.ExitId, NumberOf(record));

    private int NumberOf(in ExitRecord record)
    {
        int number = _exits.Next;
        _exits.Add(WithShadow(record));
        return number;
    }

    /// <summary>Instructions of the block from the current one on.</summary>
    private int Remaining => _count - _position;

    /// <summary>
    /// Looks the address up in the TLB: afterwards [address + temporary] is the operand. Misses leave. Uses all three
    /// scratch registers and no flags.
    /// </summary>
    private void EmitTlbCheck(int size, bool isWrite)
    {
        _loadedGroup = -1;
        byte* start = _code.Position;
        byte* miss = EmitTlbLookup(RegisterMap.Address, size, isWrite ? TlbLayout.WriteTag : TlbLayout.ReadTag);
        _cold.Add(new ColdExit((nint)miss, TlbMiss(size, isWrite), true, (nint)start));
    }

    private ExitRecord TlbMiss(int size, bool isWrite) => new()
    {
        Kind = ExitKind.TlbMiss,
        PageOffset = _pageOffset,
        NotRetired = Remaining,
        IsWrite = isWrite,
        Size = size,
        Retry = (nint)_instructionStart + _toExecutable,
    };

    /// <summary>Returns where a jump must lead that is taken on a miss.</summary>
    private byte* EmitTlbLookup(HostRegister address, int size, int tag)
    {
        const HostRegister Temporary = RegisterMap.Temporary;
        const HostRegister Check = RegisterMap.Check;
        _code.Pext(Temporary, address, StateLayout.IndexMask);
        _code.LoadSlot(Check, StateLayout.Tlb);
        _code.LeaIndexed(Temporary, Check, Temporary, 3, 0);
        _code.Load(Check, Temporary, tag);
        _code.Load(Temporary, Temporary, TlbLayout.Addend);
        _code.LeaIndexed(Check, Check, address, 0, size - 1);
        _code.Pext(Check, Check, StateLayout.PageMask);
        byte* hit = _code.JumpIfRcxZero();
        byte* miss = _code.Jump();
        _code.Bind8(hit);
        return miss;
    }

    /// <summary>Has the current instruction interpreted when the linear address is not aligned to 16 or 32 bytes: #GP comes before #PF.</summary>
    private void EmitAlignmentCheck(int size)
    {
        _code.Pext(RegisterMap.Check, RegisterMap.Address, size == 16 ? StateLayout.AlignMask : StateLayout.AlignMask32);
        byte* aligned = _code.JumpIfRcxZero();
        _ = EmitLeaveToInterpreter();
        _code.Bind8(aligned);
    }

    /// <summary>The host register of a guest register: its home, or the given one after a load.</summary>
    private HostRegister Reach(int guest, HostRegister temporary)
    {
        if (!RegisterMap.IsDisplaced(guest))
            return RegisterMap.Home(guest);
        _code.LoadSlot(temporary, StateLayout.Gpr + (8 * guest));
        return temporary;
    }

    private static int Number(Register register) => register.GetFullRegister() - Register.RAX;

    private sealed class PageReader : CodeReader
    {
        private byte* _next;
        private byte* _end;

        internal void Set(byte* start, int length)
        {
            _next = start;
            _end = start + length;
        }

        public override int ReadByte() => _next < _end ? *_next++ : -1;
    }
}
