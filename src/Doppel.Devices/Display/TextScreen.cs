namespace Doppel.Devices.Display;

/// <summary>What a screen in text mode shows.</summary>
/// <param name="Columns">Characters in a row.</param>
/// <param name="Rows">Rows.</param>
/// <param name="Cells">The characters, row by row.</param>
/// <param name="CursorColumn">Where the cursor is; -1 when there is none to be seen.</param>
/// <param name="CursorRow">Its row.</param>
public sealed record TextScreen(int Columns, int Rows, IReadOnlyList<TextCell> Cells, int CursorColumn, int CursorRow)
{
    /// <summary>The rows as text, without blanks at their ends.</summary>
    public IEnumerable<string> Lines
    {
        get
        {
            for (int row = 0; row < Rows; row++)
                yield return string.Concat(Cells.Skip(row * Columns).Take(Columns).Select(cell => cell.Character)).TrimEnd();
        }
    }
}

/// <summary>One character of a screen in text mode.</summary>
/// <param name="Character">The character of code page 437.</param>
/// <param name="Foreground">00RRGGBBh.</param>
/// <param name="Background">00RRGGBBh.</param>
public readonly record struct TextCell(char Character, uint Foreground, uint Background);
