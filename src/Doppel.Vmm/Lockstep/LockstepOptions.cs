namespace Doppel.Vmm.Lockstep;

/// <summary>What a comparison of two engines runs and how closely it looks.</summary>
public sealed record LockstepOptions
{
    /// <summary>The machine; its engine, clock and random seed are set by the comparison.</summary>
    public required MachineSpec Spec { get; init; }

    /// <summary>The engine that is right by definition.</summary>
    public string Reference { get; init; } = EngineNames.Interpreter;

    /// <summary>The engine that is compared with it.</summary>
    public string Tested { get; init; } = EngineNames.Translator;

    /// <summary>Instructions between two comparisons of registers: 1 or more.</summary>
    public ulong Interval { get; init; } = 10_000;

    /// <summary>Instructions between two comparisons of memory and devices: rounded up to a multiple of <see cref="Interval"/>.</summary>
    public ulong MemoryInterval { get; init; } = 1_000_000;

    /// <summary>Stop without a difference after this many instructions; null to go on to the guest's end.</summary>
    public ulong? Instructions { get; init; }

    /// <summary>Seed of RDRAND and RDSEED.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Lines for the guest's console; each is sent when the guest has shown <see cref="Prompt"/> once more.</summary>
    public IReadOnlyList<string> Input { get; init; } = [];

    /// <summary>What the guest shows when it waits for a line.</summary>
    public string Prompt { get; init; } = "# ";

    /// <summary>Told about progress, on the thread of the comparison; null for nobody.</summary>
    public Action<LockstepProgress>? Progress { get; init; }

    /// <summary>Receives what the guest writes to its console, as far as both engines agree on its time.</summary>
    public Action<ReadOnlyMemory<byte>>? Output { get; init; }
}
