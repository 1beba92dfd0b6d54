using System.Buffers.Binary;
using System.Text;
using Doppel.Devices.Storage;
using Doppel.Devices.Tests.Virtio;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Nvme;

/// <summary>The controller as a driver uses it: registers, admin commands, transfers, pauses, resets and moves.</summary>
public sealed class NvmeTests : IDisposable
{
    private readonly MemoryBlockBackend _disk = new(4 << 20);
    private readonly MemoryBlockBackend _second = new(1 << 20) { IsReadOnly = true };
    private readonly NvmeDriver _driver;

    public NvmeTests() => _driver = new NvmeDriver([_disk, _second]);

    public void Dispose() => _driver.Dispose();

    [Fact]
    public void Registers_say_what_the_controller_can()
    {
        Assert.Equal(0x010802u, _driver.Controller.ReadConfig(8, 4) >> 8);
        Assert.Equal(0x1E01_03FFu, _driver.Read(0));
        Assert.Equal(0x20u, _driver.Read(4));
        Assert.Equal(0x0001_0400u, _driver.Read(8));
        Assert.Equal(0u, _driver.Status);
        _driver.Write(0x14, 1);
        Assert.Equal(2u, _driver.Status);
        _driver.Start();
        _driver.Write(0x14, 0);
        Assert.Equal(0u, _driver.Status);
        _driver.Write(0x14, 0x0046_0081);
        Assert.Equal(2u, _driver.Status);
    }

    [Fact]
    public void A_hard_reset_leaves_it_disabled()
    {
        _driver.Start();
        Assert.Equal(1u, _driver.Status);
        lock (_driver.Gate)
            _driver.Controller.Reset();
        byte[] reset = _driver.Save();
        _driver.Place();
        Assert.Equal((0u, 0u), (_driver.Status, _driver.Read(0x14)));
        lock (_driver.Gate)
            _driver.Controller.Reset();
        Assert.Equal(reset, _driver.Save());
    }

    [Fact]
    public async Task It_identifies_itself_and_its_namespaces()
    {
        _driver.Start();
        ulong page = _driver.Allocate(4096);
        Assert.Equal(0, (await _driver.AdminAsync(6, 0, page, 1)).Status);
        byte[] data = _driver.Bytes(page, 4096);
        Assert.Equal("doppel-serial       ", Encoding.ASCII.GetString(data, 4, 20));
        Assert.Equal(2u, BinaryPrimitives.ReadUInt32LittleEndian(data.AsSpan(516)));
        Assert.Equal(0, (await _driver.AdminAsync(6, 2, page, 0)).Status);
        data = _driver.Bytes(page, 4096);
        Assert.Equal(2048UL, BinaryPrimitives.ReadUInt64LittleEndian(data));
        Assert.Equal(9, data[130]);
        Assert.Equal(1, data[99]);
        Assert.Equal(0, (await _driver.AdminAsync(6, 0, page, 2)).Status);
        Assert.Equal([1, 0, 0, 0, 2, 0, 0, 0, 0], _driver.Bytes(page, 9));
        Assert.Equal(0, (await _driver.AdminAsync(6, 1, page, 3)).Status);
        Assert.Equal([3, 16], _driver.Bytes(page, 2));
        Assert.Equal(0x00B, (await _driver.AdminAsync(6, 3, page, 0)).Status);
        Assert.Equal(0x002, (await _driver.AdminAsync(6, 0, page, 0x77)).Status);
        Assert.Equal(0x001, (await _driver.AdminAsync(0x77, 0, page)).Status);
    }

    [Fact]
    public async Task Features_and_logs_are_answered()
    {
        _driver.Start();
        Assert.Equal((0, 0x0001_0001u), await _driver.AdminAsync(9, 0, 0, 7, 0x000F_000F));
        Assert.Equal((0, 1u), await _driver.AdminAsync(10, 0, 0, 6));
        Assert.Equal(0, (await _driver.AdminAsync(9, 0, 0, 6, 0)).Status);
        Assert.Equal((0, 0u), await _driver.AdminAsync(10, 0, 0, 6));
        Assert.Equal((0, 1u), await _driver.AdminAsync(10, 0, 0, 0x106));
        Assert.Equal(0x002, (await _driver.AdminAsync(9, 0, 0, 0x7F)).Status);
        Assert.Equal(0x10D, (await _driver.AdminAsync(9, 0, 0, 0x8000_0006)).Status);
        ulong page = _driver.Allocate(4096);
        Assert.Equal(0, (await _driver.AdminAsync(2, uint.MaxValue, page, 2 | (127 << 16))).Status);
        Assert.Equal(100, _driver.Bytes(page, 4)[3]);
        Assert.Equal(0, (await _driver.AdminAsync(2, uint.MaxValue, page, 3 | (127 << 16))).Status);
        Assert.Equal(0x109, (await _driver.AdminAsync(2, uint.MaxValue, page, 0x66)).Status);
        Assert.Equal((0, 1u), await _driver.AdminAsync(8, 0, 0, 1));
    }

    [Fact]
    public async Task Queues_are_made_and_deleted_by_the_rules()
    {
        await _driver.StartWithQueuesAsync();
        ulong page = _driver.Allocate(4096);
        Assert.Equal(0x101, (await _driver.AdminAsync(5, 0, page, 1 | (7 << 16), 1)).Status);
        Assert.Equal(0x101, (await _driver.AdminAsync(5, 0, page, 3 | (7 << 16), 1)).Status);
        Assert.Equal(0x102, (await _driver.AdminAsync(5, 0, page, 2 | (2000 << 16), 1)).Status);
        Assert.Equal(0x108, (await _driver.AdminAsync(5, 0, page, 2 | (7 << 16), 1 | (3 << 16))).Status);
        Assert.Equal(0x002, (await _driver.AdminAsync(5, 0, page, 2 | (7 << 16), 0)).Status);
        Assert.Equal(0x013, (await _driver.AdminAsync(5, 0, page + 8, 2 | (7 << 16), 1)).Status);
        Assert.Equal(0x004, (await _driver.AdminAsync(5, 0, NvmeDriver.RamSize, 2 | (7 << 16), 1)).Status);
        Assert.Equal(0x100, (await _driver.AdminAsync(1, 0, page, 2 | (7 << 16), 1 | (2 << 16))).Status);
        Assert.Equal(0x10C, (await _driver.AdminAsync(4, 0, 0, 1)).Status);
        Assert.Equal(0x00C, (await _driver.AdminAsync(9, 0, 0, 7)).Status);
        Assert.Equal(0, (await _driver.AdminAsync(0, 0, 0, 1)).Status);
        Assert.Equal(0x101, (await _driver.AdminAsync(0, 0, 0, 1)).Status);
        Assert.Equal(0, (await _driver.AdminAsync(4, 0, 0, 1)).Status);
        Assert.Equal(0x101, (await _driver.AdminAsync(4, 0, 0, 1)).Status);
    }

    [Theory]
    [InlineData(1, 0)]
    [InlineData(8, 0)]
    [InlineData(16, 0)]
    [InlineData(16, 512)]
    [InlineData(100, 0)]
    [InlineData(2048, 0)]
    [InlineData(2000, 2048)]
    public async Task Blocks_go_over_prps(int blocks, int offset)
    {
        await _driver.StartWithQueuesAsync();
        byte[] content = new byte[blocks * 512];
        new Random(blocks).NextBytes(content);
        const ulong Into = 0x60_0000;
        (ulong first, ulong second) = Scatter(Into, offset, content.Length);
        Put(Into, offset, content);
        Assert.Equal(0, (await _driver.WriteAsync(16, blocks, first, second)).Status);
        Assert.Equal(content, _disk.Content.AsSpan(16 * 512, content.Length).ToArray());
        Put(Into, offset, new byte[content.Length]);
        Assert.Equal(0, (await _driver.ReadAsync(16, blocks, first, second)).Status);
        Assert.Equal(content, Take(Into, offset, content.Length));
    }

    [Fact]
    public async Task Blocks_go_over_scatter_gather_lists()
    {
        await _driver.StartWithQueuesAsync();
        byte[] content = new byte[1024];
        new Random(1).NextBytes(content);
        ulong a = _driver.Allocate(content[..300], 4), b = _driver.Allocate(content[300..], 4);
        ulong last = _driver.Allocate([.. Descriptor(b, 724, 0)], 16);
        ulong segment = _driver.Allocate([.. Descriptor(a, 300, 0), .. Descriptor(last, 16, 0x30)], 16);
        byte[] command = NvmeDriver.Command(1, 1, segment, 32 | (0x20UL << 56), 5, 0, 1, kind: 1);
        Assert.Equal(0, (await _driver.DoAsync(1, command)).Status);
        Assert.Equal(content, _disk.Content.AsSpan(5 * 512, 1024).ToArray());
        ulong into = _driver.Allocate(1024, 4);
        Assert.Equal(0, (await _driver.DoAsync(1, NvmeDriver.Command(2, 1, into, 1024, 5, 0, 1, kind: 1))).Status);
        Assert.Equal(content, _driver.Bytes(into, 1024));
        Assert.Equal(0x00F, (await _driver.DoAsync(1, NvmeDriver.Command(2, 1, into, 1023, 5, 0, 1, kind: 1))).Status);
        Assert.Equal(0x011, (await _driver.DoAsync(1, NvmeDriver.Command(2, 1, into, 1024 | (0x50UL << 56), 5, 0, 1, kind: 1))).Status);
        Assert.Equal(0x004, (await _driver.DoAsync(1, NvmeDriver.Command(2, 1, NvmeDriver.RamSize - 8, 1024, 5, 0, 1, kind: 1))).Status);
        Assert.Equal(0x00D, (await _driver.DoAsync(1, NvmeDriver.Command(2, 1, into, 24 | (0x20UL << 56), 5, 0, 1, kind: 1))).Status);
        ulong circle = _driver.Allocate(16, 16);
        Assert.True(_driver.Memory.TryWrite(circle, Descriptor(circle, 16, 0x20)));
        Assert.Equal(0x00E, (await _driver.DoAsync(1, NvmeDriver.Command(2, 1, circle, 16 | (0x20UL << 56), 5, 0, 1, kind: 1))).Status);
        Assert.Equal(0x002, (await _driver.DoAsync(1, NvmeDriver.Command(2, 1, into, 1024, 5, 0, 1, kind: 3))).Status);
    }

    [Fact]
    public async Task What_a_disk_can_t_do_is_an_error_of_the_command()
    {
        await _driver.StartWithQueuesAsync();
        ulong page = _driver.Allocate(4096);
        Assert.Equal(0x080, (await _driver.ReadAsync(8192, 1, page)).Status);
        Assert.Equal(0x080, (await _driver.ReadAsync(8191, 2, page)).Status);
        Assert.Equal(0x080, (await _driver.ReadAsync(ulong.MaxValue, 1, page)).Status);
        Assert.Equal(0x002, (await _driver.ReadAsync(0, 2049, page)).Status);
        Assert.Equal(0x004, (await _driver.ReadAsync(0, 1, NvmeDriver.RamSize)).Status);
        Assert.Equal(0x013, (await _driver.ReadAsync(0, 16, page, page + 4)).Status);
        Assert.Equal(0x020, (await _driver.DoAsync(1, NvmeDriver.Command(1, 2, page))).Status);
        Assert.Equal(0x00B, (await _driver.DoAsync(1, NvmeDriver.Command(1, 3, page))).Status);
        Assert.Equal(0x001, (await _driver.DoAsync(1, NvmeDriver.Command(0x55, 1, page))).Status);
        byte[] fused = NvmeDriver.Command(2, 1, page);
        fused[1] = 1;
        Assert.Equal(0x002, (await _driver.DoAsync(1, fused)).Status);
        _disk.Error = new IOException("broken");
        Assert.Equal(0x281, (await _driver.ReadAsync(0, 1, page)).Status);
        Assert.Equal(0x280, (await _driver.WriteAsync(0, 1, page)).Status);
    }

    [Fact]
    public async Task Flushes_zeroes_and_discards_reach_the_disk()
    {
        await _driver.StartWithQueuesAsync();
        ulong page = _driver.Allocate(4096);
        _ = await _driver.WriteAsync(0, 1, page);
        _ = await _driver.WriteAsync(0, 1, page, flags: 1 << 30);
        _ = await _driver.DoAsync(1, NvmeDriver.Command(0, 1, 0));
        _ = await _driver.DoAsync(1, NvmeDriver.Command(8, 1, 0, 0, 8, 0, 7));
        _ = await _driver.DoAsync(1, NvmeDriver.Command(8, 1, 0, 0, 8, 0, 7 | (1 << 25)));
        byte[] ranges = [0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0];
        ulong list = _driver.Allocate(ranges);
        Assert.Equal(0, (await _driver.DoAsync(1, NvmeDriver.Command(9, 1, list, 0, 1, 4))).Status);
        Assert.True(_driver.Memory.TryWrite(list + 24, [0xFF, 0xFF]));
        Assert.Equal(0x080, (await _driver.DoAsync(1, NvmeDriver.Command(9, 1, list, 0, 1, 4))).Status);
        Assert.Equal(["write 0+512", "write 0+512", "flush", "flush", "zero 4096+4096", "zero 4096+4096 free", "discard 4096+4096", "discard 16384+8192"], _disk.Log);
        _disk.Log.Clear();
        _ = await _driver.AdminAsync(9, 0, 0, 6, 0);
        _ = await _driver.WriteAsync(0, 1, page);
        Assert.Equal(["write 0+512", "flush"], _disk.Log);
    }

    [Fact]
    public async Task Interrupts_follow_the_queue_s_vector_or_the_mask()
    {
        await _driver.StartWithQueuesAsync();
        _ = _driver.Messages.Take();
        _ = await _driver.ReadAsync(0, 1, _driver.Allocate(4096));
        Assert.Equal([(0xFEE0_0000UL, 0x41u)], _driver.Messages.Take());
        Assert.False(_driver.Line.Level);

        using var plain = new NvmeDriver([_disk], useMsix: false);
        plain.Start();
        _ = plain.Submit(0, NvmeDriver.Command(10, 0, 0, 0, 6));
        Assert.True(plain.Line.Level);
        plain.Write(0x0C, 1);
        Assert.False(plain.Line.Level);
        plain.Write(0x10, 1);
        Assert.True(plain.Line.Level);
        _ = plain.TryNext(0);
        Assert.False(plain.Line.Level);
    }

    [Fact]
    public async Task A_full_completion_queue_loses_nothing()
    {
        await _driver.StartWithQueuesAsync();
        List<ushort> sent = [], got = [];
        for (int i = 0; i < 30; i++)
            sent.Add(_driver.Submit(1, NvmeDriver.Command(0, 1, 0)));
        for (int i = 0; i < 7; i++)
            got.Add(_driver.TryNext(1, acknowledge: false)!.Value.Id);
        Assert.Null(_driver.TryNext(1, acknowledge: false));
        _driver.Acknowledge(1);
        while (_driver.TryNext(1) is { } next)
            got.Add(next.Id);
        Assert.Equal(sent, got);
    }

    [Fact]
    public async Task A_queue_s_deletion_and_a_reset_wait_for_the_disk()
    {
        await _driver.StartWithQueuesAsync();
        ulong page = _driver.Allocate(4096);
        _disk.Close();
        ushort read = _driver.Submit(1, NvmeDriver.Command(2, 1, page));
        ushort deletion = _driver.Submit(0, NvmeDriver.Command(0, 0, 0, 0, 1));
        Assert.Null(_driver.TryNext(0));
        _disk.Open();
        Assert.Equal(deletion, (await _driver.NextAsync(0)).Id);
        Assert.Equal(read, (await _driver.NextAsync(1)).Id);

        await _driver.StartWithQueuesAsync();
        _disk.Close();
        _ = _driver.Submit(1, NvmeDriver.Command(2, 1, page));
        _driver.Write(0x14, 0);
        Assert.Equal(1u, _driver.Status);
        _disk.Open();
        await _driver.StartWithQueuesAsync();
        Assert.Equal(0, (await _driver.ReadAsync(0, 1, page)).Status);
    }

    [Fact]
    public async Task A_shutdown_flushes()
    {
        await _driver.StartWithQueuesAsync();
        _driver.Write(0x14, 0x0046_4001);
        Assert.True(SpinWait.SpinUntil(() => (_driver.Status & 0xC) == 8, TimeSpan.FromSeconds(30)));
        Assert.Equal(["flush"], _disk.Log);
    }

    [Fact]
    public async Task A_change_of_size_is_announced_once_until_it_is_looked_at()
    {
        _driver.Start();
        _ = await _driver.AdminAsync(9, 0, 0, 0x0B, 1 << 8);
        ushort first = _driver.Submit(0, NvmeDriver.Command(0x0C, 0, 0)), second = _driver.Submit(0, NvmeDriver.Command(0x0C, 0, 0));
        Assert.Null(_driver.TryNext(0));
        _disk.Resize(5 << 20);
        Assert.Equal((first, 0, 0x0004_0002u), _driver.TryNext(0));
        _disk.Resize(6 << 20);
        Assert.Null(_driver.TryNext(0));
        ulong page = _driver.Allocate(4096);
        Assert.Equal(0, (await _driver.AdminAsync(2, uint.MaxValue, page, 4 | (1023 << 16))).Status);
        Assert.Equal([1, 0, 0, 0, 0], _driver.Bytes(page, 5));
        _disk.Resize(7 << 20);
        Assert.Equal(second, _driver.TryNext(0)!.Value.Id);
        for (int i = 0; i < 4; i++)
            _ = _driver.Submit(0, NvmeDriver.Command(0x0C, 0, 0));
        Assert.Equal(0x105, (await _driver.AdminAsync(0x0C, 0, 0)).Status);
    }

    [Fact]
    public async Task Work_in_the_middle_is_neither_lost_nor_told_twice_after_a_move()
    {
        await _driver.StartWithQueuesAsync();
        _ = _driver.Submit(0, NvmeDriver.Command(0x0C, 0, 0));
        byte[] content = new byte[512];
        new Random(3).NextBytes(content);
        _disk.Close();
        ushort write = _driver.Submit(1, NvmeDriver.Command(1, 1, _driver.Allocate(content), 0, 3));
        Task held = _driver.Controller.HoldAsync();
        Assert.False(held.IsCompleted);
        _disk.Open();
        await held;
        Assert.Null(_driver.TryNext(1));
        using var moved = new NvmeDriver([_disk, _second]);
        await moved.MoveFromAsync(_driver);
        (ushort id, int status, _) = await moved.NextAsync(1);
        Assert.Equal((write, 0), (id, status));
        Assert.Null(moved.TryNext(1));
        Assert.Equal(content, _disk.Content.AsSpan(3 * 512, 512).ToArray());
        ulong page = moved.Allocate(4096);
        Assert.Equal(0, (await moved.ReadAsync(3, 1, page)).Status);
        Assert.Equal(content, moved.Bytes(page, 512));
    }

    [Fact]
    public async Task A_write_without_room_begins_anew_when_the_machine_goes_on_also_elsewhere()
    {
        var full = new List<StorageFullException>();
        using var driver = new NvmeDriver([_disk], full: full.Add);
        await driver.StartWithQueuesAsync();
        _disk.Error = new StorageFullException("no room");
        ushort write = driver.Submit(1, NvmeDriver.Command(1, 1, driver.Allocate([.. Enumerable.Repeat((byte)9, 512)])));
        Assert.Single(full);
        Assert.Null(driver.TryNext(1));
        await driver.Controller.HoldAsync();
        _disk.Error = null;
        using var moved = new NvmeDriver([_disk]);
        await moved.MoveFromAsync(driver);
        Assert.Equal(write, (await moved.NextAsync(1)).Id);
        Assert.Equal(9, _disk.Content[0]);
        driver.Controller.Release();
        Assert.Equal(write, (await driver.NextAsync(1)).Id);
    }

    [Fact]
    public async Task With_deterministic_time_a_command_is_done_when_the_doorbell_is()
    {
        using var driver = new NvmeDriver([_disk], isDeterministic: true);
        await driver.StartWithQueuesAsync();
        _disk.Close();
        _ = Task.Run(async () =>
        {
            await Task.Delay(20);
            _disk.Open();
        });
        ushort id = driver.Submit(1, NvmeDriver.Command(0, 1, 0));
        Assert.Equal(id, driver.TryNext(1)!.Value.Id);
    }

    [Fact]
    public async Task A_truncated_section_is_refused_and_changes_nothing()
    {
        await _driver.StartWithQueuesAsync();
        byte[] saved = _driver.Save();
        using var other = new NvmeDriver([_disk, _second]);
        byte[] before = other.Save();
        for (int length = 0; length < saved.Length; length++)
            Assert.Throws<InvalidDataException>(() => other.Controller.Restore(new StateReader(saved.AsMemory(0, length)), 1));
        Assert.Equal(before, other.Save());
    }

    private static byte[] Descriptor(ulong address, uint length, byte type)
    {
        byte[] descriptor = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(descriptor, address);
        BinaryPrimitives.WriteUInt32LittleEndian(descriptor.AsSpan(8), length);
        descriptor[15] = type;
        return descriptor;
    }

    // Pages in descending order, so that none follows the one before it; lists are put where each second one begins near a page's end.
    private (ulong First, ulong Second) Scatter(ulong top, int offset, int length)
    {
        int pages = (offset + length + 4095) / 4096;
        ulong PageAt(int i) => top - ((ulong)i * 4096);
        if (pages <= 2)
            return (PageAt(0) + (ulong)offset, pages == 2 ? PageAt(1) : 0);
        ulong list = 0x70_0000 + 4096 - 32, next = 0x70_2000;
        ulong at = list;
        for (int i = 1; i < pages; i++)
        {
            if (at % 4096 == 4088 && i < pages - 1)
            {
                Assert.True(_driver.Memory.TryWrite(at, BitConverter.GetBytes(next)));
                at = next;
                next += 4096;
            }

            Assert.True(_driver.Memory.TryWrite(at, BitConverter.GetBytes(PageAt(i))));
            at += 8;
        }

        return (PageAt(0) + (ulong)offset, list);
    }

    private void Put(ulong top, int offset, byte[] content)
    {
        for (int done = 0, page = 0; done < content.Length; page++)
        {
            int start = page == 0 ? offset : 0, part = Math.Min(4096 - start, content.Length - done);
            Assert.True(_driver.Memory.TryWrite(top - ((ulong)page * 4096) + (ulong)start, content.AsSpan(done, part)));
            done += part;
        }
    }

    private byte[] Take(ulong top, int offset, int length)
    {
        byte[] content = new byte[length];
        for (int done = 0, page = 0; done < length; page++)
        {
            int start = page == 0 ? offset : 0, part = Math.Min(4096 - start, length - done);
            Assert.True(_driver.Memory.TryRead(top - ((ulong)page * 4096) + (ulong)start, content.AsSpan(done, part)));
            done += part;
        }

        return content;
    }
}
