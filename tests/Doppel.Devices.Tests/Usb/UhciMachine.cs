using System.Buffers.Binary;
using Doppel.Devices.Pci;
using Doppel.Devices.Usb;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Usb;

/// <summary>A UHCI with a tablet, and a driver's side of it: one queue in all frames, whose transfers lie behind one another.</summary>
public sealed class UhciMachine : IDisposable
{
    public const int Command = 0, Status = 2, InterruptEnable = 4, FrameNumber = 6, FrameList = 8, Port1 = 0x10, Port2 = 0x12;
    public const uint Active = 1 << 23, Stalled = 1 << 22, Babble = 1 << 20, Nak = 1 << 19, TimedOut = 1 << 18, Complete = 1 << 24, DetectShort = 1 << 29;
    public const byte Setup = 0x2D, In = 0x69, Out = 0xE1;
    public const uint List = 0x1000, Queue = 0x3000, Transfers = 0x4000, Buffers = 0x8000;
    public const long Frame = 1_000_000;

    private const uint Base = 0xC000;
    private readonly IoBus _ports;

    public UhciMachine()
    {
        _ports = new IoBus("port", 65536, Gate);
        Tablet = new UsbTablet(Clock);
        Function = new UhciController(Tablet, new DevicePlatform(Memory, Gate, Failures.Add), Clock, _ports, new IoBus("mmio", 1UL << 36, Gate));
        new PciBus(_ => Line).Add(new PciAddress(0, 1, 2), Function);
        Function.WriteConfig(0x20, 4, Base);
        Function.WriteConfig(PciConfigSpace.Command, 2, 5);
    }

    public Lock Gate { get; } = new();

    public FakeClock Clock { get; } = new();

    public GuestMemory Memory { get; } = new(1 << 20);

    public FakeLine Line { get; } = new();

    public List<Exception> Failures { get; } = [];

    public UsbTablet Tablet { get; }

    public UhciController Function { get; }

    public ushort Read(int register) => (ushort)_ports.Read(Base + (uint)register, 2);

    public void Write(int register, int value, int size = 2) => _ports.Write(Base + (uint)register, size, (uint)value);

    public uint Word(uint address)
    {
        Span<byte> bytes = stackalloc byte[4];
        Assert.True(Memory.TryRead(address, bytes));
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    public void Put(uint address, params ReadOnlySpan<uint> words)
    {
        byte[] bytes = new byte[4 * words.Length];
        for (int i = 0; i < words.Length; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4 * i), words[i]);
        Assert.True(Memory.TryWrite(address, bytes));
    }

    public byte[] Bytes(uint address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(Memory.TryRead(address, bytes));
        return bytes;
    }

    /// <summary>Starts the controller with an empty queue and resets the tablet's port.</summary>
    public void Start()
    {
        for (uint i = 0; i < 1024; i++)
            Put(List + (4 * i), Queue | 2);
        Put(Queue, 1, 1);
        Write(FrameList, (int)List, 4);
        Write(InterruptEnable, 15);
        Write(Command, 0xC1);
        Write(Port1, 0x0200);
        Clock.Advance(50 * Frame);
        Write(Port1, 0x0000);
        Write(Port1, 0x000E);
    }

    /// <summary>A transfer's token.</summary>
    public static uint Token(byte pid, int address, int endpoint, int length, bool isData1 = false) =>
        pid | ((uint)address << 8) | ((uint)endpoint << 15) | (isData1 ? 1u << 19 : 0) | ((uint)(length - 1) << 21);

    /// <summary>Puts one transfer into the queue, last of all.</summary>
    public void Submit(uint token, uint status = Active | (3 << 27) | Complete, uint buffer = Buffers)
    {
        Put(Transfers, 1, status, token, buffer);
        Put(Queue + 4, Transfers);
    }

    /// <summary>A control transfer of as many descriptors as it takes.</summary>
    /// <returns>The data; null when the device refused.</returns>
    public byte[]? Control(int address, UsbSetup setup, ReadOnlySpan<byte> data = default)
    {
        Assert.True(Memory.TryWrite(Buffers, setup.ToBytes()));
        Assert.True(Memory.TryWrite(Buffers + 8, data));
        uint at = Transfers;
        void Add(byte pid, int length, uint buffer, uint flags)
        {
            Put(at, (at + 16) | 4, Active | (3 << 27) | 0x7FF | flags, Token(pid, address, 0, length, isData1: true), buffer);
            at += 16;
        }

        Add(Setup, 8, Buffers, 0);
        byte dataPid = setup.IsIn ? In : Out;
        for (int done = 0; done < setup.Length; done += 8)
            Add(dataPid, Math.Min(8, setup.Length - done), Buffers + 8 + (uint)done, DetectShort);
        uint status = at;
        Add(setup.IsIn && setup.Length > 0 ? Out : In, 0, 0, Complete);
        Put(status, 1);
        Put(Queue + 4, Transfers);
        int received = 0;
        for (int frame = 0; frame < 40; frame++)
        {
            Clock.Advance(Frame);
            uint element = Word(Queue + 4);
            if ((element & 1) != 0)
                break;
            uint state = Word((element & ~0xFu) + 4);
            if ((state & Stalled) != 0)
                return null;
            // A short packet leaves the queue where it is; the driver goes on to the status stage.
            if ((state & Active) == 0)
                Put(Queue + 4, status);
        }

        Assert.Equal(0u, Word(status + 4) & Active);
        for (uint each = Transfers + 16; each < status; each += 16)
            received += (int)((Word(each + 4) + 1) & 0x7FF);
        return setup.IsIn ? Bytes(Buffers + 8, received) : [];
    }

    /// <summary>Gives the tablet address 5 and its configuration.</summary>
    public void Configure()
    {
        Start();
        Assert.NotNull(Control(0, new UsbSetup(0, 5, 5, 0, 0)));
        Assert.NotNull(Control(5, new UsbSetup(0, 9, 1, 0, 0)));
        Assert.NotNull(Control(5, new UsbSetup(0x21, 0x0A, 0, 0, 0)));
        Write(Status, 0x3F);
    }

    /// <summary>Asks for one report.</summary>
    public void Ask() => Submit(Token(In, 5, 1, 8), Active | (3 << 27) | Complete | DetectShort);

    public byte[] Save()
    {
        var writer = new StateWriter();
        Function.Save(writer);
        return writer.ToArray();
    }

    /// <summary>A machine of the same state and memory.</summary>
    public UhciMachine Move()
    {
        var copy = new UhciMachine();
        copy.Clock.Advance(Clock.Now);
        Assert.True(copy.Memory.TryWrite(0, Bytes(0, 1 << 20)));
        copy.Function.Restore(new StateReader(Save()), 1);
        return copy;
    }

    public void Dispose()
    {
        Function.Dispose();
        Memory.Dispose();
    }
}
