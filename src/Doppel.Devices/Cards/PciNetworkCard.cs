using Doppel.Devices.Network;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.Time;

namespace Doppel.Devices.Cards;

/// <summary>What Ethernet cards on PCI have in common: a cable, one timer, memory that they master. The machine's I/O lock guards it.</summary>
public abstract class PciNetworkCard : PciFunction, INetworkCard, IBackgroundDevice, IDisposable
{
    private CardCable? _cable;

    /// <summary>Creates a card whose cable is not plugged in yet: a derived card does that when it can send and receive.</summary>
    /// <param name="name">Name of its saved section.</param>
    /// <param name="config">Its configuration space.</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="clock">Guest time.</param>
    /// <param name="portBus">Where its ports appear.</param>
    /// <param name="memoryBus">Where its registers appear.</param>
    private protected PciNetworkCard(string name, PciConfigSpace config, DevicePlatform platform, IGuestClock clock, IoBus portBus, IoBus memoryBus)
        : base(name, config, portBus, memoryBus)
    {
        ArgumentNullException.ThrowIfNull(platform);
        ArgumentNullException.ThrowIfNull(clock);
        (Memory, GuestClock) = (platform.Memory, clock);
        Timer = clock.CreateTimer(name, OnTimer);
        InterruptPin = 1;
    }

    /// <inheritdoc/>
    public bool IsPluggedIn
    {
        get => Cable.IsPluggedIn;
        set => Cable.IsPluggedIn = value;
    }

    private protected GuestMemory Memory { get; }

    private protected IGuestClock GuestClock { get; }

    private protected IGuestTimer Timer { get; }

    private protected CardCable Cable => _cable ?? throw new InvalidOperationException($"{SectionName}: its cable is not plugged in yet");

    /// <inheritdoc/>
    public override void WriteConfig(int offset, int size, uint value)
    {
        bool was = Config.IsBusMaster;
        base.WriteConfig(offset, size, value);
        if (!was && Config.IsBusMaster)
            Cable.Wake();
    }

    /// <inheritdoc/>
    public override void Reset()
    {
        base.Reset();
        ResetCard();
    }

    /// <inheritdoc/>
    public Task HoldAsync() => Cable.HoldAsync();

    /// <inheritdoc/>
    public void Release() => Cable.Release();

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Pulls the cable and ends the timer.</summary>
    /// <param name="disposing">True when called by <see cref="Dispose()"/>.</param>
    protected virtual void Dispose(bool disposing)
    {
        if (!disposing)
            return;
        _cable?.Dispose();
        Timer.Dispose();
    }

    /// <summary>Frames may come and go from here on.</summary>
    private protected void PlugIn(IFrameCard card, INetworkBackend backend, DevicePlatform platform) =>
        _cable = new CardCable(SectionName, card, backend, platform);

    /// <summary>Everything behind PCI's configuration space as after a reset of the bus.</summary>
    private protected abstract void ResetCard();

    /// <summary>Called when <see cref="Timer"/> rings.</summary>
    private protected abstract void OnTimer();

    /// <summary>Sets the timer as it was saved.</summary>
    /// <param name="deadline">Guest time in nanoseconds; negative when it was not armed.</param>
    private protected void RestoreTimer(long deadline)
    {
        if (deadline < 0)
            Timer.Disarm();
        else
            Timer.Arm(deadline);
    }
}
