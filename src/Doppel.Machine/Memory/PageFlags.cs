namespace Doppel.Machine.Memory;

/// <summary>What is true of one 4 KiB guest-physical page; every engine honours it.</summary>
[Flags]
public enum PageFlags : byte
{
    /// <summary>Not memory: accesses go to the bus.</summary>
    None = 0,

    /// <summary>RAM.</summary>
    Ram = 1,

    /// <summary>ROM: readable and executable, writes go to the bus, which ignores them where no device answers.</summary>
    Rom = 2,

    /// <summary>Written since the flag was last cleared (snapshots, migration).</summary>
    Dirty = 4,

    /// <summary>Decoded or translated code comes from this page: a write must be seen.</summary>
    Code = 8,

    /// <summary>Holds page tables that a shadow mirrors: a write must be seen.</summary>
    PageTable = 16,

    /// <summary>A debugger or a device watches this page.</summary>
    Watched = 32,

    /// <summary>The memory of a device (<see cref="DeviceRam"/>), with <see cref="Ram"/>: the device saves it and takes its dirty marks.</summary>
    Device = 64,
}
