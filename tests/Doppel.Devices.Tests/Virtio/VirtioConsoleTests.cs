using Doppel.Devices.Virtio;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>The console with slow far ends, without ports, and before it is set up.</summary>
public sealed class VirtioConsoleTests : IDisposable
{
    private const ulong MultiplePorts = 2;
    private readonly GuestMemory _memory = new(VirtioSubject.RamSize);
    private readonly SlowConsole _console = new();
    private readonly Lock _gate = new();
    private readonly VirtioConsole _device;
    private readonly MmioAccess _access;

    public VirtioConsoleTests()
    {
        _device = Make(_memory, _gate);
        _access = new MmioAccess(_device, _gate);
    }

    public void Dispose()
    {
        _device.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void What_the_far_end_does_not_take_stays_with_the_guest()
    {
        VirtioDriver driver = Start();
        byte[] sent = Send(driver, 10_000);
        Assert.Empty(_console.Output);
        _console.Drain(2);
        Assert.Equal(sent[..8192], _console.Output);
        Assert.False(driver.Queues[1].TryGetUsed(out _, out _));
        _console.Drain(5);
        Assert.Equal(sent, _console.Output);
        Assert.True(driver.Queues[1].TryGetUsed(out _, out _));
        Assert.False(driver.Queues[1].TryGetUsed(out _, out _));
    }

    [Fact]
    public async Task A_pause_does_not_wait_for_the_far_end_and_loses_nothing()
    {
        VirtioDriver driver = Start();
        byte[] sent = Send(driver, 10_000);
        _console.Drain(1);
        await _device.HoldAsync();
        _console.Drain(10);
        Assert.Equal(sent[..4096], _console.Output);
        _device.Release();
        Assert.Equal(sent, _console.Output);
        Assert.True(driver.Queues[1].TryGetUsed(out _, out _));
    }

    [Fact]
    public async Task A_restored_console_goes_on_where_it_was_in_a_buffer()
    {
        VirtioDriver driver = Start();
        byte[] sent = Send(driver, 10_000);
        _console.Drain(1);
        await _device.HoldAsync();
        byte[] state = _access.Save(), content = new byte[VirtioSubject.RamSize];
        Assert.True(_memory.TryRead(0, content));
        using var memory = new GuestMemory(VirtioSubject.RamSize);
        Assert.True(memory.TryWrite(0, content));
        using VirtioConsole copy = Make(memory, _gate);
        new MmioAccess(copy, _gate).Restore(state);
        copy.Release();
        _console.Drain(10);
        Assert.Equal(sent, _console.Output);
    }

    [Fact]
    public void A_queue_or_device_that_is_reset_in_the_middle_of_a_buffer_forgets_it()
    {
        VirtioDriver driver = Start();
        _ = Send(driver, 10_000);
        _console.Drain(1);
        _access.ResetQueue(1);
        Assert.False(_access.IsQueueResetting(1));
        _console.Drain(10);
        Assert.Equal(4096, _console.Output.Count);
        driver.Queues[1] = driver.MakeQueue(1, 8);
        byte[] sent = Send(driver, 5000);
        Assert.Equal(sent, _console.Output.Skip(4096));

        _console.Drain(1);
        _ = Send(driver, 10_000);
        _access.Status = 0;
        Assert.Equal(0, _access.Status);
        _console.Drain(10);
        Assert.Equal(4096 + 5000 + 4096, _console.Output.Count);
    }

    [Fact]
    public void Input_is_split_over_buffers_as_they_come()
    {
        VirtioDriver driver = Start();
        _console.Type([1, 2, 3, 4, 5]);
        ulong into = driver.Allocate(64);
        int first = driver.Queues[0].Add([new DriverBuffer(into, 2, IsWritable: true)]);
        driver.Queues[0].Kick();
        Assert.True(driver.Queues[0].TryGetUsed(out int id, out uint written));
        Assert.Equal((first, 2u), (id, written));
        _console.Type([6]);
        _ = driver.Queues[0].Add([new DriverBuffer(into + 2, 60, IsWritable: true)]);
        driver.Queues[0].Kick();
        Assert.True(driver.Queues[0].TryGetUsed(out _, out written));
        Assert.Equal(3u, written);
        _ = driver.Queues[0].Add([new DriverBuffer(into + 5, 10, IsWritable: true)]);
        driver.Queues[0].Kick();
        Assert.Equal([1, 2, 3, 4, 5, 6], driver.Bytes(into, 6));
    }

    [Fact]
    public void A_guest_that_fails_before_it_has_queues_can_write_bytes()
    {
        _access.WriteConfig(8, 4, 'x');
        Assert.Equal([(byte)'x'], _console.Output);
        Assert.Equal(2u, _access.ReadConfig(4, 4));
    }

    [Fact]
    public void A_console_has_1_to_31_ports()
    {
        var platform = new DevicePlatform(_memory, _gate, _ => { });
        Assert.Throws<ArgumentOutOfRangeException>(() => new VirtioConsole("c", [], platform));
        Assert.Throws<ArgumentOutOfRangeException>(() => new VirtioConsole("c", [.. Enumerable.Repeat(new VirtioConsolePort(_console), 32)], platform));
    }

    private static byte[] Send(VirtioDriver driver, int length)
    {
        byte[] bytes = new byte[length];
        new Random(length).NextBytes(bytes);
        _ = driver.Queues[1].Add([new DriverBuffer(driver.Allocate(bytes), (uint)length)]);
        driver.Queues[1].Kick();
        return bytes;
    }

    private VirtioConsole Make(GuestMemory memory, Lock gate) => new(
        "virtio-console0",
        [new VirtioConsolePort(_console, IsConsole: true), new VirtioConsolePort(new SlowConsole())],
        new DevicePlatform(memory, gate, e => Assert.Fail(e.Message)));

    private VirtioDriver Start()
    {
        var driver = new VirtioDriver(_access, _memory, ~MultiplePorts);
        driver.Start();
        return driver;
    }
}
