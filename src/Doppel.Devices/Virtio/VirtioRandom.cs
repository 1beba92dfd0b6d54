using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>Entropy device (virtio 1.2, 5.4): fills what the guest offers with random bytes.</summary>
public sealed class VirtioRandom : VirtioDevice
{
    /// <summary>Device type.</summary>
    public const ushort DeviceType = 4;

    /// <summary>PCI class: a function that is nothing else.</summary>
    public const uint PciClass = 0x00FF00;

    // A guest may ask for gigabytes at once; it is given this much, which is what it may count on (5.4.6.1 asks for one byte).
    private const int MostBytes = 4096;
    private readonly Action<Span<byte>> _fill;

    /// <summary>Creates the device.</summary>
    /// <param name="name">Name of its saved section, for example "virtio-rng0".</param>
    /// <param name="fill">Fills a span with random bytes. Called with the I/O lock held.</param>
    /// <param name="platform">What it is given of the machine.</param>
    public VirtioRandom(string name, Action<Span<byte>> fill, DevicePlatform platform)
        : base(name, DeviceType, 0, [64], platform) => _fill = fill;

    /// <inheritdoc/>
    public override int ConfigLength => 0;

    /// <inheritdoc/>
    public override void ReadConfig(Span<byte> config)
    {
    }

    /// <inheritdoc/>
    protected override void Handle(VirtioQueue queue, VirtioChain chain)
    {
        ArgumentNullException.ThrowIfNull(chain);
        Span<byte> bytes = stackalloc byte[(int)Math.Min(chain.WritableLength, MostBytes)];
        _fill(bytes);
        Complete(chain, (uint)chain.Write(0, bytes));
    }

    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
    }

    /// <inheritdoc/>
    protected override Action ReadDevice(StateReader reader) => () => { };
}
