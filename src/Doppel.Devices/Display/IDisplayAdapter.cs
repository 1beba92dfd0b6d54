namespace Doppel.Devices.Display;

/// <summary>A display adapter of the machine, as those see it who show its picture.</summary>
public interface IDisplayAdapter
{
    /// <summary>
    /// Notes what the adapter shows now, and what the guest has written since the last time. With the I/O lock held; nothing
    /// is converted yet.
    /// </summary>
    void Capture();

    /// <summary>
    /// Brings a surface up to date with what was captured, and gives it the screen's size. Without the I/O lock; never at the
    /// same time as another call of this or <see cref="Capture"/>.
    /// </summary>
    /// <param name="surface">What was rendered last, or any other when <paramref name="isNew"/>.</param>
    /// <param name="damage">Reset when the size has changed; told of all pixels that have.</param>
    /// <param name="isNew">True when the surface has not what was rendered last.</param>
    void Render(PixelSurface surface, DamageRegion damage, bool isNew);

    /// <summary>The characters on the screen as captured, a string for each row; null when it shows graphics.</summary>
    TextScreen? ReadText();
}
