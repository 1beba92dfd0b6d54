namespace Doppel.Devices.Display;

/// <summary>One who looks at a display, and what has changed since it last took something.</summary>
public sealed class DisplayWatcher : IDisposable
{
    private readonly GuestDisplay _display;

    internal DisplayWatcher(GuestDisplay display, Action changed)
    {
        _display = display;
        Changed = changed;
    }

    /// <summary>Under the display's lock.</summary>
    internal DamageRegion Damage { get; } = new();

    internal Action Changed { get; }

    /// <summary>Adds a part to what has changed, for a client that wants it again.</summary>
    public void Invalidate(PixelRectangle part) => _display.Read(_ => Damage.Add(part));

    /// <summary>Calls back with the surface, which doesn't change until the call returns; keep it short.</summary>
    /// <param name="reader">Given the surface, and the rectangles within a part that have changed since the last call.</param>
    /// <param name="within">The part that is of interest.</param>
    public void Take(PixelRectangle within, Action<PixelSurface, IReadOnlyList<PixelRectangle>> reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        _display.Read(surface => reader(surface, Damage.Take(within)));
    }

    /// <inheritdoc/>
    public void Dispose() => _display.Remove(this);
}
