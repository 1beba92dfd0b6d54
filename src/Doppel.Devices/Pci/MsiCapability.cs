using System.Numerics;
using Doppel.Machine.Interrupts;

namespace Doppel.Devices.Pci;

/// <summary>
/// MSI of a function (PCI 3.0, 6.8.1), with a 64-bit address, several messages and a mask for each. All of its state is
/// in configuration space. The machine's I/O lock guards it.
/// </summary>
public sealed class MsiCapability
{
    /// <summary>Id of the capability.</summary>
    public const byte Id = 0x05;

    private const uint Enable = 1;
    private readonly PciConfigSpace _config;
    private readonly IMessageSink _messages;
    private readonly int _offset;

    /// <summary>Adds the capability to a configuration space.</summary>
    /// <param name="config">The function's configuration space.</param>
    /// <param name="messages">Where messages go.</param>
    /// <param name="vectors">Number of messages that the function wants: a power of two, 1 to 32.</param>
    public MsiCapability(PciConfigSpace config, IMessageSink messages, int vectors)
    {
        ArgumentNullException.ThrowIfNull(config);
        if (vectors is < 1 or > 32 || !int.IsPow2(vectors))
            throw new ArgumentOutOfRangeException(nameof(vectors), vectors, "a function has 1, 2, 4, 8, 16 or 32 messages");
        _config = config;
        _messages = messages;
        Vectors = vectors;
        uint all = vectors == 32 ? uint.MaxValue : (1u << vectors) - 1;
        _offset = config.AddCapability(Id, 24);
        config.Define(_offset + 2, 2, 0x0180 | ((uint)BitOperations.Log2((uint)vectors) << 1), writable: 0x0071);
        config.Define(_offset + 4, 4, 0, writable: 0xFFFF_FFFC);
        config.Define(_offset + 8, 4, 0, writable: uint.MaxValue);
        config.Define(_offset + 12, 2, 0, writable: 0xFFFF);
        config.Define(_offset + 16, 4, 0, writable: all);
        config.Define(_offset + 20, 4, 0);
    }

    /// <summary>Number of messages that the function wants.</summary>
    public int Vectors { get; }

    /// <summary>True while the guest uses MSI; INTx is silent then.</summary>
    public bool IsEnabled => (_config.Get(_offset + 2, 2) & Enable) != 0;

    // The guest may allow fewer messages than were asked for; then several vectors share one (6.8.1.3).
    private int Allowed => Math.Min(Vectors, 1 << (int)((_config.Get(_offset + 2, 2) >> 4) & 7));

    /// <summary>Sends a vector's message, or keeps it pending while it is masked. Nothing happens while MSI is off.</summary>
    public void Raise(int vector)
    {
        if ((uint)vector >= (uint)Vectors || !IsEnabled)
            return;
        _config.Set(_offset + 20, 4, _config.Get(_offset + 20, 4) | (1u << (vector & (Allowed - 1))));
        Update();
    }

    /// <summary>Sends what is pending and may be sent now. To be called after the guest has written to configuration space.</summary>
    public void Update()
    {
        if (!IsEnabled || !_config.IsBusMaster)
            return;
        uint pending = _config.Get(_offset + 20, 4);
        uint now = pending & ~_config.Get(_offset + 16, 4);
        if (now == 0)
            return;
        _config.Set(_offset + 20, 4, pending & ~now);
        ulong address = _config.Get(_offset + 4, 4) | ((ulong)_config.Get(_offset + 8, 4) << 32);
        uint data = _config.Get(_offset + 12, 2);
        for (uint mask = (uint)Allowed - 1; now != 0; now &= now - 1)
            _messages.Deliver(address, (data & ~mask) | ((uint)BitOperations.TrailingZeroCount(now) & mask));
    }
}
