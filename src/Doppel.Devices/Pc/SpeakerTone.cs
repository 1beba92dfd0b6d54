namespace Doppel.Devices.Pc;

/// <summary>A tone that a PC's speaker has given.</summary>
/// <param name="Hertz">Its frequency.</param>
/// <param name="Start">The guest's time when it began, in nanoseconds.</param>
/// <param name="Duration">How long it lasted, in nanoseconds of the guest's time.</param>
public readonly record struct SpeakerTone(double Hertz, long Start, long Duration);
