using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Doppel.Devices.Storage;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// Block device (virtio 1.2, 5.2): reads, writes, flushes, discards and write-zeroes on one back end, over several queues.
/// Requests run side by side and complete in any order. Without the flush feature, or when the guest turns the write cache
/// off, a write is durable when it completes.
/// </summary>
public sealed class VirtioBlock : VirtioDevice
{
    /// <summary>Device type.</summary>
    public const ushort DeviceType = 2;

    /// <summary>PCI class: SCSI controller, as guests expect of it.</summary>
    public const uint PciClass = 0x010000;

    /// <summary>Most queues.</summary>
    public const int MaximumQueues = 64;

    private const ulong SegmentMaximum = 1UL << 2, ReadOnly = 1UL << 5, BlockSize = 1UL << 6, FlushFeature = 1UL << 9,
        Topology = 1UL << 10, ConfigurableCache = 1UL << 11, MultipleQueues = 1UL << 12, DiscardFeature = 1UL << 13, WriteZeroesFeature = 1UL << 14;

    private const ushort QueueSize = 256;
    private const uint MaximumRanges = 16;
    private const uint MaximumRangeSectors = 1 << 22;
    private const int CacheField = 32;
    private readonly IBlockBackend _backend;
    private readonly Action<StorageFullException>? _full;
    private readonly byte[] _serial = new byte[VirtioBlockRequest.IdLength];
    private bool _isWriteBack = true;

    /// <summary>Creates a disk.</summary>
    /// <param name="name">Name of its saved section, for example "virtio-blk0".</param>
    /// <param name="backend">What it reads and writes; not disposed with the device.</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="queues">Number of queues, 1 to <see cref="MaximumQueues"/>.</param>
    /// <param name="serial">Serial number; at most 20 bytes of it are shown.</param>
    /// <param name="full">Told that the host has no room; the machine should pause, and the request begins anew when it goes on. Any thread. Null makes it an I/O error.</param>
    public VirtioBlock(string name, IBlockBackend backend, DevicePlatform platform, int queues = 1, string serial = "", Action<StorageFullException>? full = null)
        : base(name, DeviceType, Offer(backend), [.. Enumerable.Repeat(QueueSize, CheckQueues(queues))], platform)
    {
        ArgumentNullException.ThrowIfNull(serial);
        _backend = backend;
        _full = full;
        byte[] text = Encoding.UTF8.GetBytes(serial);
        text.AsSpan(0, Math.Min(text.Length, _serial.Length)).CopyTo(_serial);
        _backend.Resized += OnResized;
    }

    /// <inheritdoc/>
    public override int ConfigLength => 60;

    private bool IsWriteThrough => !Has(FlushFeature) || (Has(ConfigurableCache) && !_isWriteBack);

    /// <inheritdoc/>
    public override void ReadConfig(Span<byte> config)
    {
        int blockSize = _backend.PreferredBlockSize;
        uint discardUnit = (uint)Math.Max(_backend.DiscardGranularity, IBlockBackend.SectorSize);
        BinaryPrimitives.WriteUInt64LittleEndian(config, _backend.Length / IBlockBackend.SectorSize);
        BinaryPrimitives.WriteUInt32LittleEndian(config[12..], QueueSize - 2);
        BinaryPrimitives.WriteUInt32LittleEndian(config[20..], IBlockBackend.SectorSize);
        config[24] = (byte)BitOperations.Log2((uint)blockSize / IBlockBackend.SectorSize);
        BinaryPrimitives.WriteUInt16LittleEndian(config[26..], (ushort)Math.Min(blockSize / IBlockBackend.SectorSize, ushort.MaxValue));
        config[CacheField] = _isWriteBack ? (byte)1 : (byte)0;
        BinaryPrimitives.WriteUInt16LittleEndian(config[34..], (ushort)Queues.Count);
        BinaryPrimitives.WriteUInt32LittleEndian(config[36..], MaximumRangeSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(config[40..], MaximumRanges);
        BinaryPrimitives.WriteUInt32LittleEndian(config[44..], discardUnit / IBlockBackend.SectorSize);
        BinaryPrimitives.WriteUInt32LittleEndian(config[48..], MaximumRangeSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(config[52..], MaximumRanges);
        config[56] = _backend.DiscardGranularity != 0 ? (byte)1 : (byte)0;
    }

    /// <inheritdoc/>
    public override void WriteConfig(int offset, ReadOnlySpan<byte> bytes)
    {
        if (Has(ConfigurableCache) && offset <= CacheField && offset + bytes.Length > CacheField)
            _isWriteBack = (bytes[CacheField - offset] & 1) != 0;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool isDisposing)
    {
        _backend.Resized -= OnResized;
        base.Dispose(isDisposing);
    }

    /// <inheritdoc/>
    protected override void OnReset() => _isWriteBack = true;

    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write(_isWriteBack);
    }

    /// <inheritdoc/>
    protected override Action ReadDevice(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        bool isWriteBack = reader.ReadBool();
        return () => _isWriteBack = isWriteBack;
    }

    /// <inheritdoc/>
    protected override void Handle(VirtioQueue queue, VirtioChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        ArgumentNullException.ThrowIfNull(chain);
        if (!VirtioBlockRequest.TryRead(chain, out VirtioBlockRequest request))
        {
            Break($"queue {queue.Index}: a request has {chain.ReadableLength} bytes to read and {chain.WritableLength} to write; 16 and 1 are the least");
            Complete(chain, 0);
            return;
        }

        if (Platform.IsDeterministic)
            Finish(chain, request, TryAsync(chain, request).AsTask().GetAwaiter().GetResult());
        else
            _ = RunAsync(chain, request);
    }

    private static ulong Offer(IBlockBackend backend)
    {
        ArgumentNullException.ThrowIfNull(backend);
        return SegmentMaximum | BlockSize | FlushFeature | Topology | ConfigurableCache | MultipleQueues
            | (backend.IsReadOnly ? ReadOnly : DiscardFeature | WriteZeroesFeature);
    }

    private static int CheckQueues(int queues) => queues is >= 1 and <= MaximumQueues
        ? queues
        : throw new ArgumentOutOfRangeException(nameof(queues), queues, $"a disk has 1 to {MaximumQueues} queues");

    private void OnResized()
    {
        lock (Platform.IoLock)
            ConfigChanged();
    }

    private async Task RunAsync(VirtioChain chain, VirtioBlockRequest request) =>
        Finish(chain, request, await TryAsync(chain, request).ConfigureAwait(false));

    /// <summary>Does what a request asks for; needs no lock.</summary>
    private async ValueTask<Outcome> TryAsync(VirtioChain chain, VirtioBlockRequest request)
    {
        try
        {
            return new Outcome(await ExecuteAsync(chain, request, Stopping).ConfigureAwait(false), null);
        }
        catch (StorageFullException e) when (_full is not null)
        {
            return new Outcome(VirtioBlockRequest.IoError, e);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // The guest learns of it by the status.
        }
        catch (Exception e)
        {
            Platform.Failed(new InvalidOperationException($"{Name}: request {request.Type} at sector {request.Sector} failed: {e.Message}", e));
        }

        return new Outcome(VirtioBlockRequest.IoError, null);
    }

    private void Finish(VirtioChain chain, VirtioBlockRequest request, Outcome outcome)
    {
        lock (Platform.IoLock)
        {
            if (outcome.Full is not null)
            {
                Postpone(chain);
            }
            else
            {
                bool isRead = request.Type is VirtioBlockRequest.ReadData or VirtioBlockRequest.GetId;
                if (isRead)
                    chain.NoteWritten(chain.WritableLength - 1);
                _ = chain.Write(chain.WritableLength - 1, [outcome.Status]);
                Complete(chain, isRead ? chain.WritableLength : 1);
            }
        }

        if (outcome.Full is not null)
            _full!(outcome.Full);
    }

    private async ValueTask<byte> ExecuteAsync(VirtioChain chain, VirtioBlockRequest request, CancellationToken cancel)
    {
        switch (request.Type)
        {
            case VirtioBlockRequest.ReadData:
                uint readLength = chain.WritableLength - 1;
                if (VirtioBlockRequest.Locate(request.Sector, readLength, _backend.Length) is not ulong from)
                    return VirtioBlockRequest.IoError;
                await _backend.ReadAsync(from, chain.GetWritableViews(0, readLength), cancel).ConfigureAwait(false);
                return VirtioBlockRequest.Ok;
            case VirtioBlockRequest.WriteData:
                uint writeLength = chain.ReadableLength - VirtioBlockRequest.HeaderLength;
                if (_backend.IsReadOnly || VirtioBlockRequest.Locate(request.Sector, writeLength, _backend.Length) is not ulong to)
                    return VirtioBlockRequest.IoError;
                await _backend.WriteAsync(to, chain.GetReadableViews(VirtioBlockRequest.HeaderLength, writeLength), cancel).ConfigureAwait(false);
                if (IsWriteThrough)
                    await _backend.FlushAsync(cancel).ConfigureAwait(false);
                return VirtioBlockRequest.Ok;
            case VirtioBlockRequest.Flush:
                await _backend.FlushAsync(cancel).ConfigureAwait(false);
                return VirtioBlockRequest.Ok;
            case VirtioBlockRequest.GetId:
                _ = chain.Write(0, _serial.AsSpan(0, (int)Math.Min(chain.WritableLength - 1, VirtioBlockRequest.IdLength)));
                return VirtioBlockRequest.Ok;
            case VirtioBlockRequest.Discard:
            case VirtioBlockRequest.WriteZeroes:
                return await ClearAsync(chain, request.Type == VirtioBlockRequest.WriteZeroes, cancel).ConfigureAwait(false);
            default:
                return VirtioBlockRequest.Unsupported;
        }
    }

    private async ValueTask<byte> ClearAsync(VirtioChain chain, bool writesZeroes, CancellationToken cancel)
    {
        const uint Unmap = 1;
        uint length = chain.ReadableLength - VirtioBlockRequest.HeaderLength;
        if (_backend.IsReadOnly)
            return VirtioBlockRequest.IoError;
        if (!Has(writesZeroes ? WriteZeroesFeature : DiscardFeature))
            return VirtioBlockRequest.Unsupported;
        if (length == 0 || length % VirtioBlockRequest.RangeLength != 0 || length / VirtioBlockRequest.RangeLength > MaximumRanges)
            return VirtioBlockRequest.IoError;
        byte[] ranges = new byte[length];
        _ = chain.Read(VirtioBlockRequest.HeaderLength, ranges);
        // Everything is checked before anything is done.
        for (int i = 0; i < ranges.Length; i += VirtioBlockRequest.RangeLength)
        {
            (ulong sector, uint sectors, uint flags) = ReadRange(ranges, i);
            if ((flags & ~(writesZeroes ? Unmap : 0)) != 0)
                return VirtioBlockRequest.Unsupported;
            if (sectors > MaximumRangeSectors || VirtioBlockRequest.Locate(sector, (ulong)sectors * IBlockBackend.SectorSize, _backend.Length) is null)
                return VirtioBlockRequest.IoError;
        }

        for (int i = 0; i < ranges.Length; i += VirtioBlockRequest.RangeLength)
        {
            (ulong sector, uint sectors, uint flags) = ReadRange(ranges, i);
            ulong offset = sector * IBlockBackend.SectorSize, bytes = (ulong)sectors * IBlockBackend.SectorSize;
            if (writesZeroes)
                await _backend.WriteZeroesAsync(offset, bytes, (flags & Unmap) != 0, cancel).ConfigureAwait(false);
            else
                await _backend.DiscardAsync(offset, bytes, cancel).ConfigureAwait(false);
        }

        if (IsWriteThrough)
            await _backend.FlushAsync(cancel).ConfigureAwait(false);
        return VirtioBlockRequest.Ok;
    }

    private static (ulong Sector, uint Sectors, uint Flags) ReadRange(byte[] ranges, int at) =>
    (
        BinaryPrimitives.ReadUInt64LittleEndian(ranges.AsSpan(at)),
        BinaryPrimitives.ReadUInt32LittleEndian(ranges.AsSpan(at + 8)),
        BinaryPrimitives.ReadUInt32LittleEndian(ranges.AsSpan(at + 12)));

    /// <summary>How a request ended; not at all when there was no room.</summary>
    private readonly record struct Outcome(byte Status, StorageFullException? Full);
}
