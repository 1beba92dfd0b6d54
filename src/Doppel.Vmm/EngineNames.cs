using Doppel.Engines.Translator;

namespace Doppel.Vmm;

/// <summary>Names of the execution engines that a user can give.</summary>
public static class EngineNames
{
    /// <summary>Emulation, one instruction after the other.</summary>
    public const string Interpreter = "interpreter";

    /// <summary>Binary translation of 64-bit code; the interpreter for the rest.</summary>
    public const string Translator = "translator";

    /// <summary>What a machine gets that names none: the translator, where the host's CPU and kernel allow it.</summary>
    public static string Default { get; } = TranslatorEngine.IsSupported(out _) ? Translator : Interpreter;

    /// <summary>All names.</summary>
    public static IReadOnlyList<string> All { get; } = [Interpreter, Translator];
}
