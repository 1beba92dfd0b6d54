using System.Buffers.Binary;
using System.Text;
using Doppel.Devices.Storage;
using Doppel.Devices.Virtio;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>What the block device does with each request.</summary>
public sealed class VirtioBlockTests : IDisposable
{
    private const ulong Flush = 1UL << 9, ConfigurableCache = 1UL << 11;
    private readonly MemoryBlockBackend _backend = new(1 << 20);
    private readonly VirtioSubject _subject;

    public VirtioBlockTests() => _subject = VirtioSubject.Make("block", "msix", "split", _backend);

    private VirtioDriver Driver => _subject.Driver;

    public void Dispose() => _subject.Dispose();

    [Fact]
    public void The_configuration_describes_the_disk()
    {
        IVirtioAccess access = _subject.Access;
        Assert.Equal(2048u, access.ReadConfig(0, 8));
        Assert.Equal(254u, access.ReadConfig(12, 4));
        Assert.Equal(512u, access.ReadConfig(20, 4));
        Assert.Equal(3u, access.ReadConfig(24, 1));
        Assert.Equal(2u, access.ReadConfig(34, 2));
        Assert.Equal(8u, access.ReadConfig(44, 4));
        Assert.Equal(1u, access.ReadConfig(56, 1));
        Assert.Equal(0u, access.ReadConfig(60, 4));
        Assert.Equal(0u, access.ReadConfig(0x800, 8));
    }

    [Theory]
    [InlineData(0u, 2048UL, 512, 1)]
    [InlineData(0u, 2047UL, 1024, 1)]
    [InlineData(0u, ulong.MaxValue, 512, 1)]
    [InlineData(0u, 1UL << 55, 512, 1)]
    [InlineData(0u, 0UL, 100, 1)]
    [InlineData(0u, 2048UL, 0, 0)]
    [InlineData(99u, 0UL, 512, 2)]
    public async Task A_read_outside_the_disk_or_of_broken_sectors_fails(uint type, ulong sector, int length, int expected)
    {
        Driver.Start();
        List<DriverBuffer> request = VirtioKinds.BlockRequest(Driver, type, sector, [new(Driver.Allocate(length), (uint)length, IsWritable: true)], out ulong status);
        _ = await Driver.DoAsync(0, request);
        Assert.Equal(expected, Driver.Bytes(status, 1)[0]);
        Assert.Null(_subject.Device.Fault);
    }

    [Fact]
    public async Task An_error_of_the_back_end_is_the_guest_s()
    {
        Driver.Start();
        _backend.Error = new IOException("the medium is broken");
        Assert.Equal(1, await RequestAsync(1, 0, new byte[512]));
        _backend.Error = null;
        Assert.Equal(0, await RequestAsync(1, 0, new byte[512]));
    }

    [Fact]
    public async Task The_serial_number_is_shown_in_as_many_bytes_as_there_are()
    {
        Driver.Start();
        ulong into = Driver.Allocate(20);
        List<DriverBuffer> request = VirtioKinds.BlockRequest(Driver, 8, 0, [new(into, 20, IsWritable: true)], out ulong status);
        Assert.Equal(21u, await Driver.DoAsync(0, request));
        Assert.Equal(0, Driver.Bytes(status, 1)[0]);
        Assert.Equal("doppel-disk", Encoding.ASCII.GetString(Driver.Bytes(into, 20)).TrimEnd('\0'));
    }

    [Fact]
    public async Task Without_a_write_cache_every_write_is_flushed()
    {
        Driver.Start();
        _ = await RequestAsync(1, 8, new byte[512]);
        Assert.Equal(["write 4096+512"], _backend.Log);
        _subject.Access.WriteConfig(32, 1, 0);
        Assert.Equal(0u, _subject.Access.ReadConfig(32, 1));
        _ = await RequestAsync(1, 8, new byte[512]);
        Assert.Equal(["write 4096+512", "write 4096+512", "flush"], _backend.Log);
        _backend.Log.Clear();

        using VirtioSubject plain = VirtioSubject.Make("block", "mmio", "split", _backend);
        var driver = new VirtioDriver(plain.Access, plain.Memory, ~(Flush | ConfigurableCache));
        driver.Start();
        List<DriverBuffer> request = VirtioKinds.BlockRequest(driver, 1, 8, [new(driver.Allocate(new byte[512]), 512)], out _);
        _ = await driver.DoAsync(0, request);
        Assert.Equal(["write 4096+512", "flush"], _backend.Log);
    }

    [Fact]
    public async Task Ranges_are_discarded_and_zeroed()
    {
        Driver.Start();
        Assert.Equal(0, await RequestAsync(11, 0, [.. Range(0, 8), .. Range(16, 8)]));
        Assert.Equal(0, await RequestAsync(13, 0, [.. Range(8, 8), .. Range(32, 8, 1)]));
        Assert.Equal(0, await RequestAsync(4, 0, []));
        Assert.Equal(["discard 0+4096", "discard 8192+4096", "zero 4096+4096", "zero 16384+4096 free", "flush"], _backend.Log);
    }

    [Fact]
    public async Task Ranges_that_are_wrong_change_nothing()
    {
        Driver.Start();
        Assert.Equal(1, await RequestAsync(11, 0, [.. Range(0, 8), .. Range(2047, 2)]));
        Assert.Equal(2, await RequestAsync(11, 0, [.. Range(0, 8), .. Range(8, 8, 1)]));
        Assert.Equal(2, await RequestAsync(13, 0, Range(0, 8, 2)));
        Assert.Equal(1, await RequestAsync(13, 0, new byte[15]));
        Assert.Equal(1, await RequestAsync(13, 0, []));
        Assert.Equal(1, await RequestAsync(13, 0, [.. Enumerable.Repeat(Range(0, 8), 17).SelectMany(r => r)]));
        Assert.Empty(_backend.Log);
    }

    [Fact]
    public async Task A_read_only_disk_refuses_writes()
    {
        var backend = new MemoryBlockBackend(1 << 20) { IsReadOnly = true };
        using VirtioSubject subject = VirtioSubject.Make("block", "mmio", "packed", backend);
        subject.Driver.Start();
        Assert.NotEqual(0u, subject.Driver.Features & (1UL << 5));
        foreach (uint type in (uint[])[1, 11, 13])
        {
            List<DriverBuffer> request = VirtioKinds.BlockRequest(subject.Driver, type, 0, [new(subject.Driver.Allocate(new byte[512]), 512)], out ulong status);
            _ = await subject.Driver.DoAsync(0, request);
            Assert.Equal(1, subject.Driver.Bytes(status, 1)[0]);
        }

        Assert.Empty(backend.Log);
    }

    [Fact]
    public void A_request_without_header_or_status_asks_for_a_reset()
    {
        Driver.Start();
        _ = Driver.Queues[0].Add([new DriverBuffer(Driver.Allocate(16), 16)]);
        Driver.Queues[0].Kick();
        Assert.Contains("queue 0", _subject.Device.Fault, StringComparison.Ordinal);
        Driver.Start();
        _ = Driver.Queues[1].Add([new DriverBuffer(Driver.Allocate(15), 15), new DriverBuffer(Driver.Allocate(1), 1, IsWritable: true)]);
        Driver.Queues[1].Kick();
        Assert.Contains("queue 1", _subject.Device.Fault, StringComparison.Ordinal);
    }

    [Fact]
    public void A_change_of_size_is_announced()
    {
        Driver.Start();
        byte generation = _subject.Access.ConfigGeneration;
        _backend.Resize(2 << 20);
        Assert.Equal(1, _subject.Access.TakeInterrupts());
        Assert.NotEqual(generation, _subject.Access.ConfigGeneration);
        Assert.Equal(4096u, _subject.Access.ReadConfig(0, 8));
    }

    [Fact]
    public async Task A_write_without_room_waits_until_the_machine_goes_on()
    {
        var full = new List<StorageFullException>();
        using var memory = new Machine.Memory.GuestMemory(VirtioSubject.RamSize);
        var platform = new DevicePlatform(memory, new Lock(), e => Assert.Fail(e.Message));
        using var device = new VirtioBlock("virtio-blk0", _backend, platform, full: full.Add);
        var driver = new VirtioDriver(new MmioAccess(device, platform.IoLock), memory, ulong.MaxValue);
        driver.Start();
        _backend.Error = new StorageFullException("no room");
        List<DriverBuffer> request = VirtioKinds.BlockRequest(driver, 1, 8, [new(driver.Allocate([.. Enumerable.Repeat((byte)7, 512)]), 512)], out ulong status);
        _ = driver.Queues[0].Add(request);
        driver.Queues[0].Kick();
        Assert.Single(full);
        Assert.False(driver.Queues[0].TryGetUsed(out _, out _));
        await device.HoldAsync();
        _backend.Error = null;
        device.Release();
        _ = await driver.NextUsedAsync(0);
        Assert.Equal(0, driver.Bytes(status, 1)[0]);
        Assert.Equal(7, _backend.Content[4096]);
    }

    [Fact]
    public void With_deterministic_time_a_request_is_done_when_the_notification_is()
    {
        using var memory = new Machine.Memory.GuestMemory(VirtioSubject.RamSize);
        var platform = new DevicePlatform(memory, new Lock(), e => Assert.Fail(e.Message)) { IsDeterministic = true };
        using var device = new VirtioBlock("virtio-blk0", _backend, platform);
        var driver = new VirtioDriver(new MmioAccess(device, platform.IoLock), memory, ulong.MaxValue);
        driver.Start();
        _backend.Close();
        _ = Task.Run(async () =>
        {
            await Task.Delay(20);
            _backend.Open();
        });
        int id = driver.Queues[0].Add(VirtioKinds.BlockRequest(driver, 4, 0, [], out _));
        driver.Queues[0].Kick();
        Assert.True(driver.Queues[0].TryGetUsed(out int used, out _));
        Assert.Equal(id, used);
    }

    [Fact]
    public void A_failure_of_the_device_s_own_is_reported_with_its_request()
    {
        var failures = new List<Exception>();
        using var memory = new Machine.Memory.GuestMemory(VirtioSubject.RamSize);
        var platform = new DevicePlatform(memory, new Lock(), failures.Add);
        using var device = new VirtioBlock("virtio-blk7", _backend, platform);
        var driver = new VirtioDriver(new MmioAccess(device, platform.IoLock), memory, ulong.MaxValue);
        driver.Start();
        _backend.Error = new InvalidOperationException("a bug");
        _ = driver.Queues[0].Add(VirtioKinds.BlockRequest(driver, 4, 0, [], out _));
        driver.Queues[0].Kick();
        Assert.Contains("virtio-blk7: request 4", Assert.Single(failures).Message, StringComparison.Ordinal);
    }

    private static byte[] Range(ulong sector, uint sectors, uint flags = 0)
    {
        byte[] range = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(range, sector);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(8), sectors);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(12), flags);
        return range;
    }

    private async Task<int> RequestAsync(uint type, ulong sector, byte[] data)
    {
        List<DriverBuffer> request = VirtioKinds.BlockRequest(Driver, type, sector, data.Length == 0 ? [] : [new(Driver.Allocate(data), (uint)data.Length)], out ulong status);
        _ = await Driver.DoAsync(0, request);
        return Driver.Bytes(status, 1)[0];
    }
}
