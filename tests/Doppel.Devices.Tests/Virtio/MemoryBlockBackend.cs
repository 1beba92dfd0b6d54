using Doppel.Devices.Storage;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>A disk in memory. Operations complete at once, or when the test lets them.</summary>
public sealed class MemoryBlockBackend(int length) : IBlockBackend
{
    private readonly Lock _lock = new();
    private TaskCompletionSource? _gate;

    public byte[] Content { get; private set; } = new byte[length];

    public ulong Length => (ulong)Content.Length;

    public bool IsReadOnly { get; set; }

    public int DiscardGranularity => 4096;

    /// <summary>What was done, in order.</summary>
    public List<string> Log { get; } = [];

    /// <summary>Thrown by operations that begin from now on; null for none.</summary>
    public Exception? Error { get; set; }

    public event Action? Resized;

    /// <summary>Operations that begin from now on wait for <see cref="Open"/>.</summary>
    public void Close() => _gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Lets them go on.</summary>
    public void Open()
    {
        _gate?.SetResult();
        _gate = null;
    }

    public void Resize(int size)
    {
        byte[] content = Content;
        Array.Resize(ref content, size);
        Content = content;
        Resized?.Invoke();
    }

    public async ValueTask ReadAsync(ulong offset, IReadOnlyList<Memory<byte>> buffers, CancellationToken cancel = default)
    {
        await BeginAsync($"read {offset}+{buffers.Sum(b => b.Length)}");
        int at = (int)offset;
        foreach (Memory<byte> buffer in buffers)
        {
            Content.AsSpan(at, buffer.Length).CopyTo(buffer.Span);
            at += buffer.Length;
        }
    }

    public async ValueTask WriteAsync(ulong offset, IReadOnlyList<ReadOnlyMemory<byte>> buffers, CancellationToken cancel = default)
    {
        await BeginAsync($"write {offset}+{buffers.Sum(b => b.Length)}");
        int at = (int)offset;
        foreach (ReadOnlyMemory<byte> buffer in buffers)
        {
            buffer.Span.CopyTo(Content.AsSpan(at));
            at += buffer.Length;
        }
    }

    public ValueTask FlushAsync(CancellationToken cancel = default) => BeginAsync("flush");

    public ValueTask DiscardAsync(ulong offset, ulong length, CancellationToken cancel = default) => BeginAsync($"discard {offset}+{length}");

    public async ValueTask WriteZeroesAsync(ulong offset, ulong length, bool mayFree, CancellationToken cancel = default)
    {
        await BeginAsync($"zero {offset}+{length}{(mayFree ? " free" : "")}");
        Content.AsSpan((int)offset, (int)length).Clear();
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private async ValueTask BeginAsync(string what)
    {
        lock (_lock)
            Log.Add(what);
        if (Error is not null)
            throw Error;
        if (_gate is TaskCompletionSource gate)
            await gate.Task;
    }
}
