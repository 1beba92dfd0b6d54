using System.Text;
using Doppel.Vmm.Firmware;

namespace Doppel.Vmm.Tests.Firmware;

public sealed class SmbiosTests
{
    private static readonly MachineLayout Layout = new()
    {
        CpuCount = 3,
        CpuSignature = 0x306C1,
        CpuFeatures = 0x178BFBFF,
        Uuid = new Guid("00112233-4455-6677-8899-aabbccddeeff"),
        SerialNumber = "vm-7",
    };

    [Fact]
    public void Both_entry_points_are_found_and_name_the_same_structures()
    {
        using var f = new FirmwareFixture(Layout);
        ulong new64 = f.Search("_SM3_", 0xF0000), old32 = f.Search("_SM_", 0xF0000);
        Assert.Equal(f.Addresses.Smbios3, new64);
        Assert.Equal(f.Addresses.Smbios, old32);
        Assert.Equal(0, f.Sum(new64, f.U8(new64 + 6)));
        Assert.Equal(0, f.Sum(old32, f.U8(old32 + 5)));
        Assert.Equal(0, f.Sum(old32 + 16, 15));
        Assert.Equal("_DMI_", f.Text(old32 + 16, 5));
        Assert.Equal(f.U64(new64 + 16), f.U32(old32 + 24));
        Assert.Equal(f.U32(new64 + 12), f.U16(old32 + 22));
        Dictionary<int, (byte[] Body, string[] Strings)> all = Structures(f, out int count);
        Assert.Equal(f.U16(old32 + 28), count);
        Assert.Equal([0, 1, 3, 4, 16, 17, 19, 32, 127], all.Keys.Order());
    }

    [Fact]
    public void The_structures_describe_the_machine()
    {
        using var f = new FirmwareFixture(Layout);
        Dictionary<int, (byte[] Body, string[] Strings)> all = Structures(f, out _);
        Assert.Equal(["Doppel", "Virtual Machine", "1", "vm-7"], all[1].Strings);
        Assert.Equal("33221100554477668899AABBCCDDEEFF", Convert.ToHexString(all[1].Body[8..24]));
        Assert.Equal(48, all[4].Body.Length);
        Assert.Equal(0x306C1u, BitConverter.ToUInt32(all[4].Body, 8));
        Assert.Equal(3, all[4].Body[35]);
        Assert.Equal(64u << 10, BitConverter.ToUInt32(all[16].Body, 7));
        Assert.Equal(64, BitConverter.ToUInt16(all[17].Body, 12));
        Assert.Equal((64u << 10) - 1, BitConverter.ToUInt32(all[19].Body, 8));
        Assert.Equal(1 << 4, all[0].Body[19] & (1 << 4));
    }

    [Fact]
    public void Large_memory_uses_the_extended_size()
    {
        using var f = new FirmwareFixture(Layout, 40UL << 30);
        Dictionary<int, (byte[] Body, string[] Strings)> all = Structures(f, out int count);
        Assert.Equal(10, count);
        Assert.Equal(0x7FFF, BitConverter.ToUInt16(all[17].Body, 12));
        Assert.Equal(40u << 10, BitConverter.ToUInt32(all[17].Body, 28));
    }

    [Fact]
    public void A_size_with_a_fraction_of_a_mebibyte_is_in_kibibytes()
    {
        using var f = new FirmwareFixture(Layout, (2 << 20) + (512 << 10));
        Assert.Equal(0x8000 | 2560, BitConverter.ToUInt16(Structures(f, out _)[17].Body, 12));
    }

    private static Dictionary<int, (byte[] Body, string[] Strings)> Structures(FirmwareFixture f, out int count)
    {
        byte[] table = f.Bytes(f.U64(f.Addresses.Smbios3 + 16), (int)f.U32(f.Addresses.Smbios3 + 12));
        var result = new Dictionary<int, (byte[] Body, string[] Strings)>();
        count = 0;
        int at = 0;
        while (at < table.Length)
        {
            int type = table[at], length = table[at + 1];
            int end = at + length;
            while (table[end] != 0 || table[end + 1] != 0)
                end++;
            string[] strings = Encoding.ASCII.GetString(table, at + length, end - at - length).Split('\0', StringSplitOptions.RemoveEmptyEntries);
            _ = result.TryAdd(type, (table[at..(at + length)], strings));
            count++;
            at = end + 2;
            if (type == 127)
                break;
        }

        Assert.Equal(table.Length, at);
        return result;
    }
}
