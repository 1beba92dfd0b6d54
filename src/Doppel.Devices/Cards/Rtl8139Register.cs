namespace Doppel.Devices.Cards;

/// <summary>Offsets of the RTL8139C's registers (data sheet, chapter 5).</summary>
internal static class Rtl8139Register
{
    internal const int Address = 0x00, MulticastTable = 0x08, TransmitStatus = 0x10, TransmitAddress = 0x20, ReceiveBuffer = 0x30;
    internal const int EarlyCount = 0x34, EarlyStatus = 0x36, Command = 0x37, ReadPlace = 0x38, WritePlace = 0x3A, InterruptMask = 0x3C, InterruptStatus = 0x3E;
    internal const int TransmitConfiguration = 0x40, ReceiveConfiguration = 0x44, Timer = 0x48, Missed = 0x4C, EepromCommand = 0x50, Configuration0 = 0x51, Configuration1 = 0x52;
    internal const int TimerInterrupt = 0x54, MediaStatus = 0x58, Configuration3 = 0x59, Configuration4 = 0x5A, MultipleInterrupt = 0x5C, Revision = 0x5E, TransmitSummary = 0x60;
    internal const int BasicMode = 0x62, BasicStatus = 0x64, Advertised = 0x66, Partner = 0x68, Expansion = 0x6A, Nway = 0x70, ConfigurationStatus = 0x74, Phy1 = 0x78, Twister = 0x7C, Phy2 = 0x80;

    /// <summary>Bytes of registers.</summary>
    internal const int Length = 256;

    /// <summary>Number of transmit descriptors.</summary>
    internal const int Descriptors = 4;
}
