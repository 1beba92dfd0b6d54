using System.IO.Pipelines;
using System.IO.Pipes;
using Doppel.Host.Memory;
using Doppel.Machine.Memory;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Migration.PostCopy;

namespace Doppel.Vmm.Tests.Migration;

/// <summary>The target's pager, with a source that this test plays.</summary>
public sealed class PostCopyPagerTests
{
    private const ulong Ram = 2 << 20, First = GuestMemory.LateStart / GuestMemory.PageSize;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30), Slowness = TimeSpan.FromMilliseconds(300);

    [Fact]
    public async Task A_request_that_is_on_its_way_when_all_pages_are_there_is_sent_whole_before_the_last_word()
    {
        using PageFaultDescriptor? faults = PageFaultDescriptor.TryOpen(out _);
        if (faults is null)
            return;
        using var memory = new GuestMemory(Ram);
        PageSet pages = PageSet.For(memory);
        pages.Add(First, 2);
        PagedMemory paged = PagedMemory.Of(memory.Await(pages, faults), pages);
        using var listener = MigrationListener.OnSocket(Path.Combine(Path.GetTempPath(), $"doppel-pager-{Guid.NewGuid():N}"), Guid.NewGuid());
        using var time = new CancellationTokenSource(Patience);
        var pager = new PostCopyPager(listener, faults);
        Pipe toPager = new(), toSource = new();
        Stream fromPager = toSource.Reader.AsStream();
        await using var source = new MigrationStream(new TwoWay(fromPager, toPager.Writer.AsStream()));
        await using var target = new MigrationStream(new TwoWay(toPager.Reader.AsStream(), toSource.Writer.AsStream()) { Pause = Slowness });
        Task serving = pager.ServeAsync(target, Task.FromResult(paged), () => { }, time.Token);
        // By a system call: what waits there holds up nobody else in this process.
        using var touched = new AnonymousPipeServerStream(PipeDirection.Out);
        var toucher = new Thread(() => touched.Write(memory.GetStoredPage(First * GuestMemory.PageSize))) { IsBackground = true };
        toucher.Start();
        await fromPager.ReadExactlyAsync(new byte[1], time.Token);
        // The request's first byte has come, and its page goes over with all others.
        var batch = new OutgoingPages();
        batch.AddZero(First);
        batch.AddZero(First + 1);
        await source.SendAsync(FrameKind.Pages, batch.Write(false), time.Token);
        await source.SendAsync(FrameKind.Fence, 0, time.Token);
        byte[] rest = new byte[sizeof(int) + sizeof(uint)];
        await fromPager.ReadExactlyAsync(rest, time.Token);
        Assert.Equal([4, 0, 0, 0, .. BitConverter.GetBytes((uint)First)], rest);
        Assert.Equal(FrameKind.Reached, (await source.ReceiveAsync(time.Token)).Kind);
        await serving;
        toucher.Join();
    }

    /// <summary>Two streams as one. What is written goes through in two pieces, with a pause in between.</summary>
    private sealed class TwoWay(Stream input, Stream output) : Stream
    {
        internal TimeSpan Pause { get; init; }

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override void Flush() => output.Flush();

        public override int Read(byte[] buffer, int offset, int count) => input.Read(buffer, offset, count);

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => input.ReadAsync(buffer, cancellationToken);

        public override void Write(byte[] buffer, int offset, int count) => output.Write(buffer, offset, count);

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await output.WriteAsync(buffer[..1], cancellationToken);
            await output.FlushAsync(cancellationToken);
            await Task.Delay(Pause, cancellationToken);
            await output.WriteAsync(buffer[1..], cancellationToken);
        }

        public override Task FlushAsync(CancellationToken cancellationToken) => output.FlushAsync(cancellationToken);

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
