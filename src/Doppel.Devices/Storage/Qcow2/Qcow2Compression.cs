namespace Doppel.Devices.Storage.Qcow2;

/// <summary>How compressed clusters are compressed.</summary>
public enum Qcow2Compression
{
    /// <summary>Raw deflate (called "zlib" by QEMU).</summary>
    Deflate = 0,

    /// <summary>Zstandard; version 3 only.</summary>
    Zstandard = 1,
}
