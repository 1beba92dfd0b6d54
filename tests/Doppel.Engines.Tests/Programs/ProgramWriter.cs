using Doppel.Machine.Cpu;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Programs;

/// <summary>
/// Writes random programs for 64-bit user mode that end by themselves: loops and nested loops, branches forward, direct,
/// indirect and through tables, calls, stack work, memory accesses of all kinds that sometimes fault, divisions, string
/// instructions, and stores into the program's own code. A branch leads only to where everything is prepared.
/// </summary>
/// <param name="random">Decides everything.</param>
/// <param name="undefinedFlagsAgree">True where the interpreter leaves undefined flags as this host does.</param>
internal sealed partial class ProgramWriter(Random random, bool undefinedFlagsAgree)
{
    private const int MostInstructions = 900;
    private const int TableSlots = 4;
    private const ulong VectorArea = ProgramLayout.Control + 0x800;
    private const ulong TableArea = ProgramLayout.Control + 0x400;
    private readonly Assembler _a = new(64);
    private readonly List<Patch> _patches = [];
    private readonly List<Site> _sites = [];
    private readonly List<Label> _table = [];
    private readonly List<(Label Label, long Cost)> _functions = [];
    private long _executed;
    private long _limit;
    private int _counters;

    private enum SiteKind
    {
        /// <summary>The last four bytes are an immediate.</summary>
        Immediate,

        /// <summary>A conditional branch forward.</summary>
        Condition,

        /// <summary>INC or DEC of a register.</summary>
        IncrementOrDecrement,
    }

    // An instruction that may be overwritten, by its index.
    private readonly record struct Site(SiteKind Kind, int Instruction);

    // A store to code, by its index; its target is chosen when all code is known.
    private readonly record struct Patch(SiteKind Kind, int Instruction, bool Next);

    /// <summary>Writes one program.</summary>
    /// <param name="instructions">Instructions that it may execute, roughly.</param>
    internal TestProgram Write(long instructions)
    {
        _limit = instructions;
        int functions = random.Next(1, 5);
        for (int i = 0; i < functions; i++)
            AddFunction();
        while (_table.Count < TableSlots)
            _table.Add(_functions[random.Next(_functions.Count)].Label);
        Label entry = _a.CreateLabel("entry");
        _a.Label(ref entry);
        for (int i = 0; i < 16; i++)
            _a.movdqu(Register128(i), __xmmword_ptr[VectorArea + (ulong)(16 * i)]);
        int main = _a.Instructions.Count;
        while (_a.Instructions.Count < main + 40 || (random.Next(5) != 0 && CanGrow(1)))
            AddStatement(0, 1);
        for (int i = 0; i < 16; i++)
            _a.movdqu(__xmmword_ptr[VectorArea + (ulong)(16 * i)], Register128(i));
        int end = _a.Instructions.Count;
        _a.hlt();
        return Finish(entry, end);
    }

    private TestProgram Finish(Label entry, int end)
    {
        using var stream = new MemoryStream();
        AssemblerResult result = _a.Assemble(new StreamCodeWriter(stream), ProgramLayout.Code, BlockEncoderOptions.ReturnNewInstructionOffsets);
        byte[] code = stream.ToArray();
        Assert.True(code.Length <= ProgramLayout.CodeSize, $"{code.Length} bytes of code");
        uint[] offsets = result.Result[0].NewInstructionOffsets;
        byte[] lengths = new byte[ProgramLayout.CodeSize];
        for (int i = 0; i < offsets.Length; i++)
            lengths[offsets[i]] = (byte)((i + 1 < offsets.Length ? (int)offsets[i + 1] : code.Length) - (int)offsets[i]);
        lengths[offsets[end]] = 0;
        foreach (Patch patch in _patches)
            Aim(code, offsets, patch);
        byte[][] regions = [.. ProgramLayout.Regions.Select(region => RandomBytes(region.Size))];
        Array.Clear(regions[0]);
        code.CopyTo(regions[0], 0);
        for (int i = 0; i < TableSlots; i++)
            BitConverter.TryWriteBytes(regions[3].AsSpan((int)(TableArea - ProgramLayout.Control) + (8 * i)), result.GetLabelRIP(_table[i]));
        ulong[] registers = [.. Enumerable.Range(0, 16).Select(_ => Value())];
        registers[4] = ProgramLayout.Stack + 0x3000 - (8 * (ulong)random.Next(4));
        return new TestProgram
        {
            Entry = result.GetLabelRIP(entry),
            Registers = registers,
            Flags = ((ulong)random.Next() & CpuFlags.Status) | CpuFlags.Fixed | CpuFlags.If,
            Regions = regions,
            Lengths = lengths,
            CodeLength = code.Length,
        };
    }

    // Lets a store to code hit a place of its kind: often the next one behind it, which may be in the same block.
    private void Aim(byte[] code, uint[] offsets, Patch patch)
    {
        List<Site> sites = [.. _sites.Where(site => site.Kind == patch.Kind)];
        Site site = sites[random.Next(sites.Count)];
        if (patch.Next)
            site = sites.Where(s => s.Instruction > patch.Instruction).DefaultIfEmpty(site).First();
        int at = (int)offsets[site.Instruction], end = (int)offsets[site.Instruction + 1];
        int offset = patch.Kind switch
        {
            SiteKind.Immediate => end - 4,
            SiteKind.IncrementOrDecrement => end - 1,
            _ => code[at] == 0x0F ? at + 1 : at,
        };
        int store = (int)offsets[patch.Instruction];
        var decoder = Iced.Intel.Decoder.Create(64, new ByteArrayCodeReader(code[store..(int)offsets[patch.Instruction + 1]]));
        ConstantOffsets constants = decoder.GetConstantOffsets(decoder.Decode());
        Assert.True(constants.DisplacementSize is 4 or 8, "the address of a store to code has no place of its own");
        BitConverter.TryWriteBytes(code.AsSpan(store + constants.DisplacementOffset), (uint)ProgramLayout.Code + (uint)offset);
        if (patch.Kind == SiteKind.Condition)
            code[store + constants.ImmediateOffset] = (byte)((code[offset] & 0xF0) | random.Next(16));
        else if (patch.Kind == SiteKind.IncrementOrDecrement)
            code[store + constants.ImmediateOffset] = (byte)(code[offset] ^ 8);
    }

    private void AddFunction()
    {
        Label label = _a.CreateLabel($"function{_functions.Count}");
        _a.Label(ref label);
        long before = _executed;
        int first = _a.Instructions.Count;
        // What is kept on the stack is above the return address for whoever is called.
        for (int i = random.Next(1, 6); i > 0; i--)
            AddStatement(1, 1);
        _a.ret();
        long cost = Math.Max(_executed - before, _a.Instructions.Count - first) + 1;
        _executed = before;
        _functions.Add((label, cost));
    }

    private bool CanGrow(long times) => _a.Instructions.Count < MostInstructions && _executed + (40 * times) < _limit;

    private void AddBlock(int depth, long times)
    {
        for (int i = random.Next(1, 5); i > 0; i--)
            AddStatement(depth, times);
    }

    private void AddStatement(int depth, long times)
    {
        int before = _a.Instructions.Count;
        bool nests = depth < 5 && CanGrow(times);
        switch (random.Next(nests ? 30 : 18))
        {
            case < 6:
                AddArithmetic();
                break;
            case < 11:
                AddMemoryAccess();
                break;
            case 11:
                AddDivision();
                break;
            case 12:
                AddString();
                break;
            case 13:
                AddVector();
                break;
            case 14:
                AddFlagsWork();
                break;
            case 15:
                AddPatchOrSite();
                break;
            case 16:
                AddStackWork();
                break;
            case 17:
                if (random.Next(6) == 0)
                    AddTrap();
                else
                    AddSite((SiteKind)(2 * random.Next(2)));
                break;
            case < 21:
                AddIf(depth, times);
                return;
            case < 24:
                AddLoop(depth, times);
                return;
            case < 26:
                AddCall(times);
                return;
            case 26:
                AddIndirectJump(depth, times);
                return;
            case 27:
                AddPushed(depth, times);
                return;
            default:
                AddPatchedLoop(depth, times);
                return;
        }

        _executed += (_a.Instructions.Count - before) * times;
    }

    private void AddIf(int depth, long times)
    {
        Label skip = _a.CreateLabel(), end = _a.CreateLabel();
        if (random.Next(2) == 0)
            Compare();
        Branch(skip);
        AddBlock(depth + 1, times);
        bool hasElse = random.Next(2) == 0;
        if (hasElse)
            _a.jmp(end);
        _a.Label(ref skip);
        _a.nop();
        if (hasElse)
        {
            AddBlock(depth + 1, times);
            _a.Label(ref end);
            _a.nop();
        }

        _executed += 4 * times;
    }

    // The counter lies where nothing random is written, so every loop ends.
    private void AddLoop(int depth, long times)
    {
        int rounds = Rounds(times);
        ulong counter = Counter();
        Label loop = _a.CreateLabel();
        _a.mov(__dword_ptr[counter], rounds);
        _a.Label(ref loop);
        _a.nop();
        AddBlock(depth + 1, times * rounds);
        _a.dec(__dword_ptr[counter]);
        _a.jne(loop);
        _executed += 4 * times * rounds;
    }

    // A store to the loop's own code, before or behind it.
    private void AddPatchedLoop(int depth, long times)
    {
        int rounds = Math.Min(Rounds(times), 40);
        ulong counter = Counter();
        Label loop = _a.CreateLabel();
        _a.mov(__dword_ptr[counter], rounds);
        _a.Label(ref loop);
        var kind = (SiteKind)(2 * random.Next(2));
        bool before = random.Next(2) == 0;
        if (before)
            AddSite(kind);
        AddPatch(kind, next: !before);
        if (random.Next(2) == 0)
            AddStatement(depth + 1, times * rounds);
        AddSite(kind);
        AddArithmetic();
        _a.dec(__dword_ptr[counter]);
        _a.jne(loop);
        _executed += 12 * times * rounds;
    }

    private int Rounds(long times)
    {
        long most = Math.Max(2, (_limit - _executed) / (80 * times));
        return (int)Math.Min(most, random.Next(8) switch { 0 => random.Next(1, 3000), < 3 => random.Next(1, 100), _ => random.Next(1, 12) });
    }

    private void AddCall(long times)
    {
        (Label label, long cost) = _functions.Count == 0 ? default : _functions[random.Next(_functions.Count)];
        if (cost == 0 || _executed + (cost * times) > _limit)
        {
            AddArithmetic();
            return;
        }

        _executed += (cost + 4) * times;
        AssemblerRegister64 target = General64();
        switch (random.Next(_table.Count == 0 ? 3 : 4))
        {
            case 0:
                _a.call(label);
                break;
            case 1:
                _a.lea(target, __[label]);
                _a.call(target);
                break;
            case 2:
                // A return to somewhere else than behind the last call.
                Label behind = _a.CreateLabel();
                _a.lea(target, __[behind]);
                _a.push(target);
                _a.jmp(label);
                _a.Label(ref behind);
                _a.nop();
                break;
            default:
                AddTableCall(times);
                break;
        }
    }

    private void AddTableCall(long times)
    {
        long most = _functions.Max(f => f.Cost);
        if (_executed + (most * times) > _limit)
        {
            AddArithmetic();
            return;
        }

        _executed += most * times;
        AssemblerRegister64 index = General64();
        _a.and(index, TableSlots - 1);
        DefineFlags();
        _a.call(__qword_ptr[(index * 8) + (long)TableArea]);
    }

    private void AddIndirectJump(int depth, long times)
    {
        Label first = _a.CreateLabel(), second = _a.CreateLabel(), end = _a.CreateLabel();
        AssemblerRegister64 target = General64(), other = General64();
        _a.lea(target, __[first]);
        _a.lea(other, __[second]);
        ConditionalMove(target, other);
        if (random.Next(3) == 0)
        {
            _a.push(target);
            _a.ret();
        }
        else
        {
            _a.jmp(target);
        }

        _a.Label(ref first);
        AddBlock(depth + 1, times);
        _a.jmp(end);
        _a.Label(ref second);
        AddBlock(depth + 1, times);
        _a.Label(ref end);
        _a.nop();
        _executed += 8 * times;
    }

    private void AddPushed(int depth, long times)
    {
        _a.push(General64());
        AddBlock(depth + 1, times);
        _a.pop(General64());
        _executed += 2 * times;
    }

    private void AddPatchOrSite()
    {
        var kind = (SiteKind)random.Next(3);
        if (_sites.Any(site => site.Kind == kind))
            AddPatch(kind, random.Next(2) == 0);
        else
            AddSite(kind);
    }

    private void AddPatch(SiteKind kind, bool next)
    {
        _patches.Add(new Patch(kind, _a.Instructions.Count, next));
        if (kind == SiteKind.Immediate)
            _a.mov(__dword_ptr[ProgramLayout.Code], General32());
        else
            _a.mov(__byte_ptr[ProgramLayout.Code], 0);
        // A patch needs a place of its kind, though it be the last instruction before the end.
        if (!_sites.Any(site => site.Kind == kind))
            AddSite(kind);
    }

    private void AddSite(SiteKind kind)
    {
        if (kind == SiteKind.Condition)
        {
            Label over = _a.CreateLabel();
            Branch(over);
            AddArithmetic();
            _a.Label(ref over);
            _a.nop();
            return;
        }

        _sites.Add(new Site(kind, _a.Instructions.Count));
        if (kind == SiteKind.IncrementOrDecrement)
        {
            if (random.Next(2) == 0)
                _a.inc(General32());
            else
                _a.dec(General64());
        }
        else if (random.Next(2) == 0)
        {
            _a.mov(General32(), random.Next(int.MinValue, int.MaxValue));
        }
        else
        {
            // An immediate too large for the short form.
            _a.add(General32(), random.Next(0x100, int.MaxValue));
        }
    }

    private ulong Counter() => ProgramLayout.Control + (4 * (ulong)(_counters++ % 256));

    private byte[] RandomBytes(int size)
    {
        byte[] bytes = new byte[size];
        random.NextBytes(bytes);
        return bytes;
    }

    private ulong Value() => random.Next(5) switch
    {
        0 => (ulong)random.Next(3) - 1,
        1 => 1UL << random.Next(64),
        2 => (ulong)random.Next(256),
        _ => (ulong)random.NextInt64() ^ ((ulong)random.NextInt64() << 1),
    };

    private void DefineFlags()
    {
        if (!undefinedFlagsAgree || random.Next(3) == 0)
            _a.AddInstruction(Instruction.Create(Code.Cmp_rm8_imm8, General(8), random.Next(-128, 128)));
    }
}
