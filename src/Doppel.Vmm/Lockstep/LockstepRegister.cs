namespace Doppel.Vmm.Lockstep;

/// <summary>One register of a difference.</summary>
/// <param name="Name">For example "rax" or "cs.limit".</param>
/// <param name="Before">Its value when the engines were last equal.</param>
/// <param name="Reference">The reference engine's value.</param>
/// <param name="Tested">The tested engine's value.</param>
public readonly record struct LockstepRegister(string Name, ulong Before, ulong Reference, ulong Tested);
