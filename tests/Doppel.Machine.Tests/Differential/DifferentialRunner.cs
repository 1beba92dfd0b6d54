using System.Globalization;
using System.Text;
using Doppel.Machine.Cpu;
using Iced.Intel;
using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

/// <summary>
/// Makes random instructions from templates and compares what the engine does with what the host's CPU does. The seed is
/// printed; DOPPEL_TEST_SEED repeats a run.
/// </summary>
internal sealed class DifferentialRunner : IDisposable
{
    private readonly HostOracle _oracle = new();
    private readonly DifferentialGuest _guest;
    private readonly byte[] _guestWindow = new byte[TestCase.WindowSize];
    private readonly int _seed;
    private readonly Random _random;

    internal DifferentialRunner(ITestOutputHelper output)
    {
        _seed = TestSeed.Take(output);
        _random = new Random(_seed);
        _guest = new DifferentialGuest(_oracle.Address);
        Case = new TestCase { Oracle = _oracle, Random = _random };
    }

    /// <summary>The current case.</summary>
    internal TestCase Case { get; }

    /// <summary>Compares a number of random instructions.</summary>
    /// <param name="cases">How many.</param>
    /// <param name="templates">What to choose from.</param>
    /// <param name="prepare">Adjusts the case; false drops it.</param>
    internal void Check(int cases, IReadOnlyList<string> templates, Func<TestCase, bool>? prepare = null)
    {
        InstructionTemplate[] parsed = [.. templates.Select(text => new InstructionTemplate(text))];
        int dropped = 0;
        for (int done = 0; done < cases;)
        {
            InstructionTemplate template = parsed[_random.Next(parsed.Length)];
            if (Make(template, prepare))
            {
                Compare(template.Text);
                done++;
            }
            else
            {
                dropped++;
            }

            Assert.True(dropped < 1000 + (10 * cases), $"seed {_seed}: {template.Text}: hardly any encoding can be used");
        }
    }

    /// <summary>Compares one given instruction with random registers.</summary>
    internal void CheckCode(byte[] code, Func<TestCase, bool>? prepare = null)
    {
        if (Decode(code) && Fill(prepare))
            Compare(Case.Instruction.ToString());
    }

    /// <summary>Compares one given instruction if it can be used; true when it was.</summary>
    internal bool TryCode(byte[] code, Func<TestCase, bool> prepare)
    {
        if (!Decode(code) || !Fill(prepare))
            return false;
        Compare(Case.Instruction.ToString());
        return true;
    }

    /// <summary>Checks that the instruction faults and that nothing else happens.</summary>
    internal void CheckFault(ExceptionVector vector)
    {
        OracleRegisters registers = Case.Registers;
        Case.Window.CopyTo(_guestWindow, 0);
        (long advance, int actual) = _guest.Run(Case.Code, ref registers, _guestWindow, TestCase.WindowStart);
        if (actual != (int)vector || advance != 0)
            throw Failure($"expected exception {vector} and RIP+0, got {actual} and RIP+{advance}");
        ulong undefined = UndefinedFlags.Of(Case.Instruction.Mnemonic, 0, 0);
        CompareState(Case.Registers, registers, Case.Window, undefined);
    }

    public void Dispose()
    {
        _guest.Dispose();
        _oracle.Dispose();
    }

    private bool Make(InstructionTemplate template, Func<TestCase, bool>? prepare) =>
        Decode(template.Encode(_random)) && Fill(prepare);

    private bool Decode(byte[] code)
    {
        var decoder = Iced.Intel.Decoder.Create(64, new ByteArrayCodeReader(code));
        Case.Code = code;
        Case.Instruction = decoder.Decode();
        return Case.Instruction.Code != Iced.Intel.Code.INVALID && Case.Instruction.Length == code.Length;
    }

    private bool Fill(Func<TestCase, bool>? prepare)
    {
        Case.Randomize();
        for (int i = 0; i < Case.Instruction.OpCount; i++)
        {
            bool isAccess = Case.Instruction.GetOpKind(i) == OpKind.Memory && Case.Instruction.Mnemonic != Mnemonic.Lea && !Case.Instruction.IsVsib;
            if (isAccess && !Case.PlaceMemoryOperand())
                return false;
        }

        return prepare is null || prepare(Case);
    }

    private void Compare(string template)
    {
        OracleRegisters expected = Case.Registers;
        OracleRegisters actual = Case.Registers;
        Case.Window.CopyTo(_guestWindow, 0);
        Span<byte> oracleWindow = _oracle.Memory.Slice(TestCase.WindowStart, TestCase.WindowSize);
        Case.Window.CopyTo(oracleWindow);
        byte[] expectedExtended = [.. Case.Extended];
        byte[] actualExtended = [.. Case.Extended];
        _oracle.Run(Case.Code, ref expected, expectedExtended);
        (long advance, int vector) = _guest.Run(Case.Code, ref actual, _guestWindow, TestCase.WindowStart, actualExtended);
        if (vector >= 0)
            throw Failure($"{template}: unexpected exception {(ExceptionVector)vector}");
        int length = Case.Code.Length + ((expected.Taken & 1) != 0 ? HostOracle.BranchDistance : 0);
        if (advance != length)
            throw Failure($"{template}: RIP advanced by {advance}, not {length}");
        CompareState(expected, actual, oracleWindow, UndefinedFlags.Of(Case.Instruction.Mnemonic, ShiftCount(), Case.OperandWidth));
        CompareExtended(expectedExtended, actualExtended);
    }

    private void CompareExtended(ReadOnlySpan<byte> expected, ReadOnlySpan<byte> actual)
    {
        for (int i = 0; i < expected.Length; i++)
        {
            // Opcode and instruction pointers are the guest's; the header of the area is not the instruction's.
            bool isCompared = i is < 5 or (>= 24 and < 28) or (>= 32 and < 416) or >= 576;
            if (isCompared && expected[i] != actual[i])
                throw Failure($"byte {i} of the XSAVE area is {actual[i]:X2}, the host has {expected[i]:X2}\nbefore {Convert.ToHexString(Case.Extended)}\nguest  {Convert.ToHexString(actual)}\nhost   {Convert.ToHexString(expected)}");
        }
    }

    private void CompareState(in OracleRegisters expected, in OracleRegisters actual, ReadOnlySpan<byte> memory, ulong undefined)
    {
        for (int i = 0; i < 16; i++)
        {
            if (expected.Gpr[i] != actual.Gpr[i])
                throw Failure($"{Register.RAX + i} is {actual.Gpr[i]:X16}, the host has {expected.Gpr[i]:X16}");
        }

        ulong difference = (expected.Flags ^ actual.Flags) & ~undefined;
        if (difference != 0)
            throw Failure($"flags are {actual.Flags:X}, the host has {expected.Flags:X}; {difference:X} differs and is not undefined");
        int offset = memory.CommonPrefixLength(_guestWindow);
        if (offset != TestCase.WindowSize)
            throw Failure($"memory at {_oracle.Address + TestCase.WindowStart + (ulong)offset:X} is {_guestWindow[offset]:X2}, the host has {memory[offset]:X2}");
    }

    private int ShiftCount()
    {
        Instruction instruction = Case.Instruction;
        int operand = instruction.OpCount - 1;
        if (operand < 1)
            return 0;
        int mask = Case.OperandWidth == 64 ? 63 : 31;
        return instruction.GetOpKind(operand) switch
        {
            OpKind.Immediate8 => instruction.Immediate8 & mask,
            OpKind.Register => (int)Case.Registers.Gpr[1] & mask,
            _ => 0,
        };
    }

    private Xunit.Sdk.FailException Failure(string what)
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"{Case.Instruction} ({Convert.ToHexString(Case.Code)}, seed {_seed}): {what}");
        for (int i = 0; i < 16; i++)
            text.Append(CultureInfo.InvariantCulture, $"{Register.RAX + i}={Case.Registers.Gpr[i]:X} ");
        text.AppendLine(CultureInfo.InvariantCulture, $"flags={Case.Registers.Flags:X}");
        if (Case.Instruction.MemorySize != MemorySize.Unknown)
            text.AppendLine(CultureInfo.InvariantCulture, $"memory operand at {Case.EffectiveAddress():X}");
        return Xunit.Sdk.FailException.ForFailure(text.ToString());
    }
}
