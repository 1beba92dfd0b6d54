namespace Doppel.Vmm.Sound;

/// <summary>Tones of a PC's speaker.</summary>
/// <param name="Sequence">The number of the newest tone since the machine was started; 0 before the first.</param>
/// <param name="Tones">The tones, the oldest first; those that were long ago are gone.</param>
public sealed record HeardTones(long Sequence, IReadOnlyList<HeardTone> Tones);

/// <summary>A tone of a PC's speaker.</summary>
/// <param name="Began">When it began.</param>
/// <param name="Hertz">Its frequency.</param>
/// <param name="Seconds">How long it lasted, in the guest's time.</param>
public sealed record HeardTone(DateTimeOffset Began, double Hertz, double Seconds);
