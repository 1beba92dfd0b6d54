namespace Doppel.Devices.Cards;

/// <summary>Offsets of the 82540EM's registers (PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 317453, chapter 13).</summary>
internal static class E1000Register
{
    internal const int Control = 0x0000, Status = 0x0008, EepromControl = 0x0010, EepromRead = 0x0014, Mdi = 0x0020, VlanType = 0x0038;
    internal const int InterruptCause = 0x00C0, Throttle = 0x00C4, SetCause = 0x00C8, EnableCause = 0x00D0, DisableCause = 0x00D8;
    internal const int ReceiveControl = 0x0100, TransmitControl = 0x0400;
    internal const int ReceiveBase = 0x2800, ReceiveLength = 0x2808, ReceiveHead = 0x2810, ReceiveTail = 0x2818;
    internal const int TransmitBase = 0x3800, TransmitLength = 0x3808, TransmitHead = 0x3810, TransmitTail = 0x3818;
    internal const int FirstCounter = 0x4000, EndOfCounters = 0x4100;
    internal const int GoodReceived = 0x4074, GoodSent = 0x4080, BytesReceived = 0x4088, BytesSent = 0x4090, AllReceived = 0x40D0, AllSent = 0x40D4;
    internal const int MulticastTable = 0x5200, EndOfMulticastTable = 0x5400, FirstAddress = 0x5400, AddressCount = 16, VlanTable = 0x5600;

    /// <summary>Bytes of registers that are kept.</summary>
    internal const int Length = 0x6000;
}
