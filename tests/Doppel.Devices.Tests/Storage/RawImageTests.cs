using System.Diagnostics;
using Doppel.Devices.Storage;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Tests.Storage;

public sealed class RawImageTests : IDisposable
{
    private static readonly DiskOpenOptions Raw = new() { Format = DiskFormat.Raw };
    private readonly StorageDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Random_operations_do_what_they_do_to_an_array()
    {
        int seed = Random.Shared.Next();
        const ulong length = (3 << 20) + 512;
        RawImage.Create(_directory["disk"], length, isReserved: false);
        var operations = new RandomOperations(seed, length);
        using (DiskImage image = DiskImages.Open(_directory["disk"], Raw))
        {
            operations.Run(image, 500);
            operations.Resize(image, 2 << 20);
            operations.Run(image, 50);
            operations.Resize(image, 4 << 20);
            operations.Run(image, 100);
            operations.Compare(image, "at the end");
        }

        Assert.Equal(operations.Expected, File.ReadAllBytes(_directory["disk"]));
    }

    [Fact]
    public void A_file_that_ends_inside_a_sector_reads_as_zeros_to_the_sectors_end()
    {
        File.WriteAllBytes(_directory["disk"], [.. Enumerable.Repeat((byte)5, 700)]);
        using DiskImage image = DiskImages.Open(_directory["disk"], Raw);
        Assert.Equal(1024ul, image.Length);
        byte[] read = new byte[512];
        image.Read(512, read);
        Assert.Equal([.. Enumerable.Repeat((byte)5, 188), .. new byte[324]], read);
    }

    [Fact]
    public void What_is_discarded_takes_no_space()
    {
        RawImage.Create(_directory["disk"], 4 << 20, isReserved: false);
        using DiskImage image = DiskImages.Open(_directory["disk"], Raw);
        Assert.Equal(new ImageExtent(ExtentKind.Zero, 4 << 20), image.GetExtent(0, 4 << 20));
        image.Write(0, Enumerable.Repeat((byte)1, 1 << 20).ToArray());
        Assert.Equal(new ImageExtent(ExtentKind.Data, 1 << 20), image.GetExtent(0, 4 << 20));
        image.Discard(65536, 65536);
        Assert.Equal(new ImageExtent(ExtentKind.Data, 65536), image.GetExtent(0, 4 << 20));
        Assert.Equal(new ImageExtent(ExtentKind.Zero, 65536), image.GetExtent(65536, 4 << 20));
    }

    [Fact]
    public void No_two_write_to_an_image_and_none_writes_to_one_that_is_read()
    {
        string path = _directory["disk"];
        RawImage.Create(path, 1 << 20, isReserved: false);
        using (DiskImages.Open(path, Raw))
        {
            Assert.Contains(path + ": the image is in use", Assert.Throws<DiskImageException>(() => DiskImages.Open(path, Raw)).Message, StringComparison.Ordinal);
            Assert.Contains("being written", Assert.Throws<DiskImageException>(() => DiskImages.Open(path, Raw with { IsReadOnly = true })).Message, StringComparison.Ordinal);
            DiskImages.Open(path, Raw with { IsReadOnly = true, IsShared = true }).Dispose();
            (int code, string said) = QemuImg.Try("qemu-io", "-f", "raw", "-c", "write 0 512", path);
            Assert.True(code != 0 && said.Contains("lock", StringComparison.Ordinal), said);
        }

        using (DiskImages.Open(path, Raw with { IsReadOnly = true }))
        {
            DiskImages.Open(path, Raw with { IsReadOnly = true }).Dispose();
            Assert.Equal(0, QemuImg.Try("qemu-io", "-r", "-f", "raw", "-c", "read 0 512", path).Code);
            _ = Assert.Throws<DiskImageException>(() => DiskImages.Open(path, Raw));
        }

        DiskImages.Open(path, Raw).Dispose();
    }

    [Fact]
    public void A_full_host_is_an_error_of_its_own()
    {
        using DiskImage image = DiskImages.Open("/dev/full", Raw);
        Assert.Contains("/dev/full", Assert.Throws<StorageFullException>(() => image.Write(0, new byte[512])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_guest_cant_turn_a_raw_image_into_another_format()
    {
        string path = _directory["disk"];
        RawImage.Create(path, 1 << 20, isReserved: false);
        byte[] sector = new byte[1024];
        new byte[] { 0x51, 0x46, 0x49, 0xFB }.CopyTo(sector, 0);
        using (DiskImage guessed = DiskImages.Open(path, new DiskOpenOptions()))
        {
            Assert.Contains("qcow2", Assert.Throws<IOException>(() => guessed.Write(0, sector)).Message, StringComparison.Ordinal);
            sector[3] = 0;
            guessed.Write(0, sector);
            _ = Assert.Throws<IOException>(() => guessed.Write(3, new byte[] { 0xFB }));
            sector[3] = 0xFB;
        }

        using (DiskImage said = DiskImages.Open(path, Raw))
            said.Write(0, sector);
    }

    [Theory]
    [InlineData("missing", "no such file")]
    [InlineData("", "is a directory")]
    public void What_cant_be_opened_is_named(string name, string reason) =>
        Assert.Contains(reason, Assert.Throws<DiskImageException>(() => DiskImages.Open(_directory[name], Raw)).Message, StringComparison.Ordinal);

    [Fact]
    public async Task A_back_end_does_many_operations_at_once_and_finishes_them_before_it_closes()
    {
        RawImage.Create(_directory["disk"], 1 << 20, isReserved: false);
        var backend = new ImageBackend(DiskImages.Open(_directory["disk"], Raw));
        Task[] writes = [.. Enumerable.Range(0, 256).Select(i => backend.WriteAsync((ulong)i * 4096, [Enumerable.Repeat((byte)i, 4096).ToArray()]).AsTask())];
        ValueTask flush = backend.FlushAsync();
        await backend.DisposeAsync();
        await Task.WhenAll(writes);
        await flush;
        byte[] bytes = await File.ReadAllBytesAsync(_directory["disk"]);
        Assert.All(Enumerable.Range(0, 256), i => Assert.Equal((byte)i, bytes[(i * 4096) + 77]));
    }

    [Fact]
    public async Task A_flush_reaches_the_medium_only_after_a_change()
    {
        RawImage.Create(_directory["disk"], 1 << 20, isReserved: false);
        ImageFile file = ImageFile.Open(_directory["disk"], isReadOnly: false);
        var counter = new SyncCounter();
        file.Observer = counter;
        await using var backend = new ImageBackend(new RawImage(file));
        await backend.FlushAsync();
        await backend.FlushAsync();
        Assert.Equal(1, counter.Syncs);
        await backend.WriteAsync(0, [new byte[4096]]);
        await backend.FlushAsync();
        await backend.FlushAsync();
        Assert.Equal(2, counter.Syncs);
        await backend.DiscardAsync(0, 4096);
        await backend.WriteAsync(512, [new byte[512]]);
        await backend.FlushAsync();
        Assert.Equal(3, counter.Syncs);
        using var stop = new CancellationTokenSource();
        await stop.CancelAsync();
        await backend.WriteZeroesAsync(0, 4096, mayFree: true);
        _ = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => backend.FlushAsync(stop.Token).AsTask());
        await backend.FlushAsync();
        Assert.Equal(4, counter.Syncs);
    }

    [Fact]
    public void Whole_pages_are_written_at_once()
    {
        RawImage.Create(_directory["disk"], 1 << 20, isReserved: false);
        using (DiskImage guessed = DiskImages.Open(_directory["disk"], new DiskOpenOptions()))
            Assert.False(guessed.TryWriteNow(0, BufferList.ForWriting(new byte[4096])));
        using DiskImage image = DiskImages.Open(_directory["disk"], Raw);
        Assert.False(image.TryWriteNow(512, BufferList.ForWriting(new byte[4096])));
        Assert.False(image.TryWriteNow(4096, BufferList.ForWriting(new byte[512])));
        Assert.True(image.TryWriteNow(4096, BufferList.ForWriting(Enumerable.Repeat((byte)3, 8192).ToArray())));
        byte[] read = new byte[16384];
        image.Read(0, read);
        Assert.Equal([.. new byte[4096], .. Enumerable.Repeat((byte)3, 8192), .. new byte[4096]], read);
    }

    [Fact]
    public void Transfers_leave_the_callers_thread_when_they_would_keep_it()
    {
        const long length = 1 << 20;
        var direct = new DirectTransfers();
        Assert.True(direct.MayRead(length));
        Assert.True(direct.MayWrite(length));
        Assert.False(direct.MayRead(DirectTransfers.Burst + 1));
        direct.EnterBackground();
        Assert.False(direct.MayRead(length));
        Assert.True(direct.MayRead(DirectTransfers.Short));
        direct.LeaveBackground();
        Assert.True(direct.MayRead(length));
        // A write that took long, as one does that the kernel keeps until there is room in the page cache.
        direct.Note(4096, Stopwatch.GetTimestamp() - Stopwatch.Frequency, isWrite: true);
        Assert.False(direct.MayWrite(4096));
        Assert.True(direct.MayRead(4096));
    }

    [Fact]
    public async Task A_back_end_refuses_what_is_no_sector_of_its_disk()
    {
        RawImage.Create(_directory["disk"], 8192, isReserved: false);
        await using var backend = new ImageBackend(DiskImages.Open(_directory["disk"], Raw with { IsReadOnly = true }));
        Memory<byte> buffer = new byte[1024];
        await backend.ReadAsync(7168, [buffer]);
        _ = await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await backend.ReadAsync(7680, [buffer]));
        _ = await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await backend.ReadAsync(100, [buffer]));
        _ = await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await backend.ReadAsync(ulong.MaxValue - 511, [buffer]));
        _ = await Assert.ThrowsAsync<IOException>(async () => await backend.WriteAsync(0, [buffer]));
    }

    private sealed class SyncCounter : IImageFileObserver
    {
        public int Syncs { get; private set; }

        public void Writing(ulong offset, BufferList buffers)
        {
        }

        public void Punching(ulong offset, ulong length)
        {
        }

        public void Synced() => Syncs++;
    }
}
