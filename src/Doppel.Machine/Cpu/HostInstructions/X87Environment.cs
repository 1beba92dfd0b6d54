using System.Runtime.CompilerServices;

namespace Doppel.Machine.Cpu.HostInstructions;

/// <summary>
/// The four layouts of the x87 environment in memory, 14 or 28 bytes, in protected mode or in real and virtual-8086 mode
/// (Intel SDM vol. 1, figures 8-9 to 8-12), against the FXSAVE form in which the state is kept.
/// </summary>
internal static unsafe class X87Environment
{
    /// <summary>A control word with the bits that do not exist as hardware stores them.</summary>
    internal static ushort LegalControl(ushort value) => (ushort)((value & 0x1F7F) | 0x40);

    /// <summary>Writes the environment.</summary>
    /// <returns>Its length, where the registers follow in FNSAVE's image.</returns>
    internal static int Store(byte* area, byte* image, bool is32, bool isReal)
    {
        ushort control = *(ushort*)area;
        ushort status = *(ushort*)(area + 2);
        ushort tags = FullTags(area);
        uint opcode = *(ushort*)(area + 6) & 0x7FFu;
        uint fip = *(uint*)(area + 8);
        uint fcs = *(ushort*)(area + 12);
        uint fdp = *(uint*)(area + 16);
        uint fds = *(ushort*)(area + 20);
        if (isReal)
        {
            fip += fcs << 4;
            fdp += fds << 4;
        }

        if (is32)
        {
            uint* words = (uint*)image;
            words[0] = 0xFFFF0000u | control;
            words[1] = 0xFFFF0000u | status;
            words[2] = 0xFFFF0000u | tags;
            words[3] = isReal ? 0xFFFF0000u | (fip & 0xFFFF) : fip;
            words[4] = isReal ? ((fip >> 16) << 12) | opcode : (opcode << 16) | fcs;
            words[5] = isReal ? 0xFFFF0000u | (fdp & 0xFFFF) : fdp;
            words[6] = isReal ? (fdp >> 16) << 12 : 0xFFFF0000u | fds;
            return 28;
        }

        ushort* halves = (ushort*)image;
        halves[0] = control;
        halves[1] = status;
        halves[2] = tags;
        halves[3] = (ushort)fip;
        halves[4] = (ushort)(isReal ? (((fip >> 16) & 15) << 12) | opcode : fcs);
        halves[5] = (ushort)fdp;
        halves[6] = (ushort)(isReal ? ((fdp >> 16) & 15) << 12 : fds);
        return 14;
    }

    /// <summary>Takes an environment over.</summary>
    /// <returns>Its length.</returns>
    internal static int Load(byte* area, byte* image, bool is32, bool isReal)
    {
        int step = is32 ? 4 : 2;
        *(ushort*)area = LegalControl(Unsafe.ReadUnaligned<ushort>(image));
        *(ushort*)(area + 2) = Unsafe.ReadUnaligned<ushort>(image + step);
        ushort tags = Unsafe.ReadUnaligned<ushort>(image + (2 * step));
        byte present = 0;
        for (int i = 0; i < 8; i++)
        {
            if (((tags >> (2 * i)) & 3) != 3)
                present |= (byte)(1 << i);
        }

        area[4] = present;
        uint fip = Word(3);
        uint selector = Word(4);
        uint fdp = Word(5);
        uint dataSelector = Word(6);
        if (isReal)
        {
            *(ushort*)(area + 6) = (ushort)(selector & 0x7FF);
            *(ulong*)(area + 8) = (fip & 0xFFFF) | (((selector >> 12) & 0xFFFF) << 16);
            *(ulong*)(area + 16) = (fdp & 0xFFFF) | (((dataSelector >> 12) & 0xFFFF) << 16);
        }
        else
        {
            *(ushort*)(area + 6) = (ushort)((selector >> 16) & 0x7FF);
            *(ulong*)(area + 8) = fip | ((ulong)(selector & 0xFFFF) << 32);
            *(ulong*)(area + 16) = fdp | ((ulong)(dataSelector & 0xFFFF) << 32);
        }

        return 7 * step;

        uint Word(int index) => is32 ? Unsafe.ReadUnaligned<uint>(image + (4 * index)) : Unsafe.ReadUnaligned<ushort>(image + (2 * index));
    }

    // Two bits a register: valid, zero, special, empty; from the register's contents as FNSTENV does.
    private static ushort FullTags(byte* area)
    {
        int top = (*(ushort*)(area + 2) >> 11) & 7;
        int tags = 0;
        for (int i = 0; i < 8; i++)
        {
            int tag = 3;
            if ((area[4] & (1 << i)) != 0)
            {
                byte* register = area + 32 + (16 * ((i - top) & 7));
                ulong significand = *(ulong*)register;
                int exponent = *(ushort*)(register + 8) & 0x7FFF;
                tag = exponent == 0 && significand == 0 ? 1 : exponent is 0 or 0x7FFF || significand >> 63 == 0 ? 2 : 0;
            }

            tags |= tag << (2 * i);
        }

        return (ushort)tags;
    }
}
