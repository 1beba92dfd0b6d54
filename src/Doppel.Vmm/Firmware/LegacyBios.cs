using System.Buffers.Binary;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Firmware;

/// <summary>
/// The state in which a PC's BIOS leaves the machine, for kernels that are entered as if by a boot loader and go back
/// to real mode: interrupt vectors, the BIOS data area, 8259s at vectors 08h and 70h, the 18.2 Hz tick, serial ports at
/// 9600 baud, 8N1. There are no BIOS services: every call returns with carry set.
/// </summary>
internal static class LegacyBios
{
    /// <summary>Where the handlers are: in the extended BIOS data area, which the memory map reserves.</summary>
    internal const ulong Handlers = PcMemoryMap.ConventionalEnd;

    /// <summary>First vector of the master 8259.</summary>
    internal const int MasterVector = 0x08;

    /// <summary>First vector of the slave 8259.</summary>
    internal const int SlaveVector = 0x70;

    private const ulong DataArea = 0x400;
    private const int ServiceOffset = 0x10, MasterOffset = 0x20, SlaveOffset = 0x30;

    /// <summary>Writes vectors, data area and handlers, and programs the interrupt controllers and the timer.</summary>
    /// <param name="memory">Memory of at least 1 MiB.</param>
    /// <param name="ports">The machine's ports, with its 8259s and its 8254.</param>
    /// <param name="serialPorts">Number of serial ports, 0 to 4, each at its usual place.</param>
    /// <param name="hasParallelPort">True when there is a parallel port at its usual place.</param>
    internal static void Install(GuestMemory memory, IoBus ports, int serialPorts, bool hasParallelPort = false)
    {
        Span<byte> area = stackalloc byte[0x40];
        area.Clear();
        area[0] = 1;
        // push bp; mov bp, sp; or byte [bp+6], 1; pop bp; iret: carry in the caller's flags
        ((ReadOnlySpan<byte>)[0x55, 0x89, 0xE5, 0x80, 0x4E, 0x06, 0x01, 0x5D, 0xCF]).CopyTo(area[ServiceOffset..]);
        // push ax; mov al, 20h; out 20h, al; pop ax; iret
        ((ReadOnlySpan<byte>)[0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF]).CopyTo(area[MasterOffset..]);
        // push ax; mov al, 20h; out A0h, al; out 20h, al; pop ax; iret
        ((ReadOnlySpan<byte>)[0x50, 0xB0, 0x20, 0xE6, 0xA0, 0xE6, 0x20, 0x58, 0xCF]).CopyTo(area[SlaveOffset..]);
        Write(memory, Handlers, area);

        Span<byte> vectors = stackalloc byte[0x400];
        for (int vector = 0; vector < 256; vector++)
        {
            int offset = vector is >= MasterVector and < MasterVector + 8 ? MasterOffset
                : vector is >= SlaveVector and < SlaveVector + 8 ? SlaveOffset
                : ServiceOffset;
            BinaryPrimitives.WriteUInt16LittleEndian(vectors[(4 * vector)..], (ushort)offset);
            BinaryPrimitives.WriteUInt16LittleEndian(vectors[((4 * vector) + 2)..], (ushort)(Handlers >> 4));
        }

        Write(memory, 0, vectors);

        Span<byte> data = stackalloc byte[0x20];
        data.Clear();
        for (int i = 0; i < serialPorts; i++)
            BinaryPrimitives.WriteUInt16LittleEndian(data[(2 * i)..], PcPorts.SerialPorts[i].Port);
        if (hasParallelPort)
            BinaryPrimitives.WriteUInt16LittleEndian(data[0x08..], PcPorts.Parallel1);
        BinaryPrimitives.WriteUInt16LittleEndian(data[0x0E..], (ushort)(Handlers >> 4));
        BinaryPrimitives.WriteUInt16LittleEndian(data[0x13..], (ushort)(PcMemoryMap.ConventionalEnd >> 10));
        Write(memory, DataArea, data);

        Initialize(ports, PcPorts.MasterPic, MasterVector, 0x04);
        Initialize(ports, PcPorts.SlavePic, SlaveVector, 0x02);
        // Only the tick has a handler that needs no device to be served.
        ports.Write(PcPorts.MasterPic + 1, 1, 0xFE);
        ports.Write(PcPorts.SlavePic + 1, 1, 0xFF);
        // Channel 0, both bytes, mode 3, count 65,536.
        ports.Write(PcPorts.Pit + 3, 1, 0x36);
        ports.Write(PcPorts.Pit, 1, 0);
        ports.Write(PcPorts.Pit, 1, 0);
        // Small kernels write to the serial port without setting it up; after reset it would send five bits a character.
        foreach ((ushort port, _) in PcPorts.SerialPorts.Take(serialPorts))
            InitializeSerial(ports, port);
    }

    // 16550 data sheet: divisor 12 (9600 baud), then eight bits, no parity, one stop bit.
    private static void InitializeSerial(IoBus ports, ushort port)
    {
        ports.Write(port + 3u, 1, 0x83);
        ports.Write(port, 1, 12);
        ports.Write(port + 1u, 1, 0);
        ports.Write(port + 3u, 1, 0x03);
    }

    // 8259A data sheet: ICW1 (edge-triggered, cascade, ICW4 follows), ICW2 (vector), ICW3 (wiring), ICW4 (8086 mode).
    private static void Initialize(IoBus ports, ushort port, byte vector, byte wiring)
    {
        ports.Write(port, 1, 0x11);
        ports.Write(port + 1u, 1, vector);
        ports.Write(port + 1u, 1, wiring);
        ports.Write(port + 1u, 1, 0x01);
    }

    private static void Write(GuestMemory memory, ulong address, ReadOnlySpan<byte> bytes)
    {
        if (!memory.TryWrite(address, bytes))
            throw new InvalidOperationException($"there is no RAM at 0x{address:x} for the BIOS's data");
    }
}
