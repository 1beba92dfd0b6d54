using System.Buffers.Binary;
using Doppel.Devices.Cards;
using Doppel.Devices.Tests.Network;

namespace Doppel.Devices.Tests.Cards;

/// <summary>An RTL8139C on a network in memory, and a driver's side of it.</summary>
public sealed class Rtl8139Machine : PciCardMachine<Rtl8139>
{
    public const int Receive = 0x1_0000, Transmit = 0x10_0000;

    private int _next;

    public Rtl8139Machine(MemoryNetwork network)
        : base(0x14, 0x10, (platform, clock, memory, ports) => new Rtl8139("rtl8139-0", network.Connect(), Address, platform, clock, memory, ports))
    {
    }

    public uint Read(int register, int size = 4) => (uint)Registers.Read(Bar + (uint)register, size);

    public void Write(int register, uint value, int size = 4) => Registers.Write(Bar + (uint)register, size, value);

    public void Out(int register, uint value, int size) => Ports.Write(Port + (uint)register, size, value);

    public uint In(int register, int size) => (uint)Ports.Read(Port + (uint)register, size);

    /// <summary>Resets the card and starts it as drivers do: a buffer of 8 KiB, own and broadcast frames, all interrupts.</summary>
    public void Start(uint receive = 0x0000_E78A)
    {
        Write(0x37, 0x10, 1);
        Write(0x30, Receive);
        Write(0x37, 0x0C, 1);
        Write(0x44, receive);
        Write(0x40, 0x0300_0700);
        Write(0x3C, 0xE07F, 2);
        _next = 0;
    }

    /// <summary>Sends a frame from the next buffer.</summary>
    public void Send(byte[] frame, uint flags = 0)
    {
        Put(Transmit + (_next * 2048), frame);
        Write(0x20 + (4 * _next), (uint)(Transmit + (_next * 2048)));
        Write(0x10 + (4 * _next), (uint)frame.Length | flags);
        _next = (_next + 1) % 4;
    }

    /// <summary>Takes the next frame out of the ring, with its status.</summary>
    public (int Status, byte[] Frame) Take(int size = 8192)
    {
        Assert.Equal(0u, Read(0x37, 1) & 1);
        int place = (int)(Read(0x38, 2) + 16) & (size - 1);
        byte[] header = Bytes(Receive + place, 4);
        int length = BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(2));
        byte[] whole = Bytes(Receive, size + 2048);
        bool wraps = (Read(0x44) & 0x80) == 0;
        byte[] frame = [.. Enumerable.Range(place + 4, length).Select(i => whole[wraps ? i & (size - 1) : i])];
        Write(0x38, (uint)((place + 4 + length + 3) & ~3) - 16, 2);
        return (BinaryPrimitives.ReadUInt16LittleEndian(header), frame);
    }

    public async Task MoveFromAsync(Rtl8139Machine other)
    {
        await MoveCardFromAsync(other);
        _next = other._next;
    }
}
