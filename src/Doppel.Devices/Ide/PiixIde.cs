using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Ide;

/// <summary>
/// The IDE function of Intel's PIIX3 (8086:7010; 82371SB data sheet, chapters 2.3 and 2.7): two channels at the addresses of
/// a PC's, with bus mastering. The machine's I/O lock guards it.
/// </summary>
public sealed class PiixIde : PciFunction, IBackgroundDevice, IDisposable
{
    /// <summary>Where it usually sits: 00:01.1, beside the ISA bridge.</summary>
    public static readonly PciAddress DefaultAddress = new(0, 1, 1);

    /// <summary>Timing registers of the channels, two bytes each; bit 15 says that the channel is decoded.</summary>
    public const int FirstTiming = 0x40;

    private const int RegistersOfChannel = 8;
    private readonly IdeChannel[] _channels;
    private readonly BusMasterIde[] _masters;

    /// <summary>Creates a function that is not on a bus yet; its channels answer at their ports from then on.</summary>
    /// <param name="name">Name of its saved section, for example "ide".</param>
    /// <param name="primary">The first channel; owned.</param>
    /// <param name="secondary">The second channel; owned.</param>
    /// <param name="memory">Guest memory.</param>
    /// <param name="portBus">Where its registers appear.</param>
    /// <param name="memoryBus">The bus of memory, on which it has nothing.</param>
    public PiixIde(string name, IdeChannel primary, IdeChannel secondary, GuestMemory memory, IoBus portBus, IoBus memoryBus)
        : base(name, new PciConfigSpace(0x8086, 0x7010, 0x010180, subsystemVendor: 0x8086, subsystem: 0x7010), portBus, memoryBus)
    {
        ArgumentNullException.ThrowIfNull(primary);
        ArgumentNullException.ThrowIfNull(secondary);
        ArgumentNullException.ThrowIfNull(portBus);
        _channels = [primary, secondary];
        _masters = [.. _channels.Select(channel => new BusMasterIde(memory, channel, () => Config.IsBusMaster))];
        Config.Define(PciConfigSpace.Status, 2, 0x0280, clearable: 0x3800);
        Config.Define(PciConfigSpace.Command, 2, 0, writable: 0x0005);
        // The channels' own interrupts are those of ISA.
        Config.Define(0x3C, 1, 0);
        Config.Define(FirstTiming, 2, 0, writable: 0xFFFF);
        Config.Define(FirstTiming + 2, 2, 0, writable: 0xFFFF);
        Config.Define(0x44, 1, 0, writable: 0xFF);
        AddBar(new PciBar(4, 2 * RegistersOfChannel, new BytePorts(name + "-bus-master", 2 * RegistersOfChannel, Read, Write), IsPort: true));
        foreach (IdeChannel channel in _channels)
            portBus.Map(channel.Ports);
    }

    /// <summary>The channels.</summary>
    public IReadOnlyList<IdeChannel> Channels => _channels;

    /// <inheritdoc/>
    public override void WriteConfig(int offset, int size, uint value)
    {
        bool was = Config.IsBusMaster;
        base.WriteConfig(offset, size, value);
        if (was || !Config.IsBusMaster)
            return;
        foreach (BusMasterIde master in _masters)
            master.Continue();
    }

    /// <inheritdoc/>
    public override void Reset()
    {
        base.Reset();
        foreach (IdeChannel channel in _channels)
            channel.Reset();
        foreach (BusMasterIde master in _masters)
            master.Reset();
    }

    /// <inheritdoc/>
    public Task HoldAsync() => Task.WhenAll(_channels.Select(channel => channel.HoldAsync()));

    /// <inheritdoc/>
    public void Release()
    {
        foreach (IdeChannel channel in _channels)
            channel.Release();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IdeChannel channel in _channels)
            channel.Dispose();
    }

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer)
    {
        foreach (IdeChannel channel in _channels)
            channel.Save(writer);
        foreach (BusMasterIde master in _masters)
            master.Save(writer);
    }

    /// <inheritdoc/>
    protected override Action ReadFunction(StateReader reader)
    {
        Action[] adopt = [.. _channels.Select(channel => channel.ReadState(reader)), .. _masters.Select(master => master.ReadState(reader, SectionName))];
        return () =>
        {
            foreach (Action each in adopt)
                each();
        };
    }

    private byte Read(int offset) => _masters[offset / RegistersOfChannel].Read(offset % RegistersOfChannel);

    private void Write(int offset, byte value) => _masters[offset / RegistersOfChannel].Write(offset % RegistersOfChannel, value);
}
