using Doppel.Machine.Bus;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Pc;

/// <summary>
/// Port 61h: gate of the 8254's counter 2 (bit 0), speaker (1), parity and channel check enables (2, 3); reads add
/// the refresh toggle (4) and counter 2's output (5). No parity or channel error ever shows (6, 7).
/// </summary>
public sealed class SystemControlPortB : IDevice
{
    /// <summary>Nanoseconds between two changes of the refresh bit: 18 ticks of the 8254, as counter 1 once gave.</summary>
    public const long RefreshPeriod = 15_085;

    private readonly IGuestClock _clock;
    private readonly Pit8254 _pit;
    private readonly PcSpeaker _speaker;
    private readonly IoRange[] _ports;
    private byte _value;

    /// <summary>Creates the port beside the timer whose counter 2 it controls.</summary>
    /// <param name="clock">The machine's time.</param>
    /// <param name="pit">The timer.</param>
    /// <param name="speaker">What hears the speaker; null for nobody.</param>
    public SystemControlPortB(IGuestClock clock, Pit8254 pit, PcSpeaker? speaker = null)
    {
        ArgumentNullException.ThrowIfNull(clock);
        ArgumentNullException.ThrowIfNull(pit);
        _clock = clock;
        _pit = pit;
        _speaker = speaker ?? new PcSpeaker(clock, _ => { });
        pit.Counter2Changed += Sound;
        _ports = [new IoRange(PcPorts.SystemControlB, 1, new BytePorts("port61", 1, _ => Read(), (_, v) => Write(v)))];
    }

    /// <inheritdoc/>
    public string SectionName => "port61";

    /// <inheritdoc/>
    public int SectionVersion => 2;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <summary>True while the speaker would sound counter 2's output.</summary>
    public bool SpeakerEnabled => (_value & 3) == 3;

    /// <inheritdoc/>
    public void Reset() => Write(0);

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        writer.Write(_value);
        _speaker.Save(writer);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        byte value = (byte)StateCheck.Range(SectionName, "control bits", reader.ReadByte(), 0, 15);
        // Version 1 knew of no tones.
        if (version > 1)
            _speaker.Take(PcSpeaker.Read(reader, SectionName));
        _value = value;
    }

    private byte Read()
    {
        int refresh = (int)(_clock.Now / RefreshPeriod) & 1;
        return (byte)(_value | (refresh << 4) | (_pit.Output2 ? 0x20 : 0));
    }

    private void Write(byte value)
    {
        _value = (byte)(value & 0x0F);
        _pit.Gate2 = (value & 1) != 0;
        Sound();
    }

    private void Sound() => _speaker.Set(SpeakerEnabled ? _pit.Round2 : 0);
}
