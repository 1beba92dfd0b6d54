using Doppel.Devices.Network;

namespace Doppel.Devices.Cards;

/// <summary>A frame that a card sends: its bytes, and what is still to be done to it.</summary>
internal sealed class CardFrame
{
    /// <summary>Longest frame: 64 KiB with the headers in front.</summary>
    internal const int MaximumLength = 65536 + 64;

    /// <summary>Room for the bytes.</summary>
    internal byte[] Buffer { get; } = new byte[MaximumLength];

    /// <summary>Number of bytes.</summary>
    internal int Length { get; set; }

    /// <summary>What is still to be done.</summary>
    internal FrameOffload Offload { get; set; }

    /// <summary>The bytes.</summary>
    internal Span<byte> Bytes => Buffer.AsSpan(0, Length);
}
