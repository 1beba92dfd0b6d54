namespace Doppel.Devices.Display.Vga;

/// <content>The picture.</content>
public sealed partial class VgaController
{
    private readonly VgaRegisters _captured;
    private readonly WrittenPages _written;
    private readonly VgaTextPicture _text = new();
    private readonly VgaGraphicsPicture _graphics = new();
    private long _capturedAt;
    private bool _showedText;

    /// <inheritdoc/>
    public void Capture()
    {
        _direct.Collect();
        _captured.CopyFrom(_registers);
        _capturedAt = _clock.Now;
        _written.Take();
    }

    /// <inheritdoc/>
    public void Render(PixelSurface surface, DamageRegion damage, bool isNew)
    {
        ArgumentNullException.ThrowIfNull(surface);
        ArgumentNullException.ThrowIfNull(damage);
        bool isText = !_captured.Vbe.IsEnabled && !_captured.IsGraphics;
        bool isDark = !_captured.Vbe.IsEnabled && (_captured.AttributeIndex & 0x20) == 0 || (_captured.Sequencer[1] & 0x20) != 0;
        (int width, int height) = isText ? VgaTextPicture.SizeOf(_captured) : VgaGraphicsPicture.SizeOf(_captured);
        if (surface.Resize(width, height))
        {
            damage.Reset(width, height);
            damage.AddAll();
            isNew = true;
        }

        if (isDark)
        {
            surface.Fill(surface.Bounds, 0, damage);
            _text.Forget();
            _graphics.Forget();
            return;
        }

        if (isNew || isText != _showedText)
        {
            _text.Forget();
            _graphics.Forget();
        }

        _showedText = isText;
        if (isText)
            _text.Render(_captured, _memory.Bytes, _capturedAt, surface, damage);
        else
            _graphics.Render(_captured, _memory.Bytes, _written.Pages, surface, damage);
    }

    /// <inheritdoc/>
    public TextScreen? ReadText() =>
        _captured.Vbe.IsEnabled || _captured.IsGraphics ? null : VgaTextPicture.Read(_captured, _memory.Bytes);
}
