using Doppel.Devices;
using Doppel.Devices.Pc;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Vmm.Firmware;

namespace Doppel.Vmm.Tests.Firmware;

public sealed class LegacyBiosTests : IDisposable
{
    private const byte Iret = 0xCF;
    private readonly GuestMemory _memory = new(1 << 20);
    private readonly IoBus _ports = new("port", 0x10000, new Lock());
    private readonly PicPair _pic = new(DisconnectedLine.Instance);
    private readonly ByteLog _timer = new();

    public LegacyBiosTests()
    {
        _ports.Map(_pic.Ports);
        _ports.Map(PcPorts.Pit, 4, _timer);
        LegacyBios.Install(_memory, _ports, 2);
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void The_tick_arrives_at_vector_8_and_other_interrupts_are_masked()
    {
        _pic.Line(1).Set(true);
        _pic.Line(11).Set(true);
        Assert.False(_pic.IsAsserted);
        _pic.Line(0).Set(true);
        Assert.True(_pic.IsAsserted);
        Assert.Equal(0x08, _pic.Acknowledge());
    }

    [Fact]
    public void The_slave_stands_at_vector_70h()
    {
        _ports.Write(PcPorts.MasterPic + 1, 1, 0);
        _ports.Write(PcPorts.SlavePic + 1, 1, 0);
        _pic.Line(11).Set(true);
        Assert.Equal(0x73, _pic.Acknowledge());
    }

    [Fact]
    public void A_parallel_port_is_in_the_data_area_where_there_is_one()
    {
        byte[] place = new byte[2];
        Assert.True(_memory.TryRead(0x408, place));
        Assert.Equal([0, 0], place);
        LegacyBios.Install(_memory, _ports, 4, hasParallelPort: true);
        Assert.True(_memory.TryRead(0x408, place));
        Assert.Equal([0x78, 0x03], place);
    }

    [Fact]
    public void As_many_serial_ports_are_in_the_data_area_as_there_are()
    {
        Assert.Equal([0xF8, 0x03, 0xF8, 0x02, 0, 0, 0, 0], Read(0x400, 8));
        LegacyBios.Install(_memory, _ports, 4);
        Assert.Equal([0xF8, 0x03, 0xF8, 0x02, 0xE8, 0x03, 0xE8, 0x02], Read(0x400, 8));
    }

    [Fact]
    public void The_timer_counts_65536_in_mode_3() => Assert.Equal([(3, 0x36), (0, 0), (0, 0)], _timer.Writes);

    [Fact]
    public void Every_vector_points_at_a_handler_that_returns()
    {
        byte[] table = Read(0, 0x400);
        for (int vector = 0; vector < 256; vector++)
        {
            uint offset = BitConverter.ToUInt16(table, 4 * vector), segment = BitConverter.ToUInt16(table, (4 * vector) + 2);
            byte[] handler = Read((segment << 4) + offset, 9);
            Assert.Contains(Iret, handler);
        }
    }

    [Fact]
    public void Handlers_of_the_slave_end_the_interrupt_at_both_controllers()
    {
        byte[] table = Read(0x73 * 4, 4);
        byte[] handler = Read(((uint)BitConverter.ToUInt16(table, 2) << 4) + BitConverter.ToUInt16(table), 9);
        Assert.Equal([0xE6, 0xA0, 0xE6, 0x20], handler[3..7]);
    }

    [Fact]
    public void The_data_area_names_serial_ports_and_conventional_memory()
    {
        byte[] data = Read(0x400, 0x20);
        Assert.Equal(0x3F8, BitConverter.ToUInt16(data));
        Assert.Equal(0x2F8, BitConverter.ToUInt16(data, 2));
        Assert.Equal(0x9FC0, BitConverter.ToUInt16(data, 0x0E));
        Assert.Equal(639, BitConverter.ToUInt16(data, 0x13));
    }

    private byte[] Read(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(_memory.TryRead(address, bytes));
        return bytes;
    }

    private sealed class ByteLog : IIoRegion
    {
        public List<(int Offset, int Value)> Writes { get; } = [];

        public string Name => "log";

        public ulong Read(ulong offset, int size) => 0;

        public void Write(ulong offset, int size, ulong value) => Writes.Add(((int)offset, (int)value));
    }
}
