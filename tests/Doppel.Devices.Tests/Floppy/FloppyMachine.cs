using Doppel.Devices.Floppy;
using Doppel.Devices.Pc;
using Doppel.Devices.Storage;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Floppy;

/// <summary>A floppy controller with its DMA controllers, and a driver's side of both.</summary>
public sealed class FloppyMachine : IDisposable
{
    private readonly IoBus _ports;

    public FloppyMachine(params IBlockBackend?[] drives)
    {
        Memory = new GuestMemory(1 << 20);
        _ports = new IoBus("port", 65536, Gate);
        var platform = new DevicePlatform(Memory, Gate, Failures.Add);
        var pages = new HostPorts();
        Dma = new DmaPair(Memory, pages.Page);
        Controller = new FloppyController(drives, platform, Clock, Dma.Channel(DmaPair.FloppyChannel), Line);
        foreach (IDevice device in (IDevice[])[pages, Dma, Controller])
            _ports.Map(device.Ports);
    }

    public Lock Gate { get; } = new();

    public GuestMemory Memory { get; }

    public FakeClock Clock { get; } = new();

    public FakeLine Line { get; } = new();

    public List<Exception> Failures { get; } = [];

    public DmaPair Dma { get; }

    public FloppyController Controller { get; }

    public byte In(int port) => (byte)_ports.Read((ulong)port, 1);

    public void Out(int port, int value) => _ports.Write((ulong)port, 1, (byte)value);

    /// <summary>Lets a millisecond at a time pass until the controller interrupts.</summary>
    public void WaitForInterrupt()
    {
        for (int i = 0; i < 2000 && !Line.Level; i++)
            Clock.Advance(1_000_000);
        Assert.True(Line.Level);
    }

    /// <summary>Resets the controller, takes its four polls, and gives it usual parameters; motors 0 and 1 turn.</summary>
    public void Start(int rate = 0, bool dma = true)
    {
        Out(0x3F2, 0x08);
        Out(0x3F2, 0x3C);
        WaitForInterrupt();
        for (int i = 0; i < 4; i++)
            Assert.Equal(0xC0 | i, Command(2, 0x08)[0]);
        Assert.False(Line.Level);
        Assert.Empty(Command(0, 0x03, 0xDF, (byte)(dma ? 2 : 3)));
        Out(0x3F7, rate);
    }

    /// <summary>Writes a command by the main status register, and reads its result when it has one at once.</summary>
    public byte[] Command(int results, params byte[] command)
    {
        foreach (byte part in command)
        {
            Assert.Equal(0x80, In(0x3F4) & 0xC0);
            Out(0x3F5, part);
        }

        return Result(results);
    }

    public byte[] Result(int results)
    {
        byte[] result = new byte[results];
        for (int i = 0; i < results; i++)
        {
            Assert.Equal(0xD0, In(0x3F4) & 0xF0);
            result[i] = In(0x3F5);
        }

        if (results != 0)
            Assert.Equal(0x80, In(0x3F4) & 0xF0);
        return result;
    }

    public byte[] Seek(int drive, int cylinder)
    {
        _ = Command(0, 0x0F, (byte)drive, (byte)cylinder);
        WaitForInterrupt();
        return Command(2, 0x08);
    }

    /// <summary>Programs channel 2.</summary>
    public void SetDma(int address, int length, bool toMemory)
    {
        Out(0x0A, 6);
        Out(0x0C, 0);
        Out(0x0B, toMemory ? 0x46 : 0x4A);
        Out(0x04, (byte)address);
        Out(0x04, (byte)(address >> 8));
        Out(0x81, address >> 16);
        Out(0x05, (byte)(length - 1));
        Out(0x05, (byte)((length - 1) >> 8));
        Out(0x0A, 2);
    }

    public byte[] Bytes(int address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(Memory.TryRead((ulong)address, bytes));
        return bytes;
    }

    public async Task MoveFromAsync(FloppyMachine other)
    {
        await other.Controller.HoldAsync();
        Assert.True(Memory.TryWrite(0, other.Bytes(0, 1 << 20)));
        Clock.Advance(other.Clock.Now - Clock.Now);
        foreach ((IDevice from, IDevice to) in ((IDevice, IDevice)[])[(other.Dma, Dma), (other.Controller, Controller)])
        {
            var writer = new StateWriter();
            from.Save(writer);
            var reader = new StateReader(writer.ToArray());
            to.Restore(reader, 1);
            Assert.True(reader.IsAtEnd);
            var again = new StateWriter();
            to.Save(again);
            Assert.Equal(writer.ToArray(), again.ToArray());
        }

        // The page register is the ports' own.
        Out(0x81, other.In(0x81));
        Controller.Release();
    }

    public void Dispose()
    {
        Controller.Dispose();
        Memory.Dispose();
        Assert.Empty(Failures);
    }
}
