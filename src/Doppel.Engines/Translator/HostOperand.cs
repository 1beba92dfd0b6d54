namespace Doppel.Engines.Translator;

/// <summary>A memory operand of emitted code: [base + index + displacement].</summary>
/// <param name="Base">Any register.</param>
/// <param name="Index">Any register but RSP.</param>
/// <param name="Displacement">Added to both.</param>
internal readonly record struct HostOperand(HostRegister Base, HostRegister Index, int Displacement)
{
    /// <summary>What a check in the TLB leaves: the address and the distance from guest to host.</summary>
    internal static HostOperand Checked => new(RegisterMap.Address, RegisterMap.Temporary, 0);
}
