using Doppel.Devices.Pc;
using Doppel.Machine.State;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Pc;

/// <summary>Tones of the speaker: counter 2 of the 8254 through the gate of port 61h.</summary>
public sealed class SpeakerTests : IDisposable
{
    private const int Counter = 0x42, Mode = 0x43, Gate = 0x61;
    private const long Millisecond = 1_000_000;
    private readonly ITestOutputHelper _output;
    private readonly FakeClock _clock = new();
    private readonly List<SpeakerTone> _heard = [];
    private readonly Pit8254 _pit;
    private readonly SystemControlPortB _port;

    public SpeakerTests(ITestOutputHelper output)
    {
        _output = output;
        _pit = new Pit8254(_clock, new FakeLine());
        _port = new SystemControlPortB(_clock, _pit, new PcSpeaker(_clock, _heard.Add));
    }

    public void Dispose() => _pit.Dispose();

    [Fact]
    public void A_beep_is_told_with_frequency_begin_and_duration_when_it_has_ended()
    {
        _clock.Advance(7 * Millisecond);
        Program(1193);
        _port.Out(Gate, 3);
        _clock.Advance(200 * Millisecond);
        Assert.Empty(_heard);
        _port.Out(Gate, 0);
        SpeakerTone tone = Assert.Single(_heard);
        Assert.Equal(1000.15, tone.Hertz, 0.01);
        Assert.Equal((7 * Millisecond, 200 * Millisecond), (tone.Start, tone.Duration));
    }

    [Fact]
    public void Each_note_of_a_tune_is_a_tone_of_its_own()
    {
        _port.Out(Gate, 3);
        foreach (int count in (int[])[2712, 2415, 2152])
        {
            Program(count);
            _clock.Advance(120 * Millisecond);
        }

        // A new count alone changes it, too, as programs do that don't write the mode again.
        Write(2280);
        _clock.Advance(60 * Millisecond);
        _pit.Out(Mode, 0xB0);
        Assert.Equal([440, 494, 554, 523], _heard.Select(tone => (int)Math.Round(tone.Hertz)));
        Assert.Equal([120, 120, 120, 60], _heard.Select(tone => tone.Duration / Millisecond));
    }

    [Theory]
    [InlineData(0xB6, 1193, 1)]
    [InlineData(0xB6, 1193, 2)]
    [InlineData(0xB6, 0, 3)]
    [InlineData(0xB6, 20, 3)]
    [InlineData(0xB0, 1193, 3)]
    [InlineData(0xB8, 1193, 3)]
    public void Nothing_is_told_that_nobody_would_hear(int mode, int count, int gate)
    {
        Program(count, mode);
        _port.Out(Gate, gate);
        _clock.Advance(300 * Millisecond);
        _port.Out(Gate, 0);
        Assert.Empty(_heard);
    }

    [Fact]
    public void Sound_by_hand_is_no_tone_and_a_flood_of_tones_is_told_in_part()
    {
        // Eight thousand samples a second, by the speaker's bit and by the length of pulses.
        Program(1193);
        for (int i = 0; i < 8000; i++)
        {
            _port.Out(Gate, (i & 1) == 0 ? 2 : 1);
            _clock.Advance(62_500);
            _port.Out(Gate, (i & 1) == 0 ? 3 : 1);
            _clock.Advance(62_500);
        }

        Assert.Empty(_heard);
        for (int i = 0; i < 1000; i++)
        {
            Program(1000 + (i % 7));
            _port.Out(Gate, 3);
            _clock.Advance(10 * Millisecond);
        }

        // A burst, and what ten seconds allow.
        Assert.InRange(_heard.Count, 10 * PcSpeaker.TonesPerSecond, 11 * PcSpeaker.TonesPerSecond);
        Assert.All(_heard, tone => Assert.Equal(10 * Millisecond, tone.Duration));
    }

    [Fact]
    public void A_tone_goes_on_where_it_is_restored()
    {
        Program(1193);
        _port.Out(Gate, 3);
        _clock.Advance(40 * Millisecond);
        var (pit, port) = (new StateWriter(), new StateWriter());
        _pit.Save(pit);
        _port.Save(port);
        var heard = new List<SpeakerTone>();
        using var other = new Pit8254(_clock, new FakeLine());
        var copy = new SystemControlPortB(_clock, other, new PcSpeaker(_clock, heard.Add));
        other.Restore(new StateReader(pit.ToArray()), other.SectionVersion);
        copy.Restore(new StateReader(port.ToArray()), copy.SectionVersion);
        _clock.Advance(10 * Millisecond);
        copy.Out(Gate, 0);
        Assert.Equal((0, 50 * Millisecond), (Assert.Single(heard).Start, heard[0].Duration));
    }

    [Fact]
    public void A_port_that_was_saved_before_there_were_tones_is_restored()
    {
        var writer = new StateWriter();
        writer.Write((byte)3);
        var reader = new StateReader(writer.ToArray());
        _port.Restore(reader, 1);
        Assert.True(reader.IsAtEnd);
        Assert.True(_port.SpeakerEnabled);
    }

    [Fact]
    public void Random_accesses_tell_no_more_than_the_limit() => Harm(20_000);

    [Fact]
    [Trait("Category", "Slow")]
    public void A_million_random_accesses_tell_no_more_than_the_limit() => Harm(1_000_000);

    private void Harm(int count)
    {
        var random = new Random(TestSeed.Take(_output));
        for (int i = 0; i < count; i++)
        {
            switch (random.Next(4))
            {
                case 0:
                    _port.Out(Gate, random.Next(256));
                    break;
                case 1:
                    _pit.Out(Mode, random.Next(3) == 0 ? 0xB6 : random.Next(256));
                    break;
                case 2:
                    _pit.Out(Counter, random.Next(256));
                    break;
                default:
                    _clock.Advance(random.Next(30) * Millisecond);
                    break;
            }
        }

        Assert.InRange(_heard.Count, 1, PcSpeaker.TonesPerSecond + (int)(_clock.Now * PcSpeaker.TonesPerSecond / 1_000_000_000) + 1);
        Assert.All(_heard, tone => Assert.True(tone is { Hertz: >= 20 and <= 20_000, Duration: >= PcSpeaker.ShortestTone, Start: >= 0 }, $"{tone}"));
    }

    private void Program(int count, int mode = 0xB6)
    {
        _pit.Out(Mode, mode);
        Write(count);
    }

    private void Write(int count)
    {
        _pit.Out(Counter, count & 0xFF);
        _pit.Out(Counter, count >> 8);
    }
}
