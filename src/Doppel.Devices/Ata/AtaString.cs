using System.Text;

namespace Doppel.Devices.Ata;

/// <summary>Text in identification data: ASCII, padded with blanks, the two characters of each word exchanged (ATA8-ACS, 3.2.9).</summary>
internal static class AtaString
{
    internal static void Write(Span<byte> destination, string text)
    {
        destination.Fill((byte)' ');
        byte[] bytes = Encoding.ASCII.GetBytes(text);
        for (int i = 0; i < Math.Min(bytes.Length, destination.Length); i++)
            destination[i ^ 1] = bytes[i];
    }
}
