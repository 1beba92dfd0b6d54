using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Tests.Storage;

/// <summary>
/// Keeps what a file would have after a loss of power: everything from before the last sync, and any sectors, as chance
/// will have it, of what was written since.
/// </summary>
internal sealed class LossyFile : IImageFileObserver
{
    private const int Sector = 512;
    private readonly Random _random;
    private readonly List<(ulong Offset, byte[] Bytes)> _pending = [];
    private byte[] _durable;

    internal LossyFile(byte[] content, Random random)
    {
        _durable = content;
        _random = random;
    }

    /// <summary>Called before each change, when power may fail.</summary>
    internal Action? Changing { get; set; }

    public void Writing(ulong offset, BufferList buffers)
    {
        Changing?.Invoke();
        byte[] bytes = new byte[buffers.Length];
        buffers.CopyTo(bytes);
        _pending.Add((offset, bytes));
    }

    public void Punching(ulong offset, ulong length)
    {
        Changing?.Invoke();
        _pending.Add((offset, new byte[length]));
    }

    public void Synced()
    {
        foreach ((ulong offset, byte[] bytes) in _pending)
            Apply(ref _durable, offset, bytes);
        _pending.Clear();
    }

    /// <summary>The file after a loss of power now.</summary>
    internal byte[] Lose()
    {
        byte[] content = (byte[])_durable.Clone();
        int share = _random.Next(0, 5);
        foreach ((ulong offset, byte[] bytes) in _pending)
        {
            for (int at = 0; at < bytes.Length;)
            {
                int length = Math.Min(bytes.Length - at, Sector - (int)((offset + (ulong)at) % Sector));
                if (_random.Next(4) < share)
                    Apply(ref content, offset + (ulong)at, bytes.AsSpan(at, length));
                at += length;
            }
        }

        return content;
    }

    private static void Apply(ref byte[] content, ulong offset, ReadOnlySpan<byte> bytes)
    {
        if ((ulong)content.Length < offset + (ulong)bytes.Length)
            Array.Resize(ref content, (int)offset + bytes.Length);
        bytes.CopyTo(content.AsSpan((int)offset));
    }
}
