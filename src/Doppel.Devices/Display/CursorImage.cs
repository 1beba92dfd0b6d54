using Doppel.Machine.State;

namespace Doppel.Devices.Display;

/// <summary>The picture of a pointer that an adapter lays over its screen. It doesn't change once it is made, so that any thread may read it.</summary>
internal sealed class CursorImage
{
    /// <summary>Most columns or rows.</summary>
    internal const int MaximumSide = 256;

    // What stays of the screen below, and what is put over it: by AND and XOR, or for one with an alpha channel premultiplied colours.
    private readonly uint[] _keeps;
    private readonly uint[] _colors;

    /// <summary>A picture of masks: a pixel of the screen becomes (pixel AND <paramref name="keeps"/>) XOR <paramref name="colors"/>.</summary>
    internal CursorImage(int width, int height, int hotX, int hotY, uint[] keeps, uint[] colors)
    {
        (Width, Height, HotX, HotY) = (width, height, hotX, hotY);
        (_keeps, _colors) = (keeps, colors);
    }

    /// <summary>A picture of colours AARRGGBBh that are multiplied by their alpha already.</summary>
    internal CursorImage(int width, int height, int hotX, int hotY, uint[] colors)
        : this(width, height, hotX, hotY, [], colors)
    {
    }

    internal int Width { get; }

    internal int Height { get; }

    /// <summary>Column of the pixel that is where the pointer points.</summary>
    internal int HotX { get; }

    /// <summary>Its row.</summary>
    internal int HotY { get; }

    private bool HasAlpha => _keeps.Length == 0;

    internal static void Save(StateWriter writer, CursorImage? image)
    {
        writer.Write(image is not null);
        if (image is null)
            return;
        foreach (int number in (ReadOnlySpan<int>)[image.Width, image.Height, image.HotX, image.HotY])
            writer.Write(number);
        writer.Write(image.HasAlpha);
        foreach (uint word in image.HasAlpha ? image._colors : [.. image._keeps, .. image._colors])
            writer.Write(word);
    }

    /// <exception cref="InvalidDataException">There can be no such picture.</exception>
    internal static CursorImage? Read(StateReader reader, string section)
    {
        if (!reader.ReadBool())
            return null;
        int width = (int)StateCheck.Range(section, "columns of the pointer", reader.ReadInt32(), 1, MaximumSide);
        int height = (int)StateCheck.Range(section, "rows of the pointer", reader.ReadInt32(), 1, MaximumSide);
        int hotX = (int)StateCheck.Range(section, "hot spot", reader.ReadInt32(), 0, ushort.MaxValue);
        int hotY = (int)StateCheck.Range(section, "hot spot", reader.ReadInt32(), 0, ushort.MaxValue);
        bool hasAlpha = reader.ReadBool();
        uint[] ReadWords()
        {
            uint[] words = new uint[width * height];
            for (int i = 0; i < words.Length; i++)
                words[i] = reader.ReadUInt32();
            return words;
        }

        return hasAlpha ? new CursorImage(width, height, hotX, hotY, ReadWords()) : new CursorImage(width, height, hotX, hotY, ReadWords(), ReadWords());
    }

    /// <summary>Lays a row of the picture over pixels of the screen.</summary>
    /// <param name="row">Row of the picture, 0 to <see cref="Height"/> - 1.</param>
    /// <param name="column">Column of the picture that lies over the first pixel; negative when the picture begins further right.</param>
    /// <param name="pixels">Pixels of the screen, 00RRGGBBh.</param>
    internal void Blend(int row, int column, Span<uint> pixels)
    {
        for (int i = Math.Max(0, -column); i < pixels.Length && column + i < Width; i++)
        {
            int at = (row * Width) + column + i;
            pixels[i] = HasAlpha ? Over(_colors[at], pixels[i]) : ((pixels[i] & _keeps[at]) ^ _colors[at]) & 0xFFFFFF;
        }
    }

    private static uint Over(uint color, uint below)
    {
        uint stays = 255 - (color >> 24), result = 0;
        for (int shift = 0; shift < 24; shift += 8)
            result |= Math.Min(((color >> shift) & 0xFF) + (((((below >> shift) & 0xFF) * stays) + 127) / 255), 255) << shift;
        return result;
    }
}
