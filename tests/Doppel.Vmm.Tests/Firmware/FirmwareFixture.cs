using System.Buffers.Binary;
using System.Text;
using Doppel.Machine.Memory;
using Doppel.Vmm.Firmware;

namespace Doppel.Vmm.Tests.Firmware;

/// <summary>Memory into which the tables of a layout have been written, and how a guest finds them.</summary>
internal sealed class FirmwareFixture : IDisposable
{
    public FirmwareFixture(MachineLayout layout, ulong ramSize = 64 << 20)
    {
        Memory = new GuestMemory(ramSize);
        Addresses = FirmwareTables.Write(Memory, layout);
    }

    public GuestMemory Memory { get; }

    public FirmwareAddresses Addresses { get; }

    public void Dispose() => Memory.Dispose();

    public byte[] Bytes(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(Memory.TryRead(address, bytes));
        return bytes;
    }

    public byte U8(ulong address) => Bytes(address, 1)[0];

    public ushort U16(ulong address) => BinaryPrimitives.ReadUInt16LittleEndian(Bytes(address, 2));

    public uint U32(ulong address) => BinaryPrimitives.ReadUInt32LittleEndian(Bytes(address, 4));

    public ulong U64(ulong address) => BinaryPrimitives.ReadUInt64LittleEndian(Bytes(address, 8));

    public string Text(ulong address, int length) => Encoding.ASCII.GetString(Bytes(address, length));

    public int Sum(ulong address, int length) => Bytes(address, length).Sum(b => b) & 0xFF;

    /// <summary>Searches the BIOS area for an anchor on a multiple of 16, as guests do.</summary>
    public ulong Search(string anchor, ulong start = 0xE0000)
    {
        for (ulong address = start; address < 0x100000; address += 16)
        {
            if (Text(address, anchor.Length) == anchor)
                return address;
        }

        return 0;
    }

    /// <summary>Address of an ACPI table by its signature, through the XSDT; 0 if absent.</summary>
    public ulong Table(string signature)
    {
        ulong xsdt = U64(Addresses.Rsdp + 24);
        for (uint i = 36; i < U32(xsdt + 4); i += 8)
        {
            ulong table = U64(xsdt + i);
            if (Text(table, 4) == signature)
                return table;
        }

        return 0;
    }
}
