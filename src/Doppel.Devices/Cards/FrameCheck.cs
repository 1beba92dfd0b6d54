namespace Doppel.Devices.Cards;

/// <summary>The check sequence of an Ethernet frame (IEEE 802.3, 3.2.9): CRC-32, least significant bit first.</summary>
internal static class FrameCheck
{
    private static readonly uint[] Table = [.. Enumerable.Range(0, 256).Select(i =>
    {
        uint value = (uint)i;
        for (int bit = 0; bit < 8; bit++)
            value = (value >> 1) ^ ((value & 1) != 0 ? 0xEDB8_8320 : 0);
        return value;
    })];

    internal static uint Of(ReadOnlySpan<byte> frame)
    {
        uint value = uint.MaxValue;
        foreach (byte part in frame)
            value = (value >> 8) ^ Table[(byte)(value ^ part)];
        return ~value;
    }

    /// <summary>The bit of a table of 64 by which cards of the time filter an address: six bits of its check sequence, most significant first.</summary>
    internal static int HashOf(ReadOnlySpan<byte> address)
    {
        uint register = ~Of(address);
        int bit = 0;
        for (int i = 0; i < 6; i++)
            bit = (bit << 1) | (int)((register >> i) & 1);
        return bit;
    }
}
