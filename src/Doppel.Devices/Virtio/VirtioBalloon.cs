using System.Buffers.Binary;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// Memory balloon (virtio 1.2, 5.5): the host asks for memory and the guest gives pages, which go back to the host at once;
/// the guest reports free pages, which do so too without being asked for; and the guest tells how its memory is used. A page
/// that was given back reads as zeros when the guest uses it again.
/// </summary>
public sealed class VirtioBalloon : VirtioDevice
{
    /// <summary>Device type.</summary>
    public const ushort DeviceType = 5;

    /// <summary>PCI class: memory controller, other.</summary>
    public const uint PciClass = 0x058000;

    private const ulong StatisticsQueue = 1UL << 1, DeflateOnOom = 1UL << 2, FreePageReporting = 1UL << 5;
    private const int Inflate = 0, Deflate = 1;
    private const int StatisticLength = 10;
    private const int MostStatistics = 32;
    private VirtioChain? _statisticsChain;
    private bool _wantsStatistics;
    private uint _target;
    private uint _actual;

    /// <summary>Creates the device.</summary>
    /// <param name="name">Name of its saved section, for example "virtio-balloon0".</param>
    /// <param name="platform">What it is given of the machine.</param>
    public VirtioBalloon(string name, DevicePlatform platform)
        : base(name, DeviceType, StatisticsQueue | DeflateOnOom | FreePageReporting, [128, 128, 128, 128], platform)
    {
    }

    /// <summary>The guest has sent statistics. Raised with the I/O lock held.</summary>
    public event Action<BalloonStatistics>? StatisticsReceived;

    /// <summary><see cref="Actual"/> has changed. Raised with the I/O lock held.</summary>
    public event Action? ActualChanged;

    /// <inheritdoc/>
    public override int ConfigLength => 8;

    /// <summary>Bytes that the guest is asked to give: a multiple of 4096. Any thread.</summary>
    public ulong Target
    {
        get => (ulong)Volatile.Read(ref _target) * GuestMemory.PageSize;
        set
        {
            lock (Platform.IoLock)
            {
                uint pages = (uint)Math.Min(value / GuestMemory.PageSize, uint.MaxValue);
                if (pages == _target)
                    return;
                _target = pages;
                ConfigChanged();
            }
        }
    }

    /// <summary>Bytes that the guest says it has given. Any thread.</summary>
    public ulong Actual => (ulong)Volatile.Read(ref _actual) * GuestMemory.PageSize;

    /// <summary>Bytes given back to the host since the machine began, by either way; a page that was used again counts again. Any thread.</summary>
    public ulong FreedBytes { get; private set; }

    /// <summary>What the guest last said; null before it has. Any thread.</summary>
    public BalloonStatistics? Statistics { get; private set; }

    // Queues that are not agreed on have no number: those behind them move up (5.5.2, as drivers number them).
    private int? StatisticsIndex => Has(StatisticsQueue) ? 2 : null;

    private int? ReportingIndex => Has(FreePageReporting) ? Has(StatisticsQueue) ? 3 : 2 : null;

    /// <summary>Asks the guest for new statistics; they arrive by <see cref="StatisticsReceived"/> if it knows how. Any thread.</summary>
    public void RequestStatistics()
    {
        lock (Platform.IoLock)
        {
            _wantsStatistics = true;
            AskForStatistics();
        }
    }

    /// <inheritdoc/>
    public override void ReadConfig(Span<byte> config)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(config, _target);
        BinaryPrimitives.WriteUInt32LittleEndian(config[4..], _actual);
    }

    /// <inheritdoc/>
    public override void WriteConfig(int offset, ReadOnlySpan<byte> bytes)
    {
        Span<byte> config = stackalloc byte[8];
        ReadConfig(config);
        bytes.CopyTo(config[offset..]);
        uint actual = BinaryPrimitives.ReadUInt32LittleEndian(config[4..]);
        if (actual == _actual)
            return;
        _actual = actual;
        ActualChanged?.Invoke();
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        _actual = 0;
        _statisticsChain = null;
        _wantsStatistics = false;
        Statistics = null;
    }

    /// <inheritdoc/>
    protected override void OnQueueReset(int queue)
    {
        if (queue == StatisticsIndex)
            _statisticsChain = null;
    }

    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write(_target);
        writer.Write(_actual);
    }

    /// <inheritdoc/>
    protected override Action ReadDevice(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        uint target = reader.ReadUInt32(), actual = reader.ReadUInt32();
        return () =>
        {
            _target = target;
            _actual = actual;
            _statisticsChain = null;
            _wantsStatistics = false;
        };
    }

    /// <inheritdoc/>
    protected override void Handle(VirtioQueue queue, VirtioChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        ArgumentNullException.ThrowIfNull(chain);
        if (queue.Index == StatisticsIndex)
        {
            ReadStatistics(chain);
            return;
        }

        if (queue.Index == Inflate)
            FreePages(chain);
        else if (queue.Index == ReportingIndex)
            FreeReported(chain);
        // Of deflation there is nothing to do: the pages come back as the guest touches them.
        Complete(chain, 0);
    }

    private void FreePages(VirtioChain chain)
    {
        Span<byte> numbers = stackalloc byte[1024];
        ulong start = 0, length = 0;
        uint offset = 0;
        for (int count; (count = chain.Read(offset, numbers) & ~3) != 0; offset += (uint)count)
        {
            for (int i = 0; i < count; i += 4)
            {
                ulong page = (ulong)BinaryPrimitives.ReadUInt32LittleEndian(numbers[i..]) * GuestMemory.PageSize;
                // Neighbours go together, whichever way the guest counts.
                if (length != 0 && page == start + length)
                {
                    length += GuestMemory.PageSize;
                }
                else if (length != 0 && page + GuestMemory.PageSize == start)
                {
                    start = page;
                    length += GuestMemory.PageSize;
                }
                else
                {
                    Free(start, length);
                    (start, length) = (page, GuestMemory.PageSize);
                }
            }
        }

        Free(start, length);
    }

    private void FreeReported(VirtioChain chain)
    {
        foreach (VirtioBuffer buffer in chain.Writable)
        {
            // Only whole pages: a part of one may hold something else.
            ulong first = (buffer.Address + GuestMemory.PageSize - 1) & ~(ulong)(GuestMemory.PageSize - 1);
            ulong end = (buffer.Address + buffer.Length) & ~(ulong)(GuestMemory.PageSize - 1);
            if (first < end)
                Free(first, end - first);
        }
    }

    private void Free(ulong start, ulong length)
    {
        // A page that isn't RAM is none that could be given back.
        if (length != 0 && Platform.Memory.TryFree(start, length))
            FreedBytes += length;
    }

    private void ReadStatistics(VirtioChain chain)
    {
        Span<byte> bytes = stackalloc byte[StatisticLength * MostStatistics];
        int count = chain.Read(0, bytes) / StatisticLength;
        var statistics = new BalloonStatistics();
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> entry = bytes[(i * StatisticLength)..];
            statistics = statistics.With(BinaryPrimitives.ReadUInt16LittleEndian(entry), BinaryPrimitives.ReadUInt64LittleEndian(entry[2..]));
        }

        // A driver has one buffer for this; if it sends another, the first goes back.
        VirtioChain? previous = _statisticsChain;
        _statisticsChain = chain;
        Postpone(chain);
        if (previous is not null && previous != chain)
            Complete(previous, 0);
        Statistics = statistics;
        StatisticsReceived?.Invoke(statistics);
        AskForStatistics();
    }

    // Returning the buffer asks the driver to fill it again (5.5.6.3).
    private void AskForStatistics()
    {
        if (!_wantsStatistics || !IsRunning || _statisticsChain is not VirtioChain chain)
            return;
        _wantsStatistics = false;
        _statisticsChain = null;
        Complete(chain, 0);
    }
}
