namespace Doppel.Engines.Tests.Programs;

/// <summary>A program for 64-bit user mode with everything that it starts from.</summary>
internal sealed record TestProgram
{
    /// <summary>Where it begins.</summary>
    internal required ulong Entry { get; init; }

    /// <summary>The sixteen registers at the start.</summary>
    internal required ulong[] Registers { get; init; }

    /// <summary>RFLAGS at the start.</summary>
    internal required ulong Flags { get; init; }

    /// <summary>Contents of <see cref="ProgramLayout.Regions"/>.</summary>
    internal required byte[][] Regions { get; init; }

    /// <summary>
    /// For each byte of code the length of the instruction that begins there, so that a fault can go on behind it; 0 at the
    /// program's end and inside instructions.
    /// </summary>
    internal required byte[] Lengths { get; init; }

    /// <summary>Bytes of code in use.</summary>
    internal required int CodeLength { get; init; }
}

/// <summary>What a program did: its log of faults, the last one its end, and the regions behind it.</summary>
internal sealed record ProgramResult(ulong[] Log, byte[][] Regions);
