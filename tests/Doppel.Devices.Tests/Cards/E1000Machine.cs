using System.Buffers.Binary;
using Doppel.Devices.Cards;
using Doppel.Devices.Tests.Network;

namespace Doppel.Devices.Tests.Cards;

/// <summary>An 82540EM on a network in memory, and a driver's side of it.</summary>
public sealed class E1000Machine : PciCardMachine<E1000>
{
    public const int TransmitRing = 0x1_0000, ReceiveRing = 0x1_1000, Buffers = 0x10_0000, RingSize = 16;

    private int _tail;

    public E1000Machine(MemoryNetwork network)
        : base(0x10, 0x14, (platform, clock, memory, ports) => new E1000("e1000-0", network.Connect(), Address, platform, clock, memory, ports))
    {
    }

    public uint Read(int register) => (uint)Registers.Read(Bar + (uint)register, 4);

    public void Write(int register, uint value) => Registers.Write(Bar + (uint)register, 4, value);

    public void OutPort(int port, uint value) => Ports.Write(Port + (uint)port, 4, value);

    public uint InPort(int port) => (uint)Ports.Read(Port + (uint)port, 4);

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

    public async Task MoveFromAsync(E1000Machine other)
    {
        await MoveCardFromAsync(other);
        _tail = other._tail;
    }
}
