using Doppel.Host.Memory;

namespace Doppel.Machine.Cpu.HostInstructions;

/// <summary>Executable memory that only grows, until all of it is dropped. Belongs to one thread.</summary>
public sealed unsafe class StubCode : IDisposable
{
    private const int ChunkSize = 256 << 10;
    private readonly List<ExecutableMemory> _chunks = [];
    private int _used = ChunkSize;

    /// <summary>Bytes of code published since the last <see cref="Clear"/>.</summary>
    public long Size { get; private set; }

    /// <summary>Copies code to executable memory, on a 32-byte boundary.</summary>
    /// <param name="code">Position-independent code, at most 256 KiB.</param>
    /// <returns>Its entry.</returns>
    public byte* Publish(ReadOnlySpan<byte> code)
    {
        if (_used + code.Length > ChunkSize)
        {
            _chunks.Add(new ExecutableMemory("doppel-stubs", ChunkSize));
            _used = 0;
        }

        ExecutableMemory chunk = _chunks[^1];
        code.CopyTo(new Span<byte>(chunk.Writable + _used, code.Length));
        byte* entry = chunk.Executable + _used;
        _used += (code.Length + 31) & ~31;
        Size += code.Length;
        return entry;
    }

    /// <summary>Drops everything; no entry handed out before may be called after.</summary>
    public void Clear()
    {
        foreach (ExecutableMemory chunk in _chunks)
            chunk.Dispose();
        _chunks.Clear();
        _used = ChunkSize;
        Size = 0;
    }

    /// <inheritdoc/>
    public void Dispose() => Clear();
}
