namespace Doppel.Vmm.Trace;

/// <summary>What a trace reports.</summary>
[Flags]
public enum TraceKinds
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Every instruction, before it executes.</summary>
    Instructions = 1,

    /// <summary>Every exception that is delivered.</summary>
    Exceptions = 2,

    /// <summary>Every interrupt that is delivered, external and by software.</summary>
    Interrupts = 4,

    /// <summary>Every access to an I/O port.</summary>
    Ports = 8,

    /// <summary>Every access to a memory-mapped register.</summary>
    Mmio = 16,

    /// <summary>Every block that an engine translates, with its host code.</summary>
    Translations = 32,
}
