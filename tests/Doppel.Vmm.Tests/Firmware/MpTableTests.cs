using Doppel.Machine.Bus;
using Doppel.Vmm.Firmware;

namespace Doppel.Vmm.Tests.Firmware;

public sealed class MpTableTests
{
    [Fact]
    public void The_floating_pointer_leads_to_a_table_that_agrees_with_the_madt()
    {
        using var f = new FirmwareFixture(new MachineLayout { CpuCount = 3, IoApicId = 5 });
        ulong pointer = f.Search("_MP_", 0xF0000);
        Assert.Equal(f.Addresses.MultiProcessor, pointer);
        Assert.Equal(0, f.Sum(pointer, 16));
        ulong table = f.U32(pointer + 4);
        Assert.Equal("PCMP", f.Text(table, 4));
        int length = f.U16(table + 4);
        Assert.Equal(0, f.Sum(table, length));
        Assert.Equal((uint)PcMemoryMap.LocalApic, f.U32(table + 36));

        int[] counts = new int[5];
        var timer = new List<byte>();
        ulong at = table + 44;
        for (int i = 0; i < f.U16(table + 34); i++)
        {
            int type = f.U8(at);
            counts[type]++;
            if (type == 0)
                Assert.Equal(counts[0] == 1 ? 3 : 1, f.U8(at + 3));
            if (type == 2)
                Assert.Equal(5, f.U8(at + 1));
            if (type == 3 && f.U8(at + 4) == 1 && f.U8(at + 5) == 0)
                timer.Add(f.U8(at + 7));
            if (type == 3)
                Assert.InRange(f.U8(at + 7), 0, 23);
            at += type == 0 ? 20u : 8u;
        }

        Assert.Equal(table + (ulong)length, at);
        Assert.Equal([3, 2, 1, 15 + 128, 2], counts);
        Assert.Equal([(byte)PcPorts.TimerGsi], timer);
    }
}
