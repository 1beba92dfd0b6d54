using Doppel.Devices.Cards;
using Doppel.Devices.Network;
using Doppel.Devices.Tests.Network;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Cards;

/// <summary>The NE2000, by the DP8390D's data sheet.</summary>
public sealed class Ne2000Tests : IDisposable
{
    private const int Base = 0x300, FirstPage = 0x46, LastPage = 0x80;
    private static readonly MacAddress Address = MacAddress.Read([0x52, 0x54, 0, 1, 2, 3]);
    private readonly ITestOutputHelper _output;
    private readonly MemoryNetwork _network = new();
    private readonly GuestMemory _memory = new(1 << 20);
    private readonly Lock _gate = new();
    private readonly FakeLine _line = new();
    private readonly List<Exception> _failures = [];
    private IoBus _ports;
    private Ne2000 _card;

    public Ne2000Tests(ITestOutputHelper output)
    {
        _output = output;
        (_card, _ports) = Make();
        Begin();
    }

    public void Dispose()
    {
        _card.Dispose();
        _memory.Dispose();
        Assert.Empty(_failures);
    }

    [Fact]
    public void The_address_is_in_the_PROM()
    {
        byte[] prom = ReadMemory(0, 32);
        Assert.Equal([0x52, 0x52, 0x54, 0x54, 0, 0, 1, 1, 2, 2, 3, 3], prom[..12]);
        Assert.Equal([0x57, 0x57, 0x57, 0x57], prom[28..]);
        Assert.Equal(0x40, In(7) & 0x40);
    }

    [Fact]
    public void Memory_is_reached_through_the_data_port()
    {
        byte[] data = [.. Enumerable.Range(0, 300).Select(i => (byte)(i * 7))];
        WriteMemory(0x4100, data);
        Assert.Equal(data, ReadMemory(0x4100, 300));
        // There is none beyond it.
        WriteMemory(0x9000, [1, 2]);
        Assert.Equal([0xFF, 0xFF], ReadMemory(0x9000, 2));
        // A count of nothing is done at once.
        Out(7, 0xFF);
        Out(10, 0);
        Out(11, 0);
        Out(0, 0x0A);
        Assert.Equal(0x40, In(7) & 0x40);
    }

    [Fact]
    public void Frames_are_sent_from_memory()
    {
        byte[] frame = Frame([2, 2, 2, 2, 2, 2], 100);
        Send(frame);
        Assert.Equal(frame, Assert.Single(_network.Sent).Frame);
        Assert.Equal((0x22, 1), (In(0) & 0x3F, In(4)));
        Assert.Equal(2, In(7) & 2);
        Assert.True(_line.Level);
        Out(7, 2);
        Assert.False(_line.Level);
        // In a loop it doesn't leave the card.
        Out(13, 2);
        Send(frame);
        _ = Assert.Single(_network.Sent);
        Assert.Equal(2, In(7) & 2);
    }

    [Fact]
    public void Frames_are_received_into_a_ring()
    {
        int page = FirstPage;
        for (int i = 0; i < 40; i++)
        {
            byte[] frame = Frame([0x52, 0x54, 0, 1, 2, 3], 60 + (i * 31));
            _network.Deliver(frame);
            Assert.Equal(1, In(7) & 1);
            Out(7, 1);
            byte[] header = ReadMemory(page * 256, 4);
            Assert.Equal((1, frame.Length + 4), (header[0], header[2] | (header[3] << 8)));
            Assert.Equal(frame, ReadMemory((page * 256) + 4, frame.Length));
            page = header[1];
            Out(3, page == FirstPage ? LastPage - 1 : page - 1);
            Out(0, 0x62);
            Assert.Equal(page, In(7));
            Out(0, 0x22);
        }
    }

    [Fact]
    public void Filters_let_in_what_they_name()
    {
        int Received(int filter, byte[] destination)
        {
            Begin(filter);
            _network.Deliver(Frame(destination, 60));
            return In(7) & 1;
        }

        byte[] other = [2, 2, 2, 2, 2, 2], own = [0x52, 0x54, 0, 1, 2, 3], all = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], group = [1, 0, 0x5E, 0, 0, 1];
        Assert.Equal([1, 0, 1, 0], [Received(0, own), Received(0, other), Received(0x10, other), Received(0x30, own)]);
        Assert.Equal([0, 1], [Received(0, all), Received(4, all)]);
        // The group 01:00:5e:00:00:01 is bit 31 of the table.
        Assert.Equal(0, Received(8, group));
        Out(0, 0x61);
        Out(11, 0x80);
        Out(0, 0x22);
        Assert.Equal([1, 0], [Received(8, group), Received(8, [1, 0, 0x5E, 0, 0, 2])]);
    }

    [Fact]
    public void A_full_ring_makes_frames_wait()
    {
        for (int i = 0; i < 20; i++)
            _network.Deliver(Frame([0x52, 0x54, 0, 1, 2, 3], 1000));
        Out(0, 0x62);
        // 58 pages, four for each frame, and one that is never reached.
        Assert.Equal(FirstPage + 56, In(7));
        Out(0, 0x22);
        Out(3, FirstPage + 9);
        Out(0, 0x62);
        Assert.NotEqual(FirstPage + 56, In(7));
        Out(0, 0x22);
    }

    [Fact]
    public async Task A_card_goes_on_in_another_machine()
    {
        byte[] frame = Frame([0x52, 0x54, 0, 1, 2, 3], 300);
        _network.Deliver(frame);
        await MoveAsync();
        Assert.Equal(frame, ReadMemory((FirstPage * 256) + 4, 300));
        Assert.True(_line.Level);
        Send(Frame([2, 2, 2, 2, 2, 2], 90));
        Assert.Equal(90, _network.Sent[^1].Frame.Length);
    }

    [Fact]
    public Task Random_accesses_do_no_harm() => HarmAsync(20_000);

    [Fact]
    [Trait("Category", "Slow")]
    public Task A_million_random_accesses_do_no_harm() => HarmAsync(1_000_000);

    private async Task HarmAsync(int accesses)
    {
        int seed = TestSeed.Take(_output);
        var random = new Random(seed);
        for (int i = 0; i < accesses; i++)
        {
            int size = 1 << random.Next(3);
            switch (random.Next(6))
            {
                case 0 or 1 or 2:
                    _ports.Write((ulong)(Base + random.Next(0x19)), size, (ulong)random.NextInt64());
                    break;
                case 3:
                    _ = _ports.Read((ulong)(Base + random.Next(0x18)), size);
                    break;
                case 4 when random.Next(4) == 0:
                    Begin(random.Next(256));
                    break;
                default:
                    byte[] frame = new byte[random.Next(14, random.Next(10) == 0 ? 60000 : 2000)];
                    random.NextBytes(frame);
                    frame.AsSpan(0, 6).Fill(0xFF);
                    _network.Deliver(frame);
                    break;
            }

            _network.Sent.Clear();
            if (random.Next(4000) == 0)
                await MoveAsync();
        }

        Begin();
        Send(Frame([2, 2, 2, 2, 2, 2], 64));
        Assert.Equal(64, _network.Sent[^1].Frame.Length);
    }

    private (Ne2000 Card, IoBus Ports) Make()
    {
        var ports = new IoBus("port", 65536, _gate);
        var card = new Ne2000("ne2000-0", _network.Connect(), Address, new DevicePlatform(_memory, _gate, _failures.Add), _line);
        foreach (IoRange range in card.Ports)
            ports.Map(range.Start, range.Length, range.Region);
        return (card, ports);
    }

    private async Task MoveAsync()
    {
        await _card.HoldAsync();
        var writer = new StateWriter();
        lock (_gate)
            _card.Save(writer);
        _card.Dispose();
        (_card, _ports) = Make();
        var reader = new StateReader(writer.ToArray());
        lock (_gate)
            _card.Restore(reader, 1);
        Assert.True(reader.IsAtEnd);
        _card.Release();
    }

    // As drivers start the chip.
    private void Begin(int filter = 4)
    {
        _ = In(0x1F);
        Out(0, 0x21);
        Out(14, 0x49);
        Out(12, filter);
        Out(13, 0);
        Out(1, FirstPage);
        Out(2, LastPage);
        Out(3, LastPage - 1);
        Out(0, 0x61);
        int i = 1;
        foreach (byte part in (byte[])[0x52, 0x54, 0, 1, 2, 3])
            Out(i++, part);
        Out(7, FirstPage);
        Out(0, 0x22);
        Out(7, 0x7F);
        Out(15, 0x3F);
    }

    private void Send(byte[] frame)
    {
        WriteMemory(0x4000, frame);
        Out(4, 0x40);
        Out(5, frame.Length & 0xFF);
        Out(6, frame.Length >> 8);
        Out(0, 0x26);
    }

    private byte[] ReadMemory(int address, int length)
    {
        Remote(address, length, 0x0A);
        return [.. Enumerable.Range(0, length).Select(_ => (byte)In(0x10))];
    }

    private void WriteMemory(int address, byte[] data)
    {
        Remote(address, data.Length, 0x12);
        foreach (byte part in data)
            Out(0x10, part);
    }

    private void Remote(int address, int length, int command)
    {
        Out(8, address & 0xFF);
        Out(9, address >> 8);
        Out(10, length & 0xFF);
        Out(11, length >> 8);
        Out(0, command);
    }

    private int In(int port) => (int)_ports.Read((ulong)(Base + port), 1);

    private void Out(int port, int value) => _ports.Write((ulong)(Base + port), 1, (ulong)value);

    private static byte[] Frame(byte[] destination, int length)
    {
        byte[] frame = new byte[length];
        new Random(length).NextBytes(frame);
        destination.CopyTo(frame, 0);
        (frame[12], frame[13]) = (8, 0);
        return frame;
    }
}
