using Doppel.Engines.Translator;

namespace Doppel.Vmm;

/// <summary>Names of the execution engines that a user can give.</summary>
public static class EngineNames
{
    /// <summary>Emulation, one instruction after the other.</summary>
    public const string Interpreter = "interpreter";

    /// <summary>Binary translation of code of every mode to the host's own.</summary>
    public const string Translator = "translator";

    /// <summary>The host's processor, by VT-x or AMD-V and the kernel's KVM.</summary>
    public const string Kvm = "kvm";

    /// <summary>No engine but a wish: KVM where it serves, otherwise <see cref="Default"/> (<see cref="EngineChoice"/>).</summary>
    public const string Auto = "auto";

    /// <summary>What a machine gets that names none: the translator, where the host's CPU and kernel allow it.</summary>
    public static string Default { get; } = TranslatorEngine.IsSupported(out _) ? Translator : Interpreter;

    /// <summary>All names of engines.</summary>
    public static IReadOnlyList<string> All { get; } = [Interpreter, Translator, Kvm];

    /// <summary>Those that can count instructions, and so repeat a run.</summary>
    public static IReadOnlyList<string> Deterministic { get; } = [Interpreter, Translator];

    /// <summary>All that may be given for a machine.</summary>
    public static IReadOnlyList<string> Choices { get; } = [.. All, Auto];
}
