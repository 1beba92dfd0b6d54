namespace Doppel.Machine.Cpu.Segments;

/// <summary>What makes a task switch; decides over busy bits, NT and the back link (Intel SDM vol. 3, table 8-2).</summary>
public enum TaskSwitchSource
{
    /// <summary>A far jump to a TSS or a task gate.</summary>
    Jump,

    /// <summary>A far call to a TSS or a task gate.</summary>
    Call,

    /// <summary>IRET with NT set.</summary>
    Iret,

    /// <summary>An interrupt or exception through a task gate.</summary>
    Gate,
}
