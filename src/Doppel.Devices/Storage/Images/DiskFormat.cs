namespace Doppel.Devices.Storage.Images;

/// <summary>The formats of images.</summary>
public enum DiskFormat
{
    /// <summary>The disk's bytes and nothing else.</summary>
    Raw,

    /// <summary>QEMU's format, versions 2 and 3.</summary>
    Qcow2,

    /// <summary>VMware's.</summary>
    Vmdk,

    /// <summary>Microsoft's first (also called VPC).</summary>
    Vhd,

    /// <summary>Microsoft's second.</summary>
    Vhdx,

    /// <summary>A network block device's server.</summary>
    Nbd,
}

/// <summary>Names of formats as users write them.</summary>
public static class DiskFormats
{
    /// <summary>The name.</summary>
    public static string GetName(this DiskFormat format) => format.ToString().ToLowerInvariant();

    /// <summary>Finds the format of a name; "vpc" is also VHD's.</summary>
    public static DiskFormat? Find(string name) => name switch
    {
        "raw" => DiskFormat.Raw,
        "qcow2" => DiskFormat.Qcow2,
        "vmdk" => DiskFormat.Vmdk,
        "vhd" or "vpc" => DiskFormat.Vhd,
        "vhdx" => DiskFormat.Vhdx,
        "nbd" => DiskFormat.Nbd,
        _ => null,
    };
}
