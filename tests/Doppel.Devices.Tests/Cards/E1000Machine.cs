using System.Buffers.Binary;
using Doppel.Devices.Cards;
using Doppel.Devices.Network;
using Doppel.Devices.Pci;
using Doppel.Devices.Tests.Network;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Cards;

/// <summary>An 82540EM on a network in memory, and a driver's side of it.</summary>
public sealed class E1000Machine : IDisposable
{
    public const ulong RamSize = 4 << 20;
    public const int TransmitRing = 0x1_0000, ReceiveRing = 0x1_1000, Buffers = 0x10_0000, RingSize = 16;
    public static readonly MacAddress Address = MacAddress.Read([0x52, 0x54, 0, 1, 2, 3]);

    private const ulong Bar = 0xD000_0000;
    private readonly IoBus _bus;
    private readonly IoBus _ports;
    private int _tail;

    public E1000Machine(MemoryNetwork network)
    {
        Memory = new GuestMemory(RamSize);
        _bus = new IoBus("mmio", 1UL << 40, Gate);
        _ports = new IoBus("port", 65536, Gate);
        var pci = new PciBus(_ => Line);
        var platform = new DevicePlatform(Memory, Gate, Failures.Add);
        Card = new E1000("e1000-0", network.Connect(), Address, platform, Clock, _bus, _ports);
        pci.Add(new PciAddress(0, 4, 0), Card);
        Card.WriteConfig(0x10, 4, (uint)Bar);
        Card.WriteConfig(0x14, 4, 0xC000);
        Card.WriteConfig(PciConfigSpace.Command, 2, 7);
    }

    public Lock Gate { get; } = new();

    public FakeClock Clock { get; } = new();

    public GuestMemory Memory { get; }

    public FakeLine Line { get; } = new();

    public List<Exception> Failures { get; } = [];

    public E1000 Card { get; }

    public uint Read(int register) => (uint)_bus.Read(Bar + (uint)register, 4);

    public void Write(int register, uint value) => _bus.Write(Bar + (uint)register, 4, value);

    public void OutPort(int port, uint value) => _ports.Write(0xC000 + (ulong)port, 4, value);

    public uint InPort(int port) => (uint)_ports.Read(0xC000 + (ulong)port, 4);

    /// <summary>Sets up both rings; buffers of 2048 bytes wait for frames.</summary>
    public void Start(uint receive = 0x0400_8002)
    {
        Write(0x3800, TransmitRing);
        Write(0x3804, 0);
        Write(0x3808, RingSize * 16);
        Write(0x3810, 0);
        Write(0x3818, 0);
        _tail = 0;
        Write(0x400, 2);
        for (int i = 0; i < RingSize; i++)
        {
            byte[] descriptor = new byte[16];
            BinaryPrimitives.WriteUInt64LittleEndian(descriptor, (ulong)(Buffers + (i * 0x1000)));
            Put(ReceiveRing + (i * 16), descriptor);
        }

        Write(0x2800, ReceiveRing);
        Write(0x2808, RingSize * 16);
        Write(0x2810, 0);
        Write(0x2818, RingSize - 1);
        Write(0x100, receive);
        Write(0xD0, 0x97);
        _ = Read(0xC0);
    }

    /// <summary>Queues a descriptor and, with the last of a frame, tells the card.</summary>
    public void Queue(ulong low, ulong high, bool tells = true)
    {
        byte[] descriptor = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(descriptor, low);
        BinaryPrimitives.WriteUInt64LittleEndian(descriptor.AsSpan(8), high);
        Put(TransmitRing + (_tail * 16), descriptor);
        _tail = (_tail + 1) % RingSize;
        if (tells)
            Write(0x3818, (uint)_tail);
    }

    public byte[] Descriptor(int ring, int index) => Bytes(ring + (index * 16), 16);

    public byte[] Bytes(int address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(Memory.TryRead((ulong)address, bytes));
        return bytes;
    }

    public void Put(int address, byte[] bytes) => Assert.True(Memory.TryWrite((ulong)address, bytes));

    public byte[] Save()
    {
        var writer = new StateWriter();
        lock (Gate)
            Card.Save(writer);
        return writer.ToArray();
    }

    public async Task MoveFromAsync(E1000Machine other)
    {
        await other.Card.HoldAsync();
        byte[] state = other.Save();
        Put(0, other.Bytes(0, (int)RamSize));
        Clock.Advance(other.Clock.Now - Clock.Now);
        lock (Gate)
        {
            var reader = new StateReader(state);
            Card.Restore(reader, 1);
            Assert.True(reader.IsAtEnd);
        }

        _tail = other._tail;
        Card.Release();
    }

    public void Dispose()
    {
        Card.Dispose();
        Memory.Dispose();
        Assert.Empty(Failures);
    }
}
