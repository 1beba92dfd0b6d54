namespace Doppel.Devices.Display.Vga;

/// <summary>
/// Where the beam is, by guest time: status register 1 (3DAh) shows blanking and vertical retrace, status register 0
/// (3C2h) whether there has been a retrace.
/// </summary>
internal sealed class VgaTiming(VgaRegisters registers)
{
    private const byte DisplayDisabled = 1, VerticalRetrace = 8;
    // Of 640x480 at 60 Hz, for CRTC contents that give no picture that a monitor could show.
    private const long UsualLine = 31_778;
    private const int UsualLines = 525, UsualShown = 480, UsualRetrace = 490;
    private long _line = UsualLine;
    private int _lines = UsualLines;
    private int _shown = UsualShown;
    private int _retraceStart = UsualRetrace;
    private int _retraceLines = 2;
    private long _shownOfLine = UsualLine * 4 / 5;

    /// <summary>Guest time when the guest last cleared the note of a retrace (CR11 bit 4).</summary>
    internal long RetraceCleared { get; set; }

    /// <summary>Guest time at which a picture began; all others follow from it.</summary>
    internal long Origin { get; set; }

    /// <summary>Nanoseconds of a picture.</summary>
    internal long Frame => _line * _lines;

    /// <summary>Takes what the registers say. The beam stays where it is as far as it can.</summary>
    internal void Update(long now)
    {
        (long line, int lines) = (_line, _lines);
        Measure();
        if (line != _line || lines != _lines)
            Origin = now;
    }

    /// <summary>Status register 1.</summary>
    internal byte Status(long now)
    {
        (int line, long inLine) = Beam(now);
        byte status = 0;
        if (line >= _shown || inLine >= _shownOfLine)
            status |= DisplayDisabled;
        if (line >= _retraceStart && line < _retraceStart + _retraceLines)
            status |= VerticalRetrace;
        return status;
    }

    /// <summary>Whether a vertical retrace has begun since the guest cleared the note of the last one, and keeps the note (CR11 bit 4).</summary>
    internal bool HasRetraced(long now) =>
        (registers.Crtc[0x11] & 0x10) != 0 && RetracesUntil(now) > RetracesUntil(RetraceCleared);

    private long RetracesUntil(long time) => Math.Max(time - Origin + Frame - (_retraceStart * _line), 0) / Frame;

    private (int Line, long InLine) Beam(long now)
    {
        long inFrame = Math.Max(now - Origin, 0) % Frame;
        return ((int)(inFrame / _line), inFrame % _line);
    }

    private void Measure()
    {
        byte[] crtc = registers.Crtc;
        int total = crtc[0] + 5;
        int shown = Math.Min(crtc[1] + 1, total);
        int lines = (crtc[6] | ((crtc[7] & 1) << 8) | ((crtc[7] & 0x20) << 4)) + 2;
        int start = crtc[0x10] | ((crtc[7] & 4) << 6) | ((crtc[7] & 0x80) << 2);
        long dots = (long)total * ((registers.Sequencer[1] & 1) != 0 ? 8 : 9) * ((registers.Sequencer[1] & 8) != 0 ? 2 : 1);
        long line = dots * 1_000_000_000L / ((registers.Misc & 0x0C) == 4 ? 28_322_000 : 25_175_000);
        int height = Math.Min(registers.VerticalDisplayEnd, lines);
        // Between 30 and 200 pictures a second, with a retrace in each.
        if (registers.Vbe.IsEnabled || line * lines is < 5_000_000 or > 33_333_333 || start >= lines || height > start + 1)
        {
            (_line, _lines, _shown, _retraceStart, _retraceLines) = (UsualLine, UsualLines, UsualShown, UsualRetrace, 2);
            _shownOfLine = UsualLine * 4 / 5;
            return;
        }

        (_line, _lines, _shown, _retraceStart) = (line, lines, height, start);
        _retraceLines = (crtc[0x11] - start) & 15;
        if (_retraceLines == 0)
            _retraceLines = 16;
        _shownOfLine = line * shown / total;
    }
}
