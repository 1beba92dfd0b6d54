namespace Doppel.Host.Memory;

/// <summary>PROT_* of mmap(2).</summary>
internal static class MemoryProtection
{
    internal const int None = 0;
    internal const int Read = 1;
    internal const int Write = 2;
    internal const int Execute = 4;
}

/// <summary>MADV_* of madvise(2).</summary>
internal static class MemoryAdvice
{
    internal const int WillNeed = 3;

    // Linux 5.14.
    internal const int PopulateRead = 22;
}

/// <summary>MAP_* of mmap(2).</summary>
internal static class MapFlags
{
    internal const int Shared = 1;
    internal const int Private = 2;
    internal const int Fixed = 0x10;
    internal const int Anonymous = 0x20;
    internal const int NoReserve = 0x4000;
}
