using System.Text;
using Doppel.Devices.Console;

namespace Doppel.Devices.Tests.Console;

/// <summary>The back ends of serial lines.</summary>
public sealed class ConsoleTests
{
    [Fact]
    public async Task A_stream_console_writes_everything_in_order_by_the_time_it_is_disposed()
    {
        var stream = new MemoryStream();
        var expected = new StringBuilder();
        await using (var console = new StreamConsole(stream, leaveOpen: true))
        {
            for (int i = 0; i < 20_000; i++)
            {
                console.Write(Encoding.ASCII.GetBytes($"{i} "));
                expected.Append(i).Append(' ');
            }
        }

        Assert.Equal(expected.ToString(), Encoding.ASCII.GetString(stream.ToArray()));
    }

    [Fact]
    public async Task A_stream_console_does_not_wait_for_a_slow_stream_and_tells_when_it_is_full_and_drained()
    {
        var stream = new GatedStream();
        await using var console = new StreamConsole(stream, leaveOpen: true);
        var drained = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        console.OutputDrained += drained.SetResult;
        var block = new byte[64 * 1024];
        int written = 0;
        while (console.CanAcceptOutput)
        {
            console.Write(block);
            written += block.Length;
        }

        console.Write(block);
        written += block.Length;
        stream.Open();
        await drained.Task;
        await console.DisposeAsync();
        Assert.Equal(written, stream.Written);
    }

    [Fact]
    public async Task A_stream_console_delivers_all_input_although_it_reads_only_a_little_ahead()
    {
        byte[] input = new byte[50_000];
        new Random(1).NextBytes(input);
        await using var console = new StreamConsole(null, new MemoryStream(input));
        using var more = new SemaphoreSlim(0);
        console.InputAvailable += () => more.Release();
        var received = new List<byte>();
        var buffer = new byte[16];
        while (received.Count < input.Length)
        {
            int count = console.Read(buffer);
            if (count == 0)
                await more.WaitAsync();
            received.AddRange(buffer[..count]);
        }

        Assert.Equal(input, received);
    }

    [Fact]
    public async Task A_stream_that_fails_is_reported_and_the_guest_goes_on()
    {
        var failed = new TaskCompletionSource<Exception>(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var console = new StreamConsole(new FailingStream(), leaveOpen: true);
        console.Failed += failed.SetResult;
        console.Write("x"u8);
        Assert.Equal("disk full", (await failed.Task).Message);
        console.Write("y"u8);
        Assert.True(console.CanAcceptOutput);
    }

    [Fact]
    public async Task A_memory_console_waits_for_text_across_writes()
    {
        var console = new MemoryConsole();
        Task<int> waiting = console.WaitForAsync("login:");
        console.Write("Welcome\nlog"u8);
        Assert.False(waiting.IsCompleted);
        console.Write("in: "u8);
        Assert.Equal(14, await waiting);
        Task<int> second = console.WaitForAsync("login:", 14);
        Assert.False(second.IsCompleted);
        console.Write("login:"u8);
        Assert.Equal(21, await second);
        Assert.Equal("Welcome\nlogin: login:", console.Text);
    }

    [Fact]
    public async Task A_wait_that_is_cancelled_ends()
    {
        var console = new MemoryConsole();
        using var cancel = new CancellationTokenSource();
        Task<int> waiting = console.WaitForAsync("never", cancellation: cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
    }

    [Fact]
    public void A_memory_console_hands_over_input_in_pieces()
    {
        var console = new MemoryConsole();
        int signals = 0;
        console.InputAvailable += () => signals++;
        console.Send("abcdef");
        var buffer = new byte[4];
        Assert.Equal(4, console.Read(buffer));
        Assert.Equal("abcd"u8.ToArray(), buffer);
        Assert.Equal(2, console.Read(buffer));
        Assert.Equal(0, console.Read(buffer));
        Assert.Equal(1, signals);
    }

    [Fact]
    public void A_queue_keeps_order_while_it_wraps_and_grows()
    {
        var random = new Random(7);
        var console = new MemoryConsole();
        var expected = new Queue<byte>();
        for (int i = 0; i < 5000; i++)
        {
            var data = new byte[random.Next(1, 300)];
            random.NextBytes(data);
            console.Send(data);
            foreach (byte value in data)
                expected.Enqueue(value);
            var buffer = new byte[random.Next(1, 320)];
            int count = console.Read(buffer);
            for (int k = 0; k < count; k++)
                Assert.Equal(expected.Dequeue(), buffer[k]);
        }
    }

    private sealed class GatedStream : MemoryStream
    {
        private readonly TaskCompletionSource _open = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public long Written { get; private set; }

        public void Open() => _open.SetResult();

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await _open.Task;
            Written += buffer.Length;
        }
    }

    private sealed class FailingStream : MemoryStream
    {
        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
            ValueTask.FromException(new IOException("disk full"));
    }
}
