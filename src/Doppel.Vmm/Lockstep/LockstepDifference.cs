using System.Globalization;
using System.Text;

namespace Doppel.Vmm.Lockstep;

/// <summary>Where two engines first differ.</summary>
public sealed record LockstepDifference
{
    /// <summary>Instructions that both had retired when they were last equal.</summary>
    public required ulong EqualAt { get; init; }

    /// <summary>Instructions that the reference had retired when they were first different.</summary>
    public required ulong DifferentAt { get; init; }

    /// <summary>True when one instruction lies between; false when only the block or the interval is known.</summary>
    public required bool IsExact { get; init; }

    /// <summary>The vCPU that <see cref="Rip"/>, <see cref="Registers"/> and the code belong to.</summary>
    public required int Cpu { get; init; }

    /// <summary>What differs in a word or two each, for example "rax" or "memory 1234000".</summary>
    public required IReadOnlyList<string> What { get; init; }

    /// <summary>RIP when they were last equal.</summary>
    public required ulong Rip { get; init; }

    /// <summary>The registers: name, before, the reference's, the tested engine's. Those that neither differ nor have changed are left out, but for the general ones.</summary>
    public required IReadOnlyList<LockstepRegister> Registers { get; init; }

    /// <summary>Names of the engines.</summary>
    public required (string Reference, string Tested) Engines { get; init; }

    /// <summary>The guest's code from <see cref="Rip"/>, disassembled.</summary>
    public required IReadOnlyList<string> GuestCode { get; init; }

    /// <summary>The tested engine's code for it, disassembled; empty when it has none.</summary>
    public required IReadOnlyList<string> HostCode { get; init; }

    /// <summary>Everything, for a person.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"first difference: {string.Join(", ", What.Take(12))}{(What.Count > 12 ? ", ..." : "")}");
        text.AppendLine(IsExact
            ? string.Create(CultureInfo.InvariantCulture, $"instruction {DifferentAt}, at {Rip:x16} of vCPU {Cpu}")
            : string.Create(CultureInfo.InvariantCulture, $"between instructions {EqualAt} and {DifferentAt}, from {Rip:x16} of vCPU {Cpu}; one instruction at a time there is none"));
        text.AppendLine(CultureInfo.InvariantCulture, $"\n{"",-20}{"before",-18}{Engines.Reference,-18}{Engines.Tested,-18}");
        foreach (LockstepRegister register in Registers)
        {
            char mark = register.Reference != register.Tested ? '*' : ' ';
            text.AppendLine(CultureInfo.InvariantCulture, $"{mark} {register.Name,-18}{register.Before:x16}  {register.Reference:x16}  {register.Tested:x16}");
        }

        Append(text, "guest code:", GuestCode);
        Append(text, $"code of the {Engines.Tested}:", HostCode);
        return text.ToString();
    }

    private static void Append(StringBuilder text, string title, IReadOnlyList<string> lines)
    {
        if (lines.Count == 0)
            return;
        text.AppendLine().AppendLine(title);
        foreach (string line in lines)
            text.Append("  ").AppendLine(line);
    }
}
