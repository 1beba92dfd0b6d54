namespace Doppel.Devices.Display.Gpu;

/// <summary>What a driver tells a virtio GPU (virtio 1.2, 5.7.6.7).</summary>
internal enum GpuCommandType : uint
{
    GetDisplayInformation = 0x100,
    Create = 0x101,
    Remove = 0x102,
    SetScreen = 0x103,
    Flush = 0x104,
    Transfer = 0x105,
    AttachBacking = 0x106,
    DetachBacking = 0x107,
    GetEdid = 0x10A,
    UpdateCursor = 0x300,
    MoveCursor = 0x301,
}

/// <summary>What it is answered.</summary>
internal enum GpuAnswer : uint
{
    Done = 0x1100,
    DisplayInformation = 0x1101,
    Edid = 0x1104,
    Unspecified = 0x1200,
    OutOfMemory = 0x1201,
    InvalidScreen = 0x1202,
    InvalidResource = 0x1203,
    InvalidParameter = 0x1205,
}

/// <summary>Sizes of commands and answers.</summary>
internal static class GpuCommand
{
    /// <summary>Bytes of the header: type, flags, fence, context, ring and padding.</summary>
    internal const int HeaderLength = 24;

    /// <summary>Bytes of a command to attach backing, without its list.</summary>
    internal const int AttachLength = 32;

    /// <summary>Bytes of a command about the pointer.</summary>
    internal const int CursorLength = 56;

    /// <summary>Bytes of the longest command, without a list.</summary>
    internal const int LongestRequest = 56;

    /// <summary>Bytes of the longest answer behind its header.</summary>
    internal const int LongestAnswer = 8 + 1024;

    /// <summary>Flag: the command has a fence.</summary>
    internal const uint Fence = 1;

    /// <summary>Bytes of a command of the control queue, without a list; null for one that there isn't.</summary>
    internal static int? LengthOf(GpuCommandType type) => type switch
    {
        GpuCommandType.GetDisplayInformation => HeaderLength,
        GpuCommandType.Create => 40,
        GpuCommandType.SetScreen or GpuCommandType.Flush => 48,
        GpuCommandType.Transfer => 56,
        GpuCommandType.Remove or GpuCommandType.AttachBacking or GpuCommandType.DetachBacking or GpuCommandType.GetEdid => 32,
        _ => null,
    };
}
