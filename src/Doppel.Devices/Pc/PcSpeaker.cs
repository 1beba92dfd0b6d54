using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Pc;

/// <summary>
/// What a person would hear of a PC's speaker: tones of the 8254's counter 2. Each is told when it has ended. A guest that moves the
/// speaker by hand, as programs do that play sampled sound, gives no tone, and one that changes it all the time is told in part:
/// at most <see cref="TonesPerSecond"/> a second. Called with the I/O lock held.
/// </summary>
/// <param name="clock">The machine's time.</param>
/// <param name="heard">Told of each tone; must not block.</param>
public sealed class PcSpeaker(IGuestClock clock, Action<SpeakerTone> heard)
{
    /// <summary>Shortest tone, in nanoseconds; a shorter one is a click.</summary>
    public const long ShortestTone = 5_000_000;

    /// <summary>Most tones that are told in a second, and at once after a second of silence.</summary>
    public const int TonesPerSecond = 20;

    // What people hear.
    private const int LowestTone = 20, HighestTone = 20_000;
    private const int LongestPeriod = Pit8254.Frequency / LowestTone, ShortestPeriod = (Pit8254.Frequency / HighestTone) + 1;
    private const long Second = 1_000_000_000, Cost = Second / TonesPerSecond;
    private int _period;
    private long _since;
    private long _paidUntil = -Second;

    /// <summary>Sets what the speaker gets from now on.</summary>
    /// <param name="period">Ticks of the 8254 for each round of a square wave; 0 for none.</param>
    public void Set(int period)
    {
        if (period is < ShortestPeriod or > LongestPeriod)
            period = 0;
        if (period == _period)
            return;
        (int ended, long start, long now) = (_period, _since, clock.Now);
        (_period, _since) = (period, now);
        if (ended == 0 || now - start < ShortestTone || _paidUntil > now)
            return;
        _paidUntil = Math.Max(_paidUntil, now - Second) + Cost;
        heard(new SpeakerTone((double)Pit8254.Frequency / ended, start, now - start));
    }

    internal void Save(StateWriter writer)
    {
        writer.Write(_period);
        writer.Write(_since);
        writer.Write(_paidUntil);
    }

    /// <summary>Reads what <see cref="Save"/> wrote, and checks it; <see cref="Take"/> keeps it.</summary>
    internal static (int Period, long Since, long PaidUntil) Read(StateReader reader, string section) => (
        (int)StateCheck.Range(section, "period of the tone", reader.ReadInt32(), 0, LongestPeriod),
        StateCheck.Range(section, "begin of the tone", reader.ReadInt64(), 0, long.MaxValue / 4),
        StateCheck.Range(section, "limit of tones", reader.ReadInt64(), -Second, long.MaxValue / 4));

    internal void Take((int Period, long Since, long PaidUntil) state) => (_period, _since, _paidUntil) = state;
}
