using System.Globalization;
using Doppel.Api;
using Doppel.Devices;
using Doppel.Devices.Pc;
using Doppel.Vmm.Control;
using Doppel.Vmm.Sound;

namespace Doppel.Daemon;

/// <content>Tells of the PC's speaker.</content>
internal sealed partial class ManagedMachine
{
    /// <summary>Publishes each tone that has ended, until the worker ends. A process that a guest has taken over can't say more than a speaker does.</summary>
    /// <param name="isNew">True for a machine that this daemon has just started; tones of another's past are no news.</param>
    private async Task TellTonesAsync(bool isNew)
    {
        try
        {
            if (Folder.LiveWorker is not WorkerRecord worker)
                return;
            using ControlClient client = await ControlClient.ConnectAsync(worker.Socket, CancellationToken.None).ConfigureAwait(false);
            var limit = new RateLimit(PcSpeaker.TonesPerSecond);
            long known = isNew ? 0 : -1;
            while (true)
            {
                if ((await client.AskAsync(new ControlRequest(ControlRequest.Tones) { After = known }, CancellationToken.None).ConfigureAwait(false)).Tones is not HeardTones heard)
                    return;
                foreach (HeardTone tone in heard.Tones.Take(PcSpeaker.TonesPerSecond))
                {
                    string detail = string.Create(CultureInfo.InvariantCulture, $"{tone.Hertz:0.#} Hz for {tone.Seconds:0.###} s");
                    _events.Publish(new MachineEvent(DateTimeOffset.UtcNow, Name, "speaker", detail) { Tone = new EventTone(tone.Began, tone.Hertz, tone.Seconds) });
                }

                known = Math.Max(0, heard.Sequence);
                await Task.Delay(limit.Take(Math.Clamp(heard.Tones.Count, 1, PcSpeaker.TonesPerSecond))).ConfigureAwait(false);
            }
        }
        catch (IOException)
        {
            // It has ended, or is one of an older Doppel.
        }
    }
}
