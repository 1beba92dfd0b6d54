using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// The two 8237A controllers of a PC: channels 0 to 3 move bytes, 5 to 7 words; channel 4 is the cascade. Their page registers
/// are at ports 80h to 8Fh. The machine's I/O lock guards it.
/// </summary>
public sealed class DmaPair : IDevice
{
    /// <summary>Channel of the floppy controller.</summary>
    public const int FloppyChannel = 2;

    private static readonly int[] PagePorts = [7, 3, 1, 2, 15, 11, 9, 10];

    private readonly Dma8237[] _controllers;
    private readonly IoRange[] _ports;

    /// <summary>Creates the controllers.</summary>
    /// <param name="memory">Guest memory.</param>
    /// <param name="page">Byte of the page registers, 0 to 15 for ports 80h to 8Fh.</param>
    public DmaPair(GuestMemory memory, Func<int, byte> page)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(page);
        _controllers = [.. Enumerable.Range(0, 2).Select(i => new Dma8237(memory, i == 1, channel => page(PagePorts[(4 * i) + channel])))];
        // The second controller's registers are at every other port.
        _ports =
        [
            new IoRange(0x00, 16, new BytePorts("dma1", 16, _controllers[0].Read, _controllers[0].Write)),
            new IoRange(0xC0, 32, new BytePorts("dma2", 32, o => _controllers[1].Read(o / 2), (o, v) => _controllers[1].Write(o / 2, v))),
        ];
        Reset();
    }

    /// <inheritdoc/>
    public string SectionName => "dma";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <summary>A channel for its peripheral.</summary>
    /// <param name="number">0 to 3, or 5 to 7, whose data have an even number of bytes.</param>
    public IDmaChannel Channel(int number)
    {
        if (number is < 0 or > 7 or 4)
            throw new ArgumentOutOfRangeException(nameof(number), number, "peripherals have channels 0 to 3 and 5 to 7");
        return new Line(_controllers[number / 4], number % 4);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        foreach (Dma8237 controller in _controllers)
            controller.Reset();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        foreach (Dma8237 controller in _controllers)
            controller.Save(writer);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        Action[] adopt = [.. _controllers.Select(controller => controller.ReadState(reader, SectionName))];
        foreach (Action each in adopt)
            each();
    }

    private sealed class Line(Dma8237 controller, int channel) : IDmaChannel
    {
        public void SetRequest(bool asks) => controller.SetRequest(channel, asks);

        public int Transfer(Span<byte> data, bool toMemory, out bool isTerminal) => controller.Transfer(channel, data, toMemory, out isTerminal);
    }
}
