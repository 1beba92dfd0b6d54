using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// DIV and IDIV of 32 and 64 bits, where it is sure that they do not fault; a fault of the host's own instruction would be
/// a signal. What may fault is interpreted. Their flags are undefined, but processors leave some alone, so the tests
/// before them change none.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    private static bool CanTranslateDivide(in Instruction instruction) =>
        (instruction.Op0Kind == OpKind.Memory ? instruction.MemorySize.GetSize() : instruction.Op0Register.GetSize()) >= 4;

    private void EmitDivide(in Instruction instruction)
    {
        HostRegister divisor = RegisterMap.Temporary;
        bool wide;
        if (instruction.Op0Kind == OpKind.Memory)
        {
            int size = instruction.MemorySize.GetSize();
            wide = size == 8;
            EmitAddress(instruction, size, isWrite: false);
            EmitTlbCheck(size, isWrite: false);
            if (wide)
                _code.LoadIndexed(divisor, RegisterMap.Address, RegisterMap.Temporary, 0, 0);
            else
                _code.LoadIndexed32(divisor, RegisterMap.Address, RegisterMap.Temporary, 0, 0);
        }
        else
        {
            wide = instruction.Op0Register.GetSize() == 8;
            divisor = Reach(Number(instruction.Op0Register), RegisterMap.Temporary);
        }

        if (instruction.Mnemonic == Mnemonic.Div)
            EmitUnsigned(divisor, wide);
        else
            EmitSigned(divisor, wide);
    }

    // The quotient fits when the upper half is below the divisor.
    private void EmitUnsigned(HostRegister divisor, bool wide)
    {
        _code.RegisterForm(0x8B, RegisterMap.Check, HostRegister.Rdx, wide);
        byte* small = _code.JumpIfRcxZero();
        _code.PushFlags();
        _code.RegisterForm(0x3B, HostRegister.Rdx, divisor, wide);
        byte* tooLarge = _code.JumpIf(3);
        _code.PopFlags();
        byte* fits = _code.JumpShort();
        byte* restore = _code.Position;
        Emitter.Bind32(tooLarge, restore);
        _code.PopFlags();
        byte* leave = EmitLeaveToInterpreter();
        _code.Bind8(small);
        _code.RegisterForm(0x8B, RegisterMap.Check, divisor, wide);
        _code.JumpIfRcxZeroTo(leave);
        _code.Bind8(fits);
        _code.RegisterForm(0xF7, (HostRegister)6, divisor, wide);
    }

    // With a dividend that is the sign extension of its lower half only divisors of 0 and -1 can fault.
    private void EmitSigned(HostRegister divisor, bool wide)
    {
        _code.MoveImmediate32(RegisterMap.Check, wide ? 63u : 31u);
        _code.Sarx(RegisterMap.Check, HostRegister.Rax, RegisterMap.Check, wide);
        _code.Not(RegisterMap.Check);
        if (wide)
            _code.LeaIndexed(RegisterMap.Check, RegisterMap.Check, HostRegister.Rdx, 0, 1);
        else
            EmitLea32(HostRegister.Rdx);
        byte* extended = _code.JumpIfRcxZero();
        byte* leave = EmitLeaveToInterpreter();
        _code.Bind8(extended);
        _code.RegisterForm(0x8B, RegisterMap.Check, divisor, wide);
        _code.JumpIfRcxZeroTo(leave);
        if (wide)
            _code.Not(RegisterMap.Check);
        else
            _code.RegisterForm(0xF7, (HostRegister)2, RegisterMap.Check, wide: false);
        _code.JumpIfRcxZeroTo(leave);
        _code.RegisterForm(0xF7, (HostRegister)7, divisor, wide);
    }

    // LEA ecx, [rcx + register + 1].
    private void EmitLea32(HostRegister register)
    {
        _code.Byte(0x8D);
        _code.Byte(0x4C);
        _code.Byte((((int)register & 7) << 3) | (int)RegisterMap.Check);
        _code.Byte(1);
    }
}
