namespace Doppel.Devices.Ata;

/// <summary>What a drive waits for.</summary>
public enum AtaPhase
{
    /// <summary>A command.</summary>
    Idle,

    /// <summary>Its medium (BSY).</summary>
    Medium,

    /// <summary>The host to read a block from the data register (DRQ).</summary>
    DataIn,

    /// <summary>The host to write a block to the data register (DRQ).</summary>
    DataOut,

    /// <summary>The host to take data by DMA.</summary>
    DmaIn,

    /// <summary>The host to give data by DMA.</summary>
    DmaOut,
}
