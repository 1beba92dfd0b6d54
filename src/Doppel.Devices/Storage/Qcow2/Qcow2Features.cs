namespace Doppel.Devices.Storage.Qcow2;

/// <summary>Feature bits and numbers of the qcow2 format (QEMU's docs/interop/qcow2).</summary>
internal static class Qcow2Features
{
    internal const uint Magic = 0x514649FB;

    internal const ulong Dirty = 1 << 0;
    internal const ulong Corrupt = 1 << 1;
    internal const ulong ExternalData = 1 << 2;
    internal const ulong CompressionType = 1 << 3;
    internal const ulong ExtendedL2 = 1 << 4;
    internal const ulong KnownIncompatible = Dirty | Corrupt | CompressionType;

    internal const ulong LazyRefcounts = 1 << 0;
    internal const ulong Bitmaps = 1 << 0;

    internal const uint ExtensionEnd = 0;
    internal const uint ExtensionBackingFormat = 0xE2792ACA;
    internal const uint ExtensionBitmaps = 0x23852875;
    internal const uint ExtensionFeatureNames = 0x6803F857;

    internal const int MinimumClusterBits = 9;
    internal const int MaximumClusterBits = 21;
    internal const ulong MaximumL1Bytes = 32 << 20;
    internal const ulong MaximumRefcountTableBytes = 8 << 20;
    internal const uint MaximumSnapshots = 65536;

    /// <summary>Bit 63 of L1 and L2 entries: the refcount is exactly 1.</summary>
    internal const ulong Copied = 1UL << 63;

    /// <summary>Bit 62 of L2 entries.</summary>
    internal const ulong Compressed = 1UL << 62;

    /// <summary>Bit 0 of L2 entries: the cluster reads as zeros.</summary>
    internal const ulong ReadsZero = 1;

    /// <summary>Bits of L1 and L2 entries that are a host offset.</summary>
    internal const ulong OffsetMask = 0x00FF_FFFF_FFFF_FE00;
}
