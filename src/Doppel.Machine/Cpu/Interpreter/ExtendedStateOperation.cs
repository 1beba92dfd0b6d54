namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>Which instruction of the FXSAVE and XSAVE families an operation is.</summary>
internal enum ExtendedStateOperation
{
    Fxsave,
    Fxrstor,
    Xsave,
    Xsaveopt,
    Xsavec,
    Xsaves,
    Xrstor,
    Xrstors,
}
