using System.Buffers.Binary;
using Doppel.Devices.Ahci;
using Doppel.Devices.Ata;
using Doppel.Devices.Pci;
using Doppel.Devices.Storage;
using Doppel.Devices.Tests.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Ahci;

/// <summary>An AHCI controller with a disk at port 0 and a CD drive at port 1, and a driver's side of it.</summary>
public sealed class AhciMachine : IDisposable
{
    public const ulong RamSize = 4 << 20;
    public const int CommandList = 0x1_0000, Received = 0x1_8000, Tables = 0x2_0000, Buffers = 0x10_0000;
    public const int Is = 0x10, Ie = 0x14, Cmd = 0x18, Tfd = 0x20, Sig = 0x24, Ssts = 0x28, Sctl = 0x2C, Serr = 0x30, Sact = 0x34, Ci = 0x38;

    private const ulong Bar = 0xD000_0000;
    private readonly IoBus _bus;

    public AhciMachine(IBlockBackend disk, IBlockBackend disc, Action<StorageFullException>? full = null)
    {
        Memory = new GuestMemory(RamSize);
        _bus = new IoBus("mmio", 1UL << 40, Gate);
        var pci = new PciBus(_ => Line);
        var platform = new DevicePlatform(Memory, Gate, e =>
        {
            lock (Failures)
                Failures.Add(e);
        });
        Cdrom = new AtapiCdrom("cd", disc, platform);
        Controller = new AhciController("ahci", [new AtaDisk("disk", disk, platform, "serial", full), Cdrom], platform, _bus, new IoBus("port", 65536, Gate), Messages, full);
        pci.Add(new PciAddress(0, 4, 0), Controller);
        Controller.WriteConfig(0x24, 4, (uint)Bar);
        Controller.WriteConfig(PciConfigSpace.Command, 2, 6);
    }

    public Lock Gate { get; } = new();

    public GuestMemory Memory { get; }

    public FakeLine Line { get; } = new();

    public MessageRecorder Messages { get; } = new();

    public List<Exception> Failures { get; } = [];

    public AtapiCdrom Cdrom { get; }

    public AhciController Controller { get; }

    public uint Read(int register) => (uint)_bus.Read(Bar + (uint)register, 4);

    public void Write(int register, uint value) => _bus.Write(Bar + (uint)register, 4, value);

    public uint ReadPort(int port, int register) => Read(0x100 + (0x80 * port) + register);

    public void WritePort(int port, int register, uint value) => Write(0x100 + (0x80 * port) + register, value);

    /// <summary>Resets the controller and starts ports 0 and 1.</summary>
    public void Start()
    {
        Write(4, 1);
        Wait(() => (Read(4) & 1) == 0);
        Write(4, 0x8000_0002);
        for (int port = 0; port < 2; port++)
        {
            WritePort(port, 0x00, (uint)(CommandList + (port * 0x400)));
            WritePort(port, 0x08, (uint)(Received + (port * 0x100)));
            WritePort(port, Ie, 0xFFFF_FFFF);
            WritePort(port, Cmd, 0x16);
            WritePort(port, Serr, uint.MaxValue);
            WritePort(port, Is, uint.MaxValue);
            WritePort(port, Cmd, 0x17);
        }
    }

    public static void Wait(Func<bool> condition) => Assert.True(SpinWait.SpinUntil(condition, TimeSpan.FromSeconds(30)));

    /// <summary>Writes a command into a slot.</summary>
    public void Prepare(int port, int slot, byte[] frame, (ulong Address, int Length)[] regions, bool writes = false, byte[]? packet = null)
    {
        int table = Tables + (port * 0x2_0000) + (slot * 0x1000);
        byte[] header = new byte[32];
        BinaryPrimitives.WriteUInt32LittleEndian(header, 5u | (packet is null ? 0 : 0x20u) | (writes ? 0x40u : 0) | ((uint)regions.Length << 16));
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), (ulong)table);
        Put((ulong)(CommandList + (port * 0x400) + (slot * 32)), header);
        byte[] content = new byte[0x80 + (16 * regions.Length)];
        frame.CopyTo(content, 0);
        packet?.CopyTo(content, 0x40);
        for (int i = 0; i < regions.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(content.AsSpan(0x80 + (16 * i)), regions[i].Address);
            BinaryPrimitives.WriteUInt32LittleEndian(content.AsSpan(0x80 + (16 * i) + 12), (uint)regions[i].Length - 1);
        }

        Put((ulong)table, content);
    }

    public static byte[] Frame(byte command, ulong lba = 0, int count = 0, int features = 0, byte device = 0x40)
    {
        byte[] frame = new byte[20];
        (frame[0], frame[1], frame[2], frame[7]) = (0x27, 0x80, command, device);
        (frame[4], frame[5], frame[6], frame[8], frame[9], frame[10]) = ((byte)lba, (byte)(lba >> 8), (byte)(lba >> 16), (byte)(lba >> 24), (byte)(lba >> 32), (byte)(lba >> 40));
        (frame[3], frame[11], frame[12], frame[13]) = ((byte)features, (byte)(features >> 8), (byte)count, (byte)(count >> 8));
        return frame;
    }

    public static byte[] Queued(bool writes, int tag, ulong lba, int count) => Frame((byte)(writes ? 0x61 : 0x60), lba, tag << 3, count);

    /// <summary>Issues slot 0 and waits for it.</summary>
    /// <returns>Status and error.</returns>
    public (int Status, int Error) Do(int port, byte[] frame, (ulong Address, int Length)[] regions, bool writes = false, byte[]? packet = null)
    {
        Prepare(port, 0, frame, regions, writes, packet);
        WritePort(port, Ci, 1);
        Wait(() => ReadPort(port, Ci) == 0 || (ReadPort(port, Is) & 0x4000_0000) != 0);
        uint task = ReadPort(port, Tfd);
        WritePort(port, Is, uint.MaxValue);
        return ((int)(task & 0xFF), (int)(task >> 8));
    }

    /// <summary>Starts a port again after an error.</summary>
    public void Restart(int port)
    {
        WritePort(port, Cmd, 0x16);
        Wait(() => (ReadPort(port, Cmd) & 0x8000) == 0);
        WritePort(port, Serr, uint.MaxValue);
        WritePort(port, Is, uint.MaxValue);
        WritePort(port, Cmd, 0x17);
    }

    public byte[] Bytes(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(Memory.TryRead(address, bytes));
        return bytes;
    }

    public void Put(ulong address, byte[] bytes) => Assert.True(Memory.TryWrite(address, bytes));

    public byte[] Save()
    {
        var writer = new StateWriter();
        lock (Gate)
            Controller.Save(writer);
        return writer.ToArray();
    }

    public async Task MoveFromAsync(AhciMachine other)
    {
        await other.Controller.HoldAsync();
        byte[] state = other.Save();
        Put(0, other.Bytes(0, (int)RamSize));
        lock (Gate)
        {
            var reader = new StateReader(state);
            Controller.Restore(reader, 1);
            Assert.True(reader.IsAtEnd);
        }

        Assert.Equal(state, Save());
        Controller.Release();
    }

    public void Dispose()
    {
        Controller.Dispose();
        Memory.Dispose();
        Assert.Empty(Failures);
    }
}
