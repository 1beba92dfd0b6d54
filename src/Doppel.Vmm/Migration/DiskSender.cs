using Doppel.Devices.Storage.Images;
using Doppel.Vmm.Execution;

namespace Doppel.Vmm.Migration;

/// <summary>Copies disks along while the guest goes on writing to them: all that they have, then what was changed meanwhile. One thread.</summary>
internal sealed class DiskSender : IDisposable
{
    private readonly IReadOnlyList<MachineDisk> _disks;
    private readonly MigrationStream _connection;
    private readonly BandwidthLimit _limit;
    private readonly DirtyBlocks[] _dirty;
    private readonly bool _compresses;
    private readonly byte[] _bytes = new byte[DiskBlock.LongestPiece];
    private readonly byte[] _frame = new byte[DiskBlock.LongestBlock];

    /// <summary>Begins to watch disks.</summary>
    /// <param name="disks">The disks; empty for none.</param>
    /// <param name="connection">Where their bytes go.</param>
    /// <param name="limit">Its bandwidth.</param>
    /// <param name="compresses">True to compress them.</param>
    internal DiskSender(IReadOnlyList<MachineDisk> disks, MigrationStream connection, BandwidthLimit limit, bool compresses)
    {
        _compresses = compresses;
        _disks = disks;
        _connection = connection;
        _limit = limit;
        _dirty = [.. disks.Select(disk => new DirtyBlocks(disk.Image.Length))];
        for (int i = 0; i < disks.Count; i++)
            ((ImageBackend)disks[i].Backend).Tracked = _dirty[i];
    }

    /// <summary>Bytes of the disks.</summary>
    internal ulong Bytes => _disks.Aggregate(0UL, (sum, disk) => sum + disk.Image.Length);

    /// <summary>Bytes that were changed and are still to be sent.</summary>
    internal ulong DirtyBytes => _dirty.Aggregate(0UL, (sum, dirty) => sum + dirty.Bytes);

    /// <summary>Stops watching.</summary>
    public void Dispose()
    {
        foreach (MachineDisk disk in _disks)
            ((ImageBackend)disk.Backend).Tracked = null;
    }

    /// <summary>Sends all that the disks have; what reads as zeros takes nothing.</summary>
    /// <param name="progress">Told how many bytes are left.</param>
    /// <param name="cancel">Ends it early.</param>
    internal async Task SendAllAsync(Action<ulong> progress, CancellationToken cancel)
    {
        ulong left = Bytes;
        for (int i = 0; i < _disks.Count; i++)
        {
            DiskImage image = _disks[i].Image;
            for (ulong offset = 0; offset < image.Length;)
            {
                ImageExtent extent = image.GetExtent(offset, Math.Min(image.Length - offset, DiskBlock.LongestPiece));
                if (extent.Kind != ExtentKind.Zero)
                    await SendAsync(i, offset, (int)extent.Length, skipsZeros: true, cancel).ConfigureAwait(false);
                offset += extent.Length;
                left -= extent.Length;
                progress(left + DirtyBytes);
            }
        }
    }

    /// <summary>Sends what was changed since it was sent.</summary>
    internal async Task SendDirtyAsync(CancellationToken cancel)
    {
        for (int i = 0; i < _dirty.Length; i++)
        {
            foreach ((ulong start, ulong length) in _dirty[i].Take())
            {
                for (ulong offset = start; offset < start + length; offset += DiskBlock.LongestPiece)
                    await SendAsync(i, offset, (int)Math.Min(start + length - offset, DiskBlock.LongestPiece), skipsZeros: false, cancel).ConfigureAwait(false);
            }
        }
    }

    private async Task SendAsync(int disk, ulong offset, int length, bool skipsZeros, CancellationToken cancel)
    {
        Memory<byte> bytes = _bytes.AsMemory(0, length);
        _disks[disk].Image.Read(offset, bytes);
        if (skipsZeros && !bytes.Span.ContainsAnyExcept((byte)0))
            return;
        int frame = DiskBlock.Write(disk, offset, bytes.Span, _compresses, _frame);
        await _limit.WaitAsync(frame, cancel).ConfigureAwait(false);
        await _connection.SendAsync(FrameKind.Blocks, _frame.AsMemory(0, frame), cancel).ConfigureAwait(false);
    }
}
