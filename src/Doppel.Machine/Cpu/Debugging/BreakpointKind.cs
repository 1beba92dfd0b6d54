namespace Doppel.Machine.Cpu.Debugging;

/// <summary>What a debugger's breakpoint waits for.</summary>
public enum BreakpointKind
{
    /// <summary>Execution; set as a software breakpoint, though guest memory stays as it is.</summary>
    Software,

    /// <summary>Execution; set as a hardware breakpoint.</summary>
    Hardware,

    /// <summary>A write.</summary>
    Write,

    /// <summary>A read.</summary>
    Read,

    /// <summary>A read or a write.</summary>
    Access,
}
