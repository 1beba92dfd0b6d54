namespace Doppel.Vmm.Images;

/// <summary>Paragraphs of "Field: value" lines, as package lists and Release files have them (deb822(5)).</summary>
internal static class DebControl
{
    /// <summary>Reads paragraphs; continuation lines are joined with line feeds.</summary>
    internal static IEnumerable<Dictionary<string, string>> Read(TextReader reader)
    {
        Dictionary<string, string>? paragraph = null;
        string? field = null;
        while (reader.ReadLine() is string line)
        {
            if (string.IsNullOrWhiteSpace(line))
            {
                if (paragraph is not null)
                    yield return paragraph;
                paragraph = null;
                field = null;
                continue;
            }

            if (line[0] is ' ' or '\t')
            {
                if (paragraph is not null && field is not null)
                    paragraph[field] += "\n" + line.Trim();
                continue;
            }

            int colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon <= 0)
                continue;
            paragraph ??= new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
            field = line[..colon];
            paragraph[field] = line[(colon + 1)..].Trim();
        }

        if (paragraph is not null)
            yield return paragraph;
    }
}
