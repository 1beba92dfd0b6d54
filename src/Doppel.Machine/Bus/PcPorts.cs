namespace Doppel.Machine.Bus;

/// <summary>
/// I/O ports and interrupt inputs of the PC platform. Devices answer at these and the firmware tables announce
/// them, so that both read the same constants.
/// </summary>
public static class PcPorts
{
    /// <summary>SMI command port of ACPI (FADT.SMI_CMD): <see cref="AcpiEnable"/> and <see cref="AcpiDisable"/> are written here.</summary>
    public const ushort SmiCommand = 0xB2;

    /// <summary>SMI status/data port beside <see cref="SmiCommand"/>: a plain byte latch.</summary>
    public const ushort SmiData = 0xB3;

    /// <summary>Written to <see cref="SmiCommand"/>: sets PM1_CNT.SCI_EN (FADT.ACPI_ENABLE).</summary>
    public const byte AcpiEnable = 0xF1;

    /// <summary>Written to <see cref="SmiCommand"/>: clears PM1_CNT.SCI_EN (FADT.ACPI_DISABLE).</summary>
    public const byte AcpiDisable = 0xF0;

    /// <summary>PM1a event block: status (2 bytes) and enable (2 bytes), ACPI 6.4 section 4.8.3.1.</summary>
    public const ushort Pm1Event = 0x600;

    /// <summary>Bytes of the PM1a event block.</summary>
    public const ushort Pm1EventLength = 4;

    /// <summary>PM1a control register, ACPI 6.4 section 4.8.3.2.</summary>
    public const ushort Pm1Control = 0x604;

    /// <summary>Bytes of the PM1a control register.</summary>
    public const ushort Pm1ControlLength = 2;

    /// <summary>ACPI power management timer: 32 bits at <see cref="PmTimerFrequency"/>.</summary>
    public const ushort PmTimer = 0x608;

    /// <summary>Bytes of the PM timer.</summary>
    public const ushort PmTimerLength = 4;

    /// <summary>Ticks of the PM timer in a second (ACPI 6.4 section 4.8.2.1).</summary>
    public const uint PmTimerFrequency = 3_579_545;

    /// <summary>General-purpose event block 0: status (2 bytes) and enable (2 bytes).</summary>
    public const ushort Gpe0 = 0x620;

    /// <summary>Bytes of the general-purpose event block 0.</summary>
    public const ushort Gpe0Length = 4;

    /// <summary>SLP_TYP of S5 in PM1 control (bits 12 to 10) that powers the machine off; the DSDT's \_S5 names it.</summary>
    public const byte SleepTypeOff = 5;

    /// <summary>SLP_TYP of soft off in the PIIX4 (data sheet 290562, 7.1.3), which firmware and small systems write without a look at \_S5.</summary>
    public const byte SleepTypePiix4Off = 0;

    /// <summary>Reset control register of the chipset; also FADT.RESET_REG.</summary>
    public const ushort ResetControl = 0xCF9;

    /// <summary>Written to <see cref="ResetControl"/>: a hard reset (FADT.RESET_VALUE).</summary>
    public const byte ResetValue = 6;

    /// <summary>PCI configuration address register.</summary>
    public const ushort PciConfigAddress = 0xCF8;

    /// <summary>PCI configuration data, four bytes.</summary>
    public const ushort PciConfigData = 0xCFC;

    /// <summary>Master 8259: two ports.</summary>
    public const ushort MasterPic = 0x20;

    /// <summary>Slave 8259: two ports.</summary>
    public const ushort SlavePic = 0xA0;

    /// <summary>Edge/level control registers of both 8259s: two ports.</summary>
    public const ushort Elcr = 0x4D0;

    /// <summary>8254 timer: four ports.</summary>
    public const ushort Pit = 0x40;

    /// <summary>System control port B: timer gate, speaker, refresh.</summary>
    public const ushort SystemControlB = 0x61;

    /// <summary>System control port A: fast A20 and reset.</summary>
    public const ushort SystemControlA = 0x92;

    /// <summary>8042 data.</summary>
    public const ushort KeyboardData = 0x60;

    /// <summary>8042 status and command.</summary>
    public const ushort KeyboardCommand = 0x64;

    /// <summary>MC146818: index and data.</summary>
    public const ushort Rtc = 0x70;

    /// <summary>First UART: eight ports, <see cref="Serial1Irq"/>.</summary>
    public const ushort Serial1 = 0x3F8;

    /// <summary>Second UART: eight ports, <see cref="Serial2Irq"/>.</summary>
    public const ushort Serial2 = 0x2F8;

    /// <summary>Third UART: eight ports; it shares <see cref="Serial1Irq"/> with the first.</summary>
    public const ushort Serial3 = 0x3E8;

    /// <summary>Fourth UART: eight ports; it shares <see cref="Serial2Irq"/> with the second.</summary>
    public const ushort Serial4 = 0x2E8;

    /// <summary>First parallel port: eight ports, <see cref="Parallel1Irq"/>.</summary>
    public const ushort Parallel1 = 0x378;

    /// <summary>ISA interrupt of the PIT; enters the IOAPIC at <see cref="TimerGsi"/>.</summary>
    public const int TimerIrq = 0;

    /// <summary>IOAPIC input of the PIT: ISA interrupt 0 is overridden to it, as the PC's wiring has it.</summary>
    public const int TimerGsi = 2;

    /// <summary>ISA interrupt of the keyboard.</summary>
    public const int KeyboardIrq = 1;

    /// <summary>ISA interrupt of the first UART, and of the third.</summary>
    public const int Serial1Irq = 4;

    /// <summary>ISA interrupt of the second UART, and of the fourth.</summary>
    public const int Serial2Irq = 3;

    /// <summary>ISA interrupt of the first parallel port.</summary>
    public const int Parallel1Irq = 7;

    /// <summary>First port and interrupt of each UART, in the order of their numbers.</summary>
    public static IReadOnlyList<(ushort Port, int Irq)> SerialPorts { get; } = [(Serial1, Serial1Irq), (Serial2, Serial2Irq), (Serial3, Serial1Irq), (Serial4, Serial2Irq)];

    /// <summary>ISA interrupt of the RTC.</summary>
    public const int RtcIrq = 8;

    /// <summary>ISA interrupt of the coprocessor's error.</summary>
    public const int CoprocessorIrq = 13;

    /// <summary>System control interrupt of ACPI: level, active high, on the PIC as on the IOAPIC.</summary>
    public const int SciIrq = 9;

    /// <summary>IOAPIC input of the first PCI interrupt link; INTA to INTD of slot s use 16 + ((s + pin) mod 4) (pin: 0 for INTA).</summary>
    public const int PciFirstGsi = 16;

    /// <summary>Number of PCI interrupt links.</summary>
    public const int PciGsiCount = 4;

    /// <summary>First of the global system interrupts that virtio devices outside PCI share; behind those of PCI.</summary>
    public const int VirtioMmioFirstGsi = 20;

    /// <summary>Number of the global system interrupts of virtio devices outside PCI.</summary>
    public const int VirtioMmioGsiCount = 4;

    /// <summary>General-purpose event that says that the generation identifier has changed.</summary>
    public const int GenerationEvent = 5;

    /// <summary>The ISA interrupt to which a PCI interrupt link (0 to 3) leads as long as the 8259s are in use.</summary>
    public static int PciLinkIrq(int link) => (link & 1) == 0 ? 10 : 11;
}
