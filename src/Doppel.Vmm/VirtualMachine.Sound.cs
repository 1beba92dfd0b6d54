using Doppel.Vmm.Sound;

namespace Doppel.Vmm;

/// <content>The PC's speaker.</content>
public sealed partial class VirtualMachine
{
    private readonly ToneLog _tones = new();

    /// <summary>Waits for tones of the PC's speaker that have ended since one. Any thread.</summary>
    /// <param name="known">The <see cref="HeardTones.Sequence"/> of that one, 0 for none; a negative number gets the newest's number at once, and no tones.</param>
    /// <param name="cancel">Ends the wait.</param>
    public Task<HeardTones> WaitForTonesAsync(long known, CancellationToken cancel) => _tones.WaitAsync(known, cancel);
}
