using System.Text;

namespace Doppel.Bench;

/// <summary>The text that is hashed and compressed: words of a fixed vocabulary, common ones more often, the same at every run.</summary>
internal static class SampleText
{
    /// <summary>Bytes of the text.</summary>
    public const int Size = 4 << 20;

    /// <summary>Makes the text.</summary>
    public static byte[] Make()
    {
        uint seed = 1;
        uint Next(uint below)
        {
            seed = (seed * 1664525) + 1013904223;
            return (uint)(((ulong)seed * below) >> 32);
        }

        var words = new string[4096];
        for (int i = 0; i < words.Length; i++)
        {
            var word = new StringBuilder();
            for (uint length = 2 + Next(8); length > 0; length--)
            {
                word.Append((char)('a' + Next(26)));
            }

            words[i] = word.Append(' ').ToString();
        }

        var text = new StringBuilder(Size + 16);
        while (text.Length < Size)
        {
            uint range = 1 + Next((uint)words.Length);
            text.Append(words[Next(range)]);
        }

        return Encoding.ASCII.GetBytes(text.ToString(0, Size));
    }
}
