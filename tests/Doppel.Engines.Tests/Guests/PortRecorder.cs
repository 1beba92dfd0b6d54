using Doppel.Machine.Bus;

namespace Doppel.Engines.Tests.Guests;

/// <summary>Ports that keep what is written to them and read as the bytes B1h, B2h, B3h, B4h.</summary>
internal sealed class PortRecorder : IIoRegion
{
    internal const ushort Port = 0x90;

    internal List<(int Size, ulong Value)> Written { get; } = [];

    internal List<int> ReadSizes { get; } = [];

    public string Name => "recorder";

    public ulong Read(ulong offset, int size)
    {
        ReadSizes.Add(size);
        return 0xB4B3B2B1UL & (ulong.MaxValue >> (64 - (8 * size)));
    }

    public void Write(ulong offset, int size, ulong value) => Written.Add((size, value));
}
