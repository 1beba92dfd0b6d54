namespace Doppel.Machine.Cpu.System;

/// <summary>
/// Moves state components between <see cref="CpuState.XsaveArea"/> and an image in the layout of FXSAVE and XSAVE. The
/// vCPU's own area keeps the x87 pointers as 64-bit offsets.
/// </summary>
internal static unsafe class ExtendedState
{
    internal const uint MxcsrMask = 0xFFFF;
    internal const uint MxcsrInitial = 0x1F80;
    internal const int X87ControlSize = 24;
    internal const int MxcsrOffset = 24;
    internal const int StOffset = 32;
    internal const int StSize = 128;
    internal const int XmmOffset = 160;

    private const ushort ControlWordInitial = 0x037F;

    // Bits 6 reads as one and bits 7 and 13 to 15 as zero (Intel SDM vol. 1, 8.1.5).
    private const ushort ControlWordMask = 0x1F7F;
    private const ushort ControlWordFixed = 0x0040;
    private const ushort OpcodeMask = 0x07FF;

    /// <summary>XINUSE: the components that are not in their initial state. MXCSR counts for none.</summary>
    internal static ulong InUse(CpuState* s)
    {
        byte* area = s->XsaveArea;
        ulong inUse = 0;
        bool isX87Initial = *(ushort*)area == ControlWordInitial && IsZero(area + 2, X87ControlSize - 2) && IsZero(area + StOffset, StSize);
        if (!isX87Initial)
            inUse |= XsaveLayout.X87;
        if (!IsZero(area + XmmOffset, 256))
            inUse |= XsaveLayout.Sse;
        if (!IsZero(area + XsaveLayout.AvxOffset, XsaveLayout.AvxSize))
            inUse |= XsaveLayout.Avx;
        return inUse;
    }

    internal static void SaveX87(CpuState* s, byte* image, bool is64BitForm)
    {
        byte* area = s->XsaveArea;
        Buffer.MemoryCopy(area, image, X87ControlSize, X87ControlSize);
        image[5] = 0;
        if (!is64BitForm)
        {
            // The selectors are deprecated and read as zero.
            *(uint*)(image + 12) = 0;
            *(uint*)(image + 20) = 0;
        }

        Buffer.MemoryCopy(area + StOffset, image + StOffset, StSize, StSize);
        ClearStPadding(image);
    }

    internal static void LoadX87(CpuState* s, byte* image, bool is64BitForm)
    {
        byte* area = s->XsaveArea;
        Buffer.MemoryCopy(image, area, X87ControlSize, X87ControlSize);
        *(ushort*)area = (ushort)((*(ushort*)area & ControlWordMask) | ControlWordFixed);
        area[5] = 0;
        *(ushort*)(area + 6) &= OpcodeMask;
        if (!is64BitForm)
        {
            *(uint*)(area + 12) = 0;
            *(uint*)(area + 20) = 0;
        }

        Buffer.MemoryCopy(image + StOffset, area + StOffset, StSize, StSize);
        ClearStPadding(area);
    }

    internal static void InitializeX87(CpuState* s)
    {
        byte* area = s->XsaveArea;
        new Span<byte>(area, X87ControlSize).Clear();
        *(ushort*)area = ControlWordInitial;
        new Span<byte>(area + StOffset, StSize).Clear();
    }

    /// <summary>Writes MXCSR and MXCSR_MASK into an image.</summary>
    internal static void SaveMxcsr(CpuState* s, byte* image)
    {
        *(uint*)(image + MxcsrOffset) = s->Mxcsr;
        *(uint*)(image + MxcsrOffset + 4) = MxcsrMask;
    }

    /// <summary>Registers that the current mode reaches: outside 64-bit mode the upper eight are neither saved nor changed.</summary>
    internal static int VectorBytes(CpuState* s) => s->Is64Bit ? 256 : 128;

    internal static void Save(CpuState* s, byte* image, int offset) =>
        Buffer.MemoryCopy(s->XsaveArea + offset, image + offset, VectorBytes(s), VectorBytes(s));

    internal static void Load(CpuState* s, byte* image, int offset) =>
        Buffer.MemoryCopy(image + offset, s->XsaveArea + offset, VectorBytes(s), VectorBytes(s));

    internal static void Initialize(CpuState* s, int offset) => new Span<byte>(s->XsaveArea + offset, VectorBytes(s)).Clear();

    private static bool IsZero(byte* start, int length) => !new ReadOnlySpan<byte>(start, length).ContainsAnyExcept((byte)0);

    private static void ClearStPadding(byte* image)
    {
        for (int i = 0; i < 8; i++)
        {
            byte* padding = image + StOffset + (16 * i) + 10;
            *(ushort*)padding = 0;
            *(uint*)(padding + 2) = 0;
        }
    }
}
