using System.Diagnostics;

namespace Doppel.Vmm.Migration;

/// <summary>Decides for one connection whether compressing is sooner there, from what both ways took lately. One thread.</summary>
/// <param name="kind">What was asked for.</param>
/// <param name="isPossible">True when both sides can.</param>
internal sealed class CompressionChoice(MigrationCompression kind, bool isPossible)
{
    // So often the way that isn't taken is tried, so that a link that gets slower is noticed.
    private const int Trial = 64;
    private const double Weight = 0.2;
    private int _count;
    private double _compressing = 2e-9;
    private double _ratio = 0.4;
    private double _sending = 1e-10;

    /// <summary>True when the next batch is to be compressed.</summary>
    internal bool Decide()
    {
        if (!isPossible || kind == MigrationCompression.None)
            return false;
        if (kind == MigrationCompression.Zstandard)
            return true;
        bool isSooner = _compressing + (_ratio * _sending) < _sending;
        return _count++ % Trial == Trial - 1 ? !isSooner : isSooner;
    }

    /// <summary>Learns what making a batch took.</summary>
    internal void Compressed(int raw, int compressed, long ticks)
    {
        if (raw == 0)
            return;
        _compressing += Weight * (Stopwatch.GetElapsedTime(0, ticks).TotalSeconds / raw - _compressing);
        _ratio += Weight * (((double)compressed / raw) - _ratio);
    }

    /// <summary>Learns what sending took.</summary>
    internal void Sent(int bytes, long ticks)
    {
        if (bytes != 0)
            _sending += Weight * ((Stopwatch.GetElapsedTime(0, ticks).TotalSeconds / bytes) - _sending);
    }
}
