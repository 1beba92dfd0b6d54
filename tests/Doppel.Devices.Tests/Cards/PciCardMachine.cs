using Doppel.Devices.Cards;
using Doppel.Devices.Network;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Cards;

/// <summary>A network card on PCI with its memory, buses, line and clock; what a driver does differs by card.</summary>
/// <typeparam name="T">The card.</typeparam>
public abstract class PciCardMachine<T> : IDisposable
    where T : PciNetworkCard
{
    public const ulong RamSize = 4 << 20;
    public static readonly MacAddress Address = MacAddress.Read([0x52, 0x54, 0, 1, 2, 3]);

    private protected const ulong Bar = 0xD000_0000, Port = 0xC000;

    /// <param name="memoryBar">Offset of the base address register of its memory.</param>
    /// <param name="portBar">That of its ports.</param>
    /// <param name="create">Makes the card from its platform, clock, and buses of memory and ports.</param>
    private protected PciCardMachine(int memoryBar, int portBar, Func<DevicePlatform, FakeClock, IoBus, IoBus, T> create)
    {
        Memory = new GuestMemory(RamSize);
        Registers = new IoBus("mmio", 1UL << 40, Gate);
        Ports = new IoBus("port", 65536, Gate);
        var pci = new PciBus(_ => Line);
        Card = create(new DevicePlatform(Memory, Gate, Failures.Add), Clock, Registers, Ports);
        pci.Add(new PciAddress(0, 4, 0), Card);
        Card.WriteConfig(memoryBar, 4, (uint)Bar);
        Card.WriteConfig(portBar, 4, (uint)Port);
        Card.WriteConfig(PciConfigSpace.Command, 2, 7);
    }

    public Lock Gate { get; } = new();

    public FakeClock Clock { get; } = new();

    public GuestMemory Memory { get; }

    public FakeLine Line { get; } = new();

    public List<Exception> Failures { get; } = [];

    public T Card { get; }

    private protected IoBus Registers { get; }

    private protected IoBus Ports { get; }

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

    public void Dispose()
    {
        Card.Dispose();
        Memory.Dispose();
        Assert.Empty(Failures);
        GC.SuppressFinalize(this);
    }

    /// <summary>Takes over another machine's card and memory while its card works.</summary>
    private protected async Task MoveCardFromAsync(PciCardMachine<T> other)
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

        Card.Release();
    }
}
