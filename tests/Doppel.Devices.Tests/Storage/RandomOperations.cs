using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Tests.Storage;

/// <summary>Random operations on an image, compared with a plain array of bytes. A failure names its seed.</summary>
internal sealed class RandomOperations
{
    private readonly int _seed;
    private readonly Random _random;
    private byte[] _expected;

    internal RandomOperations(int seed, ulong length)
    {
        _seed = seed;
        _random = new Random(seed);
        _expected = new byte[length];
    }

    internal byte[] Expected => _expected;

    /// <summary>Operations that the image can't be asked for.</summary>
    internal bool HasDiscard { get; init; } = true;

    internal void Run(DiskImage image, int count)
    {
        for (int i = 0; i < count; i++)
            Step(image, i);
    }

    /// <summary>Compares all of the disk.</summary>
    internal void Compare(DiskImage image, string when)
    {
        Assert.True(image.Length == (ulong)_expected.Length, $"seed {_seed}, {when}: length {image.Length}, not {_expected.Length}");
        byte[] actual = new byte[_expected.Length];
        image.Read(0, actual);
        int difference = actual.AsSpan().CommonPrefixLength(_expected);
        Assert.True(difference == actual.Length, $"seed {_seed}, {when}: the byte at {difference} differs");
    }

    internal void Resize(DiskImage image, ulong length)
    {
        image.Resize(length);
        Array.Resize(ref _expected, (int)length);
    }

    private void Step(DiskImage image, int step)
    {
        int length = _random.Next(8) == 0 ? _random.Next(1, Math.Min(_expected.Length, 300_000)) : _random.Next(1, 9) * 512;
        length = Math.Min(length, _expected.Length);
        int offset = _random.Next(0, _expected.Length - length + 1);
        if (_random.Next(3) != 0)
        {
            int unit = _random.Next(2) == 0 ? 512 : 4096;
            offset &= -unit;
            length = Math.Min((length + unit - 1) & -unit, _expected.Length - offset);
        }

        Span<byte> range = _expected.AsSpan(offset, length);
        switch (_random.Next(10))
        {
            case < 4:
                _random.NextBytes(range);
                BufferList written = Split(range.ToArray());
                if (_random.Next(2) == 0 || !image.TryWriteNow((ulong)offset, written))
                    image.Write((ulong)offset, written);
                break;
            case < 6:
                byte[] read = new byte[length];
                BufferList buffers = Split(read);
                if (_random.Next(2) == 0 || !image.TryReadNow((ulong)offset, buffers))
                    image.Read((ulong)offset, buffers);
                int difference = range.CommonPrefixLength(read);
                Assert.True(difference == length, $"seed {_seed}, step {step}: a read of {length} at {offset} differs at {offset + difference}");
                break;
            case 6:
                range.Clear();
                image.WriteZeroes((ulong)offset, (ulong)length, _random.Next(2) == 0);
                break;
            case 7 when HasDiscard:
                // Old bytes or zeros, as the image likes; what it returns now must stay.
                byte[] now = new byte[length];
                image.Discard((ulong)offset, (ulong)length);
                image.Read((ulong)offset, now);
                for (int i = 0; i < length; i++)
                    Assert.True(now[i] == 0 || now[i] == range[i], $"seed {_seed}, step {step}: discarding {length} at {offset} left {now[i]} at {offset + i}");
                now.CopyTo(range);
                break;
            case 8 when _random.Next(4) == 0:
                image.Flush();
                break;
        }
    }

    private BufferList Split(byte[] bytes)
    {
        var parts = new List<Memory<byte>>();
        for (int at = 0; at < bytes.Length;)
        {
            int length = Math.Min(bytes.Length - at, _random.Next(1, 40_000));
            parts.Add(bytes.AsMemory(at, length));
            at += length;
        }

        return new BufferList(parts);
    }
}
