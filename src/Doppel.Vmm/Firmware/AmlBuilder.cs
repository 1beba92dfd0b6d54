using System.Text;

namespace Doppel.Vmm.Firmware;

/// <summary>Writes ACPI machine language (ACPI 6.4, chapter 20): a list of terms. Not thread-safe.</summary>
public sealed class AmlBuilder
{
    private readonly List<byte> _bytes = [];

    /// <summary>The terms written so far.</summary>
    public byte[] ToArray() => [.. _bytes];

    /// <summary>An integer in its shortest form.</summary>
    public static byte[] Integer(ulong value) => value switch
    {
        0 => [0x00],
        1 => [0x01],
        <= byte.MaxValue => [0x0A, (byte)value],
        <= ushort.MaxValue => [0x0B, .. Little(value, 2)],
        <= uint.MaxValue => [0x0C, .. Little(value, 4)],
        _ => [0x0E, .. Little(value, 8)],
    };

    /// <summary>An ASCII string.</summary>
    public static byte[] Text(string text) => [0x0D, .. Encoding.ASCII.GetBytes(text), 0];

    /// <summary>A buffer, for example a resource template.</summary>
    public static byte[] Buffer(ReadOnlySpan<byte> content) => [0x11, .. WithLength([.. Integer((ulong)content.Length), .. content])];

    /// <summary>A package of at most 255 elements, each a term of its own.</summary>
    public static byte[] Package(params IReadOnlyCollection<byte[]> elements)
    {
        if (elements.Count > 255)
            throw new ArgumentOutOfRangeException(nameof(elements), elements.Count, "a package holds at most 255 elements");
        return [0x12, .. WithLength([(byte)elements.Count, .. elements.SelectMany(e => e)])];
    }

    /// <summary>A compressed EISA id, for example "PNP0A03".</summary>
    public static byte[] EisaId(string id)
    {
        if (id.Length != 7 || !id[..3].All(char.IsAsciiLetterUpper) || !id[3..].All(char.IsAsciiHexDigitUpper))
            throw new ArgumentException($"\"{id}\" is not an EISA id; three letters and four hexadecimal digits are expected, in upper case", nameof(id));
        uint value = (uint)(((id[0] - '@') << 26) | ((id[1] - '@') << 21) | ((id[2] - '@') << 16)) | Convert.ToUInt32(id[3..], 16);
        return [0x0C, (byte)(value >> 24), (byte)(value >> 16), (byte)(value >> 8), (byte)value];
    }

    /// <summary>A name as a term: <c>_SB_</c>, <c>\_SB.PCI0</c>. Segments are padded to four characters.</summary>
    public static byte[] NamePath(string path)
    {
        bool isAbsolute = path.StartsWith('\\');
        string[] segments = path[(isAbsolute ? 1 : 0)..].Split('.', StringSplitOptions.RemoveEmptyEntries);
        var bytes = new List<byte>();
        if (isAbsolute)
            bytes.Add((byte)'\\');
        if (segments.Length == 0)
            bytes.Add(0);
        else if (segments.Length == 2)
            bytes.Add(0x2E);
        else if (segments.Length > 2)
            bytes.AddRange([0x2F, (byte)segments.Length]);
        foreach (string segment in segments)
        {
            if (segment.Length > 4 || !segment.All(c => c == '_' || char.IsAsciiLetterUpper(c) || char.IsAsciiDigit(c)) || char.IsAsciiDigit(segment[0]))
                throw new ArgumentException($"\"{segment}\" in \"{path}\" is not a name; up to four of A-Z, 0-9 and _ are expected, without a digit in front", nameof(path));
            bytes.AddRange(Encoding.ASCII.GetBytes(segment.PadRight(4, '_')));
        }

        return [.. bytes];
    }

    /// <summary>The first argument of the method.</summary>
    public static byte[] Argument0 => [0x68];

    /// <summary>Name (path, value).</summary>
    public AmlBuilder Name(string path, byte[] value)
    {
        _bytes.Add(0x08);
        _bytes.AddRange(NamePath(path));
        _bytes.AddRange(value);
        return this;
    }

    /// <summary>Scope (path) { content }.</summary>
    public AmlBuilder Scope(string path, Action<AmlBuilder> content) => Block([0x10], NamePath(path), content);

    /// <summary>Device (name) { content }.</summary>
    public AmlBuilder Device(string name, Action<AmlBuilder> content) => Block([0x5B, 0x82], NamePath(name), content);

    /// <summary>Method (name, arguments) { content }.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="arguments">Number of arguments, 0 to 7.</param>
    /// <param name="content">Its terms.</param>
    public AmlBuilder Method(string name, int arguments, Action<AmlBuilder> content) =>
        Block([0x14], [.. NamePath(name), (byte)(arguments & 7)], content);

    /// <summary>If (predicate) { content }.</summary>
    public AmlBuilder If(byte[] predicate, Action<AmlBuilder> content) => Block([0xA0], predicate, content);

    /// <summary>Store (source, destination).</summary>
    public AmlBuilder Store(byte[] source, byte[] destination)
    {
        _bytes.Add(0x70);
        _bytes.AddRange(source);
        _bytes.AddRange(destination);
        return this;
    }

    /// <summary>Notify (object, value).</summary>
    public AmlBuilder Notify(string path, int value)
    {
        _bytes.Add(0x86);
        _bytes.AddRange(NamePath(path));
        _bytes.AddRange(Integer((ulong)value));
        return this;
    }

    /// <summary>Return (value).</summary>
    public AmlBuilder Return(byte[] value)
    {
        _bytes.Add(0xA4);
        _bytes.AddRange(value);
        return this;
    }

    private static byte[] Little(ulong value, int size) => [.. Enumerable.Range(0, size).Select(i => (byte)(value >> (8 * i)))];

    // PkgLength counts itself: 6 bits in one byte, else 4 bits and up to three more bytes (20.2.4).
    private static byte[] WithLength(byte[] content)
    {
        int length = content.Length;
        if (length + 1 < 1 << 6)
            return [(byte)(length + 1), .. content];
        for (int more = 1; more <= 3; more++)
        {
            int total = length + 1 + more;
            if (total < 1 << (4 + (8 * more)))
                return [(byte)((more << 6) | (total & 0xF)), .. Little((uint)total >> 4, more), .. content];
        }

        throw new ArgumentOutOfRangeException(nameof(content), length, "a term is shorter than 256 MiB");
    }

    private AmlBuilder Block(byte[] opcode, byte[] head, Action<AmlBuilder> content)
    {
        var inner = new AmlBuilder();
        content(inner);
        _bytes.AddRange(opcode);
        _bytes.AddRange(WithLength([.. head, .. inner._bytes]));
        return this;
    }
}
