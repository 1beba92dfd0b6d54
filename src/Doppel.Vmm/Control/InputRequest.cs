namespace Doppel.Vmm.Control;

/// <summary>What is to be done with a machine's keyboard and pointer; in this order.</summary>
public sealed record InputRequest
{
    /// <summary>Usual milliseconds between two keys: as fast as a good typist, for what reads keys slowly.</summary>
    public const int UsualDelay = 20;

    /// <summary>Longest text, in characters.</summary>
    public const int LongestText = 8000;

    /// <summary>Text to be typed on a US keyboard; null for none.</summary>
    public string? Text { get; init; }

    /// <summary>Keys to be pressed one after the other, those of each together, such as "ctrl-alt-f2"; null for none.</summary>
    public IReadOnlyList<string>? Keys { get; init; }

    /// <summary>Where the pointer is to go and what it does there; null for nothing.</summary>
    public PointerRequest? Pointer { get; init; }

    /// <summary>Milliseconds between two keys, 0 to 10000; null for <see cref="UsualDelay"/>.</summary>
    public int? Delay { get; init; }
}

/// <summary>What a pointer does.</summary>
/// <param name="X">Column of the screen.</param>
/// <param name="Y">Row.</param>
/// <param name="Action">move, click, right, middle, double, down, up, wheel-up or wheel-down.</param>
public sealed record PointerRequest(int X, int Y, string Action)
{
    /// <summary>The actions.</summary>
    public static IReadOnlyList<string> Actions { get; } = ["move", "click", "right", "middle", "double", "down", "up", "wheel-up", "wheel-down"];
}

/// <summary>What a machine's screen shows.</summary>
/// <param name="Width">Columns of pixels.</param>
/// <param name="Height">Rows.</param>
/// <param name="Png">The picture.</param>
/// <param name="Text">The rows of text; null when the screen shows graphics.</param>
public sealed record ScreenReport(int Width, int Height, byte[] Png, IReadOnlyList<string>? Text);
