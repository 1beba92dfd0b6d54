namespace Doppel.Devices.Usb;

/// <summary>A transfer descriptor in guest memory (UHCI design guide 1.1, 3.2).</summary>
/// <param name="Link">What follows it.</param>
/// <param name="Status">Control and status.</param>
/// <param name="Token">What is sent to whom.</param>
/// <param name="Buffer">Address of the data.</param>
internal readonly record struct UhciTransfer(uint Link, uint Status, uint Token, uint Buffer)
{
    internal const int Size = 16, LongestPacket = 1280;
    internal const byte SetupPid = 0x2D, InPid = 0x69, OutPid = 0xE1;
    internal const uint Active = 1 << 23, Stalled = 1 << 22, Babble = 1 << 20, Nak = 1 << 19, Timeout = 1 << 18;
    internal const uint ShortPacketDetect = 1 << 29, InterruptOnComplete = 1 << 24, ErrorCount = 3 << 27, Errors = 0x7E_0000, ActualLength = 0x7FF;

    internal bool IsActive => (Status & Active) != 0;

    internal byte Pid => (byte)Token;

    internal int Address => (int)(Token >> 8) & 0x7F;

    internal int Endpoint => (int)(Token >> 15) & 0xF;

    /// <summary>Bytes to send, or to receive at most: 0 to 1280; above that the descriptor is wrong.</summary>
    internal int Length => (int)((Token >> 21) + 1) & 0x7FF;

    internal bool IsValid => Pid is SetupPid or InPid or OutPid && Length <= LongestPacket;
}
