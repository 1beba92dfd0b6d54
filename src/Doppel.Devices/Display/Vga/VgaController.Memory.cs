using System.Buffers.Binary;
using Doppel.Machine.Bus;

namespace Doppel.Devices.Display.Vga;

/// <content>The windows at A0000h to BFFFFh: planes, latches, write and read modes (graphics controller registers 0 to 8).</content>
public sealed partial class VgaController
{
    private const int Outside = -1;

    // Each of four bits as a byte of all ones.
    private static ReadOnlySpan<uint> PlaneMasks =>
    [
        0x00000000, 0x000000FF, 0x0000FF00, 0x0000FFFF, 0x00FF0000, 0x00FF00FF, 0x00FFFF00, 0x00FFFFFF,
        0xFF000000, 0xFF0000FF, 0xFF00FF00, 0xFF00FFFF, 0xFFFF0000, 0xFFFF00FF, 0xFFFFFF00, 0xFFFFFFFF,
    ];

    private bool IsChained => (_registers.Sequencer[4] & 8) != 0;

    private byte ReadWindow(int offset)
    {
        int address = Locate(offset);
        if (address == Outside)
            return 0xFF;
        Span<byte> memory = _memory.Bytes;
        VgaRegisters r = _registers;
        if (IsChained)
        {
            address &= memory.Length - 1;
            r.Latch = BinaryPrimitives.ReadUInt32LittleEndian(memory[(address & ~3)..]);
            return memory[address];
        }

        bool isOddEven = (r.Graphics[5] & 0x10) != 0;
        int group = (4 * (isOddEven ? address >> 1 : address)) & (memory.Length - 1);
        uint latch = r.Latch = BinaryPrimitives.ReadUInt32LittleEndian(memory[group..]);
        if ((r.Graphics[5] & 8) == 0)
        {
            int plane = isOddEven ? (r.Graphics[4] & 2) | (address & 1) : r.Graphics[4] & 3;
            return (byte)(latch >> (8 * plane));
        }

        // Read mode 1: a bit for each pixel whose colour is the one compared with, in the planes that count.
        uint differs = (latch ^ PlaneMasks[r.Graphics[2] & 15]) & PlaneMasks[r.Graphics[7] & 15];
        return (byte)~(differs | (differs >> 8) | (differs >> 16) | (differs >> 24));
    }

    private void WriteWindow(int offset, byte value)
    {
        int address = Locate(offset);
        if (address == Outside)
            return;
        Span<byte> memory = _memory.Bytes;
        VgaRegisters r = _registers;
        int planes = r.Sequencer[2] & 15;
        int group;
        if (IsChained)
        {
            planes &= 1 << (address & 3);
            group = address & ~3 & (memory.Length - 1);
        }
        else if ((r.Sequencer[4] & 4) == 0)
        {
            planes &= (address & 1) != 0 ? 0b1010 : 0b0101;
            group = (4 * (address >> 1)) & (memory.Length - 1);
        }
        else
        {
            group = (4 * address) & (memory.Length - 1);
        }

        if (planes == 0)
            return;
        uint mask = PlaneMasks[planes];
        uint old = BinaryPrimitives.ReadUInt32LittleEndian(memory[group..]);
        BinaryPrimitives.WriteUInt32LittleEndian(memory[group..], (old & ~mask) | (Combine(value) & mask));
        _memory.NoteWrite(group, 4);
    }

    // What the graphics controller makes of a byte from the CPU and of the latches, for all planes.
    private uint Combine(byte value)
    {
        VgaRegisters r = _registers;
        byte bits = r.Graphics[8];
        byte rotated = byte.RotateRight(value, r.Graphics[3] & 7);
        uint data;
        switch (r.Graphics[5] & 3)
        {
            case 0:
                uint setOrReset = PlaneMasks[r.Graphics[1] & 15];
                data = (rotated * 0x01010101u & ~setOrReset) | (PlaneMasks[r.Graphics[0] & 15] & setOrReset);
                break;
            case 1:
                return r.Latch;
            case 2:
                data = PlaneMasks[value & 15];
                break;
            default:
                data = PlaneMasks[r.Graphics[0] & 15];
                bits &= rotated;
                break;
        }

        data = ((r.Graphics[3] >> 3) & 3) switch
        {
            1 => data & r.Latch,
            2 => data | r.Latch,
            3 => data ^ r.Latch,
            _ => data,
        };
        uint mask = bits * 0x01010101u;
        return (data & mask) | (r.Latch & ~mask);
    }

    // Where in the planes an offset from A0000h leads.
    private int Locate(int offset)
    {
        VgaRegisters r = _registers;
        if ((r.Misc & 2) == 0 && !r.Vbe.IsEnabled)
            return Outside;
        int bank = r.Vbe.IsEnabled ? r.Vbe.BankOffset : 0;
        if (bank != 0 && !IsChained)
            bank >>= 2;
        return ((r.Graphics[6] >> 2) & 3) switch
        {
            0 => offset + bank,
            1 => offset < 0x10000 ? offset + bank : Outside,
            2 => offset is >= 0x10000 and < 0x18000 ? offset - 0x10000 : Outside,
            _ => offset >= 0x18000 ? offset - 0x18000 : Outside,
        };
    }

    private sealed class WindowRegion(VgaController owner) : IIoRegion
    {
        public string Name => "vga-memory";

        public ulong Read(ulong offset, int size)
        {
            ulong value = 0;
            for (int i = 0; i < size; i++)
            {
                int at = (int)offset + i;
                value |= (ulong)(at < WindowLength ? owner.ReadWindow(at) : 0xFF) << (8 * i);
            }

            return value;
        }

        public void Write(ulong offset, int size, ulong value)
        {
            for (int i = 0; i < size; i++)
            {
                int at = (int)offset + i;
                if (at < WindowLength)
                    owner.WriteWindow(at, (byte)(value >> (8 * i)));
            }
        }
    }
}
