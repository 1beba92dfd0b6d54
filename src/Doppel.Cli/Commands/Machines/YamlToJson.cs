using System.Globalization;
using System.Text.Json;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Doppel.Cli.Commands.Machines;

/// <summary>
/// A YAML document as JSON, with the line of each value (YAML 1.2.2, section 10.3: the core schema decides what a plain
/// scalar is). Anchors and aliases are refused: a description of one machine has nothing to repeat.
/// </summary>
internal sealed class YamlToJson
{
    private const int DeepestNesting = 32;
    private readonly Dictionary<string, long> _lines = new(StringComparer.Ordinal);
    private readonly Utf8JsonWriter _writer;
    private readonly Parser _parser;

    private YamlToJson(Parser parser, Utf8JsonWriter writer) => (_parser, _writer) = (parser, writer);

    /// <summary>The document, UTF-8.</summary>
    internal byte[] Json { get; private set; } = [];

    /// <summary>Converts a document.</summary>
    /// <param name="yaml">UTF-8.</param>
    /// <exception cref="YamlException">It is no such document.</exception>
    internal static YamlToJson Convert(byte[] yaml)
    {
        using var text = new StreamReader(new MemoryStream(yaml));
        using var json = new MemoryStream();
        using var writer = new Utf8JsonWriter(json);
        var converter = new YamlToJson(new Parser(text), writer);
        try
        {
            converter.ConvertDocument();
        }
        catch (YamlDotNet.Core.YamlException e)
        {
            throw new YamlException(e.Start.Line, e.InnerException?.Message ?? e.Message);
        }

        writer.Flush();
        converter.Json = json.ToArray();
        return converter;
    }

    /// <summary>The line of a value, or of what it is missing from, by its path in the JSON; null when not even that is known.</summary>
    internal long? LineOf(string? path)
    {
        for (string at = path ?? ""; at.Length != 0; at = at[..Math.Max(0, at.LastIndexOfAny(['.', '[']))])
        {
            if (_lines.TryGetValue(at, out long line))
                return line;
        }

        return null;
    }

    private void ConvertDocument()
    {
        _ = _parser.Consume<StreamStart>();
        if (!_parser.TryConsume<DocumentStart>(out _))
        {
            _writer.WriteNullValue();
            return;
        }

        ConvertValue("$", 0);
        _ = _parser.Consume<DocumentEnd>();
        if (_parser.TryConsume<DocumentStart>(out DocumentStart? second))
            throw new YamlException(second.Start.Line, "a second document begins; one machine a file would be right");
    }

    private void ConvertValue(string path, int depth)
    {
        ParsingEvent next = _parser.Consume<ParsingEvent>();
        _lines[path] = next.Start.Line;
        if (next is AnchorAlias || next is NodeEvent { Anchor.IsEmpty: false })
            throw new YamlException(next.Start.Line, "anchors and aliases are not read; writing it out would be right");
        if (depth > DeepestNesting)
            throw new YamlException(next.Start.Line, $"more than {DeepestNesting} levels");
        switch (next)
        {
            case MappingStart:
                ConvertMapping(path, depth);
                break;
            case SequenceStart:
                _writer.WriteStartArray();
                for (int i = 0; !_parser.TryConsume<SequenceEnd>(out _); i++)
                    ConvertValue(string.Create(CultureInfo.InvariantCulture, $"{path}[{i}]"), depth + 1);
                _writer.WriteEndArray();
                break;
            case Scalar scalar:
                ConvertScalar(scalar);
                break;
            default:
                throw new YamlException(next.Start.Line, $"{next} is not expected");
        }
    }

    private void ConvertMapping(string path, int depth)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        _writer.WriteStartObject();
        while (!_parser.TryConsume<MappingEnd>(out _))
        {
            if (_parser.Consume<ParsingEvent>() is var next && next is not Scalar { Anchor.IsEmpty: true })
                throw new YamlException(next.Start.Line, "a field's name is expected");
            var key = (Scalar)next;
            if (!names.Add(key.Value))
                throw new YamlException(key.Start.Line, $"{path}.{key.Value}: the field is there twice");
            _writer.WritePropertyName(key.Value);
            ConvertValue($"{path}.{key.Value}", depth + 1);
        }

        _writer.WriteEndObject();
    }

    private void ConvertScalar(Scalar scalar)
    {
        string text = scalar.Value;
        if (scalar.Style != ScalarStyle.Plain)
            _writer.WriteStringValue(text);
        else if (text is "" or "~" or "null" or "Null" or "NULL")
            _writer.WriteNullValue();
        else if (text is "true" or "True" or "TRUE")
            _writer.WriteBooleanValue(true);
        else if (text is "false" or "False" or "FALSE")
            _writer.WriteBooleanValue(false);
        else if (long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long integer))
            _writer.WriteNumberValue(integer);
        else if (text.StartsWith("0x", StringComparison.Ordinal) && ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong hexadecimal))
            _writer.WriteNumberValue(hexadecimal);
        else if (double.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent, CultureInfo.InvariantCulture, out double number) && double.IsFinite(number))
            _writer.WriteNumberValue(number);
        else
            _writer.WriteStringValue(text);
    }
}
