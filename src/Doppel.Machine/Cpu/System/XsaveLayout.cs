namespace Doppel.Machine.Cpu.System;

/// <summary>Where the extended state's components lie in memory (Intel SDM vol. 1, 13.4).</summary>
public static class XsaveLayout
{
    /// <summary>State component 0, as a mask.</summary>
    public const ulong X87 = 1;

    /// <summary>State component 1, as a mask.</summary>
    public const ulong Sse = 2;

    /// <summary>State component 2, the upper halves of YMM, as a mask.</summary>
    public const ulong Avx = 4;

    /// <summary>Bytes of the legacy region (FXSAVE) and offset of the header.</summary>
    public const int HeaderOffset = 512;

    /// <summary>Bytes of the legacy region and the header.</summary>
    public const int MinimumSize = 576;

    /// <summary>Offset of the upper halves of YMM, in the standard format and, nothing being before them, in the compacted one.</summary>
    public const int AvxOffset = 576;

    /// <summary>Bytes of the upper halves of YMM.</summary>
    public const int AvxSize = 256;

    /// <summary>Bytes of an area in the standard format that holds these components.</summary>
    public static uint StandardSize(ulong components) => (uint)((components & Avx) != 0 ? AvxOffset + AvxSize : MinimumSize);

    /// <summary>Bytes of an area in the compacted format that holds these components.</summary>
    public static uint CompactedSize(ulong components) => StandardSize(components);
}
