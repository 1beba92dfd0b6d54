using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// Finds accesses of a block whose addresses differ by constants: fields of one structure, slots of one stack frame, runs
/// of PUSH and POP. The first of a group checks the whole range in the TLB; the others only add what it found. Reads and
/// writes make groups of their own, but a read after a write joins the writes: nothing is checked for writing before the
/// guest has written.
/// </summary>
internal sealed class AccessGroups
{
    /// <summary>Most groups in a block.</summary>
    internal const int Maximum = 16;

    /// <summary>Stands for the FS base where a register number is expected; one more is GS, two more the page of the code.</summary>
    internal const int FsBase = 16;

    /// <summary>The GS base.</summary>
    internal const int GsBase = 17;

    /// <summary>The page of the code, from which RIP-relative addresses count.</summary>
    internal const int CodePage = 18;

    private const int Bases = 19;
    private const int MaximumSpan = 512;
    private const int MaximumDelta = 1 << 20;
    private readonly Group[] _groups = new Group[Maximum];
    private readonly int[] _groupOf = new int[BlockTranslator.MaximumInstructions];
    private readonly int[] _version = new int[Bases];
    private readonly long[] _delta = new long[Bases];
    private int _count;
    private int _nextVersion;
    private bool _is64;

    /// <summary>One group.</summary>
    internal struct Group
    {
        /// <summary>Position in the block of the first access.</summary>
        internal int Leader;

        /// <summary>First byte of the range, relative to the leader's base.</summary>
        internal int Start;

        /// <summary>The byte behind the range.</summary>
        internal int End;

        /// <summary>Whether the range is checked for writing.</summary>
        internal bool IsWrite;

        internal int Version;
        internal long LeaderDelta;
        internal long Low;
        internal long High;
        internal int Members;
    }

    /// <summary>An access with a constant distance from a base.</summary>
    /// <param name="Base">0 to 15 for a guest register, or one of the other bases; negative for none.</param>
    /// <param name="Displacement">Added to the base.</param>
    /// <param name="Size">Bytes.</param>
    /// <param name="IsWrite">Whether it writes.</param>
    internal readonly record struct Access(int Base, int Displacement, int Size, bool IsWrite);

    /// <summary>The group of an instruction of the block, or -1.</summary>
    internal int Of(int position) => _groupOf[position];

    /// <summary>A group by its number.</summary>
    internal ref readonly Group this[int group] => ref _groups[group];

    /// <summary>No instruction is in a group.</summary>
    internal void Clear(int instructions)
    {
        _count = 0;
        Array.Fill(_groupOf, -1, 0, instructions);
    }

    /// <summary>
    /// Looks at a block of 64-bit code, or of 32-bit code in flat segments. What is called a barrier may change how addresses
    /// are translated. To a join other ways lead than from the instruction before it.
    /// </summary>
    internal void Find(ReadOnlySpan<Instruction> instructions, ReadOnlySpan<bool> isJoin, InstructionInfoFactory factory, Func<Instruction, bool> isBarrier, bool is64)
    {
        _is64 = is64;
        Clear(instructions.Length);
        Forget();
        for (int i = 0; i < instructions.Length; i++)
        {
            ref readonly Instruction instruction = ref instructions[i];
            if (isJoin[i])
                Forget();
            if (isBarrier(instruction))
            {
                Forget();
                continue;
            }

            InstructionInfo info = factory.GetInfo(instruction);
            if (TryGetAccess(instruction, info, is64, out Access access))
                Add(i, access);
            Follow(instruction, info);
        }

        for (int i = 0; i < instructions.Length; i++)
        {
            if (_groupOf[i] >= 0 && _groups[_groupOf[i]].Members < 2)
                _groupOf[i] = -1;
        }

        for (int i = 0; i < _count; i++)
        {
            ref Group group = ref _groups[i];
            group.Start = (int)(group.Low - group.LeaderDelta);
            group.End = (int)(group.High - group.LeaderDelta);
        }
    }

    /// <summary>The access of an instruction that may be a member; false for all others.</summary>
    internal static bool TryGetAccess(in Instruction instruction, InstructionInfo info, bool is64, out Access access)
    {
        access = default;
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Push when instruction.Op0Kind != OpKind.Memory:
            case Mnemonic.Call when instruction.Op0Kind is OpKind.NearBranch64 or OpKind.NearBranch32 or OpKind.NearBranch16:
                access = StackAccess.Pushed(instruction);
                return true;
            case Mnemonic.Pop when instruction.Op0Kind == OpKind.Register && instruction.Op0Register.GetFullRegister() != Register.RSP && !instruction.Op0Register.IsSegmentRegister():
            case Mnemonic.Ret:
                access = StackAccess.Popped(instruction);
                return true;
            case Mnemonic.Leave:
                access = StackAccess.Popped(instruction) with { Base = 5 };
                return true;
            case Mnemonic.Push or Mnemonic.Pop or Mnemonic.Call or Mnemonic.Jmp or Mnemonic.Lea or Mnemonic.Nop or Mnemonic.Div or Mnemonic.Idiv or
                Mnemonic.Cmpxchg8b or Mnemonic.Cmpxchg16b or Mnemonic.Shld or Mnemonic.Shrd or
                Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2 or Mnemonic.Prefetchnta or Mnemonic.Prefetchw:
                return false;
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc when instruction.Op1Kind == OpKind.Register:
                return false;
        }

        int operand = -1;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Memory)
                operand = i;
        }

        int size = instruction.MemorySize.GetSize();
        if (operand < 0 || instruction.MemoryIndex != Register.None || size is < 1 or > 32 || BaseOf(instruction, is64) is not (>= 0 and var @base))
            return false;
        bool isWrite = info.GetOpAccess(operand) is OpAccess.Write or OpAccess.CondWrite or OpAccess.ReadWrite or OpAccess.ReadCondWrite;
        access = new Access(@base, (int)instruction.MemoryDisplacement64, size, isWrite);
        return true;
    }

    private static int BaseOf(in Instruction instruction, bool is64)
    {
        Register @base = instruction.MemoryBase;
        if (!is64)
            return @base.IsGPR32() && instruction.MemorySegment is Register.DS or Register.ES or Register.SS ? Number(@base) : -1;
        bool isSegment = instruction.MemorySegment is Register.FS or Register.GS;
        if (@base == Register.None)
        {
            // An absolute address without FS or GS is a MOV of its own kind or rare.
            bool isConstant = isSegment && instruction.MemoryDisplacement64 == (ulong)(int)instruction.MemoryDisplacement64;
            return !isConstant ? -1 : instruction.MemorySegment == Register.FS ? FsBase : GsBase;
        }

        if (isSegment)
            return -1;
        return @base == Register.RIP ? CodePage : @base.IsGPR64() ? Number(@base) : -1;
    }

    private void Forget()
    {
        for (int i = 0; i < Bases; i++)
            Renew(i);
    }

    private void Renew(int @base)
    {
        _version[@base] = _nextVersion++;
        _delta[@base] = 0;
    }

    private void Add(int position, in Access access)
    {
        long low = _delta[access.Base] + access.Displacement;
        long high = low + access.Size;
        int version = _version[access.Base];
        for (int pass = 0; pass < 2; pass++)
        {
            for (int i = _count - 1; i >= 0; i--)
            {
                ref Group group = ref _groups[i];
                // A read looks for the writes first.
                if (group.Version != version || group.IsWrite != (access.IsWrite || pass == 0))
                    continue;
                if (Math.Max(group.High, high) - Math.Min(group.Low, low) > MaximumSpan)
                    continue;
                group.Low = Math.Min(group.Low, low);
                group.High = Math.Max(group.High, high);
                group.Members++;
                _groupOf[position] = i;
                return;
            }

            if (access.IsWrite)
                break;
        }

        if (_count == Maximum)
            return;
        _groups[_count] = new Group { Leader = position, IsWrite = access.IsWrite, Version = version, LeaderDelta = _delta[access.Base], Low = low, High = high, Members = 1 };
        _groupOf[position] = _count++;
    }

    /// <summary>What an instruction does to the bases.</summary>
    private void Follow(in Instruction instruction, InstructionInfo info)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Push when instruction.Op0Kind != OpKind.Memory:
            case Mnemonic.Call:
                Shift(4, 4, instruction.StackPointerIncrement);
                return;
            case Mnemonic.Pop when IsPointer(instruction.Op0Kind, instruction.Op0Register) && Number(instruction.Op0Register) != 4:
                Shift(4, 4, instruction.StackPointerIncrement);
                Renew(Number(instruction.Op0Register));
                return;
            case Mnemonic.Leave when instruction.Code is Code.Leaveq or Code.Leaved:
                Shift(4, 5, _is64 ? 8 : 4);
                Renew(5);
                return;
            case Mnemonic.Mov when IsPointer(instruction.Op0Kind, instruction.Op0Register) && IsPointer(instruction.Op1Kind, instruction.Op1Register):
                Shift(Number(instruction.Op0Register), Number(instruction.Op1Register), 0);
                return;
            case Mnemonic.Add or Mnemonic.Sub when IsPointer(instruction.Op0Kind, instruction.Op0Register) &&
                instruction.Op1Kind is OpKind.Immediate8to64 or OpKind.Immediate32to64 or OpKind.Immediate8to32 or OpKind.Immediate32:
                long value = (int)instruction.GetImmediate(1);
                Shift(Number(instruction.Op0Register), Number(instruction.Op0Register), instruction.Mnemonic == Mnemonic.Add ? value : -value);
                return;
            case Mnemonic.Inc or Mnemonic.Dec when IsPointer(instruction.Op0Kind, instruction.Op0Register):
                Shift(Number(instruction.Op0Register), Number(instruction.Op0Register), instruction.Mnemonic == Mnemonic.Inc ? 1 : -1);
                return;
            case Mnemonic.Lea when IsPointer(OpKind.Register, instruction.Op0Register) && IsPointer(OpKind.Register, instruction.MemoryBase) && instruction.MemoryIndex == Register.None:
                Shift(Number(instruction.Op0Register), Number(instruction.MemoryBase), (int)instruction.MemoryDisplacement64);
                return;
        }

        foreach (UsedRegister used in info.GetUsedRegisters())
        {
            if (used.Access is OpAccess.Write or OpAccess.CondWrite or OpAccess.ReadWrite or OpAccess.ReadCondWrite && used.Register.IsGPR())
                Renew(used.Register.GetFullRegister() - Register.RAX);
        }
    }

    private void Shift(int to, int from, long distance)
    {
        long delta = _delta[from] + distance;
        if (distance is < -MaximumDelta or > MaximumDelta || delta is < -MaximumDelta or > MaximumDelta)
        {
            Renew(to);
            return;
        }

        _version[to] = _version[from];
        _delta[to] = delta;
    }

    // A register as wide as addresses are.
    private bool IsPointer(OpKind kind, Register register) => kind == OpKind.Register && (_is64 ? register.IsGPR64() : register.IsGPR32());

    private static int Number(Register register) => register.GetFullRegister() - Register.RAX;
}
