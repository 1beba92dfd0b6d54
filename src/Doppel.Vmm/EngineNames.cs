namespace Doppel.Vmm;

/// <summary>Names of the execution engines that a user can give.</summary>
public static class EngineNames
{
    /// <summary>Emulation, one instruction after the other.</summary>
    public const string Interpreter = "interpreter";

    /// <summary>Binary translation of 64-bit code; the interpreter for the rest.</summary>
    public const string Translator = "translator";

    /// <summary>All names.</summary>
    public static IReadOnlyList<string> All { get; } = [Interpreter, Translator];
}
