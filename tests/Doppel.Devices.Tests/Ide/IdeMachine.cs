using System.Buffers.Binary;
using Doppel.Devices.Ata;
using Doppel.Devices.Ide;
using Doppel.Devices.Pci;
using Doppel.Devices.Storage;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Ide;

/// <summary>A PIIX3's IDE function with up to four drives, and a driver's side of it.</summary>
public sealed class IdeMachine : IDisposable
{
    public const ulong RamSize = 4 << 20;
    public const int BusMaster = 0xC000;
    public const int Data = 0, Error = 1, Features = 1, Count = 2, Low = 3, Middle = 4, High = 5, Device = 6, Status = 7;
    public const ulong Table = 0x1000;

    private readonly IoBus _ports;

    public IdeMachine(IBlockBackend? disk = null, IBlockBackend? slave = null, Func<DevicePlatform, AtaDevice>? cd = null, Action<StorageFullException>? full = null)
    {
        Memory = new GuestMemory(RamSize);
        _ports = new IoBus("port", 65536, Gate);
        var platform = new DevicePlatform(Memory, Gate, e =>
        {
            lock (Failures)
                Failures.Add(e);
        });
        var primary = new IdeChannel(
            "ide0", disk is null ? null : new AtaDisk("disk0", disk, platform, "serial-0", full), slave is null ? null : new AtaDisk("disk1", slave, platform, "serial-1", full), Primary);
        var secondary = new IdeChannel("ide1", cd?.Invoke(platform), null, Secondary, IdeChannel.SecondaryCommand, IdeChannel.SecondaryControl);
        Function = new PiixIde("ide", primary, secondary, Memory, _ports, new IoBus("mmio", 1UL << 40, Gate));
        Function.WriteConfig(0x20, 4, BusMaster);
        Function.WriteConfig(PciConfigSpace.Command, 2, 5);
        Assert.False(Primary.Level);
    }

    public Lock Gate { get; } = new();

    public GuestMemory Memory { get; }

    public FakeLine Primary { get; } = new();

    public FakeLine Secondary { get; } = new();

    public List<Exception> Failures { get; } = [];

    public PiixIde Function { get; }

    /// <summary>First port of the channel that the helpers use.</summary>
    public int Channel { get; set; } = IdeChannel.PrimaryCommand;

    public FakeLine Line => Channel == IdeChannel.PrimaryCommand ? Primary : Secondary;

    public byte AlternateStatus => (byte)_ports.Read((ulong)Channel + 0x206, 1);

    private ulong Master => (ulong)(BusMaster + (Channel == IdeChannel.PrimaryCommand ? 0 : 8));

    public byte In(int register) => (byte)_ports.Read((ulong)(Channel + register), 1);

    public void Out(int register, int value) => _ports.Write((ulong)(Channel + register), 1, (byte)value);

    public void Control(int value) => _ports.Write((ulong)Channel + 0x206, 1, (byte)value);

    public byte InMaster(int register) => (byte)_ports.Read(Master + (ulong)register, 1);

    public void OutMaster(int register, int value) => _ports.Write(Master + (ulong)register, 1, (byte)value);

    public ulong InPort(ulong port, int size) => _ports.Read(port, size);

    public void OutPort(ulong port, int size, ulong value) => _ports.Write(port, size, value);

    /// <summary>Waits until the drive is not busy.</summary>
    public byte Wait()
    {
        Assert.True(SpinWait.SpinUntil(() => (AlternateStatus & 0x80) == 0, TimeSpan.FromSeconds(30)));
        return AlternateStatus;
    }

    /// <summary>Writes a 28-bit address and a command.</summary>
    public void Begin(int command, uint lba = 0, int count = 1, int features = 0, int device = 0xE0)
    {
        Out(Device, device | (int)((lba >> 24) & 15));
        Out(Features, features);
        Out(Count, count);
        Out(Low, (byte)lba);
        Out(Middle, (byte)(lba >> 8));
        Out(High, (byte)(lba >> 16));
        Out(Status, command);
    }

    /// <summary>Writes a 48-bit address and a command.</summary>
    public void Begin48(int command, ulong lba, int count, int features = 0)
    {
        Out(Device, 0xE0);
        foreach (int shift in (int[])[1, 0])
        {
            Out(Features, features >> (8 * shift));
            Out(Count, count >> (8 * shift));
            Out(Low, (byte)(lba >> (24 * shift)));
            Out(Middle, (byte)(lba >> ((24 * shift) + 8)));
            Out(High, (byte)(lba >> ((24 * shift) + 16)));
        }

        Out(Status, command);
    }

    /// <summary>Takes data, a block at a time as DRQ offers them, until the command ends.</summary>
    public byte[] ReadAll(int block = 512, int width = 2)
    {
        var data = new List<byte>();
        while ((Wait() & 8) != 0)
        {
            Assert.True(Line.Level);
            _ = In(Status);
            Assert.False(Line.Level);
            for (int i = 0; i < block; i += width)
                data.AddRange(BitConverter.GetBytes(_ports.Read((ulong)Channel, width)).Take(width));
        }

        return [.. data];
    }

    /// <summary>Gives data, a block at a time as DRQ asks for them.</summary>
    public void WriteAll(byte[] data, int block = 512, int width = 2)
    {
        for (int at = 0; at < data.Length; at += block)
        {
            Assert.Equal(8, Wait() & 9);
            Assert.Equal(at != 0, Line.Level);
            _ = In(Status);
            for (int i = at; i < Math.Min(at + block, data.Length); i += width)
                _ports.Write((ulong)Channel, width, width == 2 ? BinaryPrimitives.ReadUInt16LittleEndian(data.AsSpan(i)) : BinaryPrimitives.ReadUInt32LittleEndian(data.AsSpan(i)));
        }
    }

    /// <summary>Ends a command: waits, checks that the interrupt is there, and acknowledges it.</summary>
    public byte End()
    {
        _ = Wait();
        Assert.True(Line.Level);
        byte status = In(Status);
        Assert.False(Line.Level);
        return status;
    }

    /// <summary>Writes a table of descriptors at <see cref="Table"/> and tells the bus master.</summary>
    public void SetTable(params (uint Address, int Length)[] pieces)
    {
        for (int i = 0; i < pieces.Length; i++)
        {
            byte[] descriptor = new byte[8];
            BinaryPrimitives.WriteUInt32LittleEndian(descriptor, pieces[i].Address);
            BinaryPrimitives.WriteUInt16LittleEndian(descriptor.AsSpan(4), (ushort)pieces[i].Length);
            descriptor[7] = i == pieces.Length - 1 ? (byte)0x80 : (byte)0;
            Assert.True(Memory.TryWrite(Table + (ulong)(8 * i), descriptor));
        }

        OutPort(Master + 4, 4, Table);
        OutMaster(2, 6);
    }

    /// <summary>Starts the bus master.</summary>
    /// <param name="toMemory">True for what the drive sends.</param>
    public void StartMaster(bool toMemory) => OutMaster(0, toMemory ? 9 : 1);

    public byte[] Bytes(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(Memory.TryRead(address, bytes));
        return bytes;
    }

    public void Put(ulong address, byte[] bytes) => Assert.True(Memory.TryWrite(address, bytes));

    /// <summary>Sends a packet and returns what comes back by PIO, or null when it failed.</summary>
    public byte[]? Packet(byte[] packet, int limit = 0xFFFE)
    {
        SendPacket(packet, limit);
        var data = new List<byte>();
        while ((Wait() & 8) != 0)
        {
            Assert.True(Line.Level);
            _ = In(Status);
            Assert.Equal(2, In(Count) & 3);
            int length = In(Middle) | (In(High) << 8);
            Assert.InRange(length, 1, limit);
            for (int i = 0; i < length; i += 2)
                data.AddRange(BitConverter.GetBytes((ushort)InPort((ulong)Channel, 2)).Take(Math.Min(2, length - i)));
        }

        byte status = End();
        Assert.Equal(3, In(Count) & 3);
        return (status & 1) != 0 ? null : [.. data];
    }

    public void SendPacket(byte[] packet, int limit = 0xFFFE, bool dma = false)
    {
        Out(Device, 0xA0);
        Out(Features, dma ? 1 : 0);
        Out(Middle, (byte)limit);
        Out(High, limit >> 8);
        Out(Status, 0xA0);
        Assert.Equal(0x48, Wait() & 0x49);
        Assert.Equal(1, In(Count) & 3);
        byte[] padded = [.. packet, .. new byte[12 - packet.Length]];
        for (int i = 0; i < 12; i += 2)
            OutPort((ulong)Channel, 2, BinaryPrimitives.ReadUInt16LittleEndian(padded.AsSpan(i)));
    }

    /// <summary>Sense key, additional code and qualifier of the last packet.</summary>
    public (int Key, int Code, int Qualifier) Sense()
    {
        byte[] sense = Packet([0x03, 0, 0, 0, 18])!;
        return (sense[2], sense[12], sense[13]);
    }

    public byte[] Save()
    {
        var writer = new StateWriter();
        lock (Gate)
            Function.Save(writer);
        return writer.ToArray();
    }

    /// <summary>Becomes the machine that another one was.</summary>
    public async Task MoveFromAsync(IdeMachine other)
    {
        await other.Function.HoldAsync();
        byte[] state = other.Save();
        Put(0, other.Bytes(0, (int)RamSize));
        lock (Gate)
        {
            var reader = new StateReader(state);
            Function.Restore(reader, 1);
            Assert.True(reader.IsAtEnd);
        }

        Assert.Equal(state, Save());
        Channel = other.Channel;
        Function.Release();
    }

    public void Dispose()
    {
        Function.Dispose();
        Memory.Dispose();
        Assert.Empty(Failures);
    }
}
