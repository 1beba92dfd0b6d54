using Doppel.Devices.Display.Vga;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Display;

/// <summary>Windows that are shown as memory: what the guest sees is the same as by the bus.</summary>
public sealed class VgaDirectWindowTests : IDisposable
{
    private const ulong Graphics = 0xA0000, Text = 0xB8000;
    private readonly ITestOutputHelper _output;
    private readonly GuestMemory _memory = new(1 << 20);
    private readonly TestVga _tested, _reference = new();

    public VgaDirectWindowTests(ITestOutputHelper output)
    {
        _output = output;
        _memory.RemoveRam(VgaController.WindowStart, VgaController.WindowLength);
        _tested = new TestVga(new PhysicalAddressSpace(_memory, new IoBus("memory", ulong.MaxValue, new Lock())));
    }

    public void Dispose()
    {
        _tested.Dispose();
        _reference.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void Text_and_chained_graphics_are_memory_and_planes_are_not()
    {
        _tested.SetTextMode();
        Assert.True(_memory.IsMemory(Text));
        Assert.False(_memory.IsMemory(Graphics));
        _tested.SetMode13();
        Assert.True(_memory.IsMemory(Graphics));
        Assert.False(_memory.IsMemory(Text));
        _tested.SetMode12();
        Assert.False(_memory.IsMemory(Graphics));
    }

    [Fact]
    public void Text_written_as_memory_is_on_the_screen_in_saved_state_and_in_the_planes()
    {
        _tested.SetTextMode();
        foreach ((int i, char c) in "hello".Index())
            _tested.Poke(Text + (ulong)(2 * i), (byte)c);
        _tested.Vga.Capture();
        Assert.StartsWith("hello", _tested.Vga.ReadText()!.Lines.First(), StringComparison.Ordinal);
        _tested.Poke(Text + 10, (byte)'!');
        byte[] state = _tested.Save();
        _reference.Restore(state);
        Assert.Equal((byte)'!', _reference.Peek(Text + 10));
        _tested.Poke(Text, (byte)'j');
        // Plane 0 by itself.
        _tested.OutIndexed(0x3C4, 4, 6);
        _tested.OutIndexed(0x3CE, 5, 0);
        Assert.False(_memory.IsMemory(Text));
        Assert.Equal((byte)'j', _tested.Peek(Text));
        _tested.Restore(state);
        Assert.Equal((byte)'h', _tested.Peek(Text));
        Assert.True(_memory.IsMemory(Text));
    }

    [Fact]
    public void Windows_give_way_to_memory_that_covers_them()
    {
        _tested.SetTextMode();
        _tested.Poke(Text, 1);
        _tested.Vga.SetCovered(true);
        Assert.False(_memory.IsMemory(Text));
        _memory.SetKind(VgaController.WindowStart, VgaController.WindowLength, PageFlags.Ram);
        _tested.Poke(Text, 2);
        _memory.SetKind(VgaController.WindowStart, VgaController.WindowLength, PageFlags.None);
        _tested.Vga.SetCovered(false);
        Assert.Equal(1, _tested.Peek(Text));
        _tested.Vga.Reset();
        Assert.False(_memory.IsMemory(Text));
    }

    [Fact]
    public void Whatever_the_registers_are_the_guest_sees_the_same_as_by_the_bus()
    {
        int seed = Random.Shared.Next();
        _output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        int direct = 0;
        for (int step = 0; step < 20_000; step++)
        {
            Action<TestVga> change = Change(random);
            if (random.Next(4) == 0)
            {
                change(_tested);
                change(_reference);
            }

            // The read fills the latches, which accesses as memory leave alone, before a write can use them.
            ulong at = (random.Next(3) == 0 ? Graphics : Text) + (ulong)random.Next(0x100);
            direct += _memory.IsMemory(at) ? 1 : 0;
            Assert.True(_reference.Peek(at) == _tested.Peek(at), $"seed {seed}, step {step}: {at:X}");
            byte value = (byte)random.Next(256);
            _reference.Poke(at, value);
            _tested.Poke(at, value);
        }

        _tested.Vga.Capture();
        Assert.True(_reference.Memory.Bytes.SequenceEqual(_tested.Memory.Bytes), $"seed {seed}");
        Assert.InRange(direct, 1000, 19_000);
    }

    private static Action<TestVga> Change(Random random)
    {
        int index = random.Next(9), value = random.Next(4) == 0 ? random.Next(256) : 0, bank = random.Next(8);
        return random.Next(12) switch
        {
            < 3 => vga => vga.SetTextMode(),
            < 6 => vga => vga.SetMode13(),
            6 => vga => vga.SetMode12(),
            7 => vga => vga.OutIndexed(0x3CE, index, index == 8 ? 0xFF : value),
            8 => vga => vga.OutIndexed(0x3C4, 2, bank * 2 + 1),
            9 => vga => vga.SetVbe(5, bank),
            10 => vga => vga.Vga.Capture(),
            _ => vga =>
            {
                vga.SetVbe(4, 0);
                vga.SetVbe(1, 640);
                vga.SetVbe(2, 480);
                vga.SetVbe(3, 8);
                vga.SetVbe(4, bank == 0 ? 0 : 0xC1);
            }
            ,
        };
    }
}
