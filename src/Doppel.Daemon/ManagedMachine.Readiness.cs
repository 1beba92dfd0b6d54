using Doppel.Api;
using Doppel.Vmm.Control;
using Doppel.Vmm.Readiness;

namespace Doppel.Daemon;

/// <content>Tells how far the guest has come.</content>
internal sealed partial class ManagedMachine
{
    /// <summary>Publishes what becomes known of the guest, until the worker ends. What was known before is no news.</summary>
    private async Task TellReadinessAsync()
    {
        try
        {
            if (Folder.LiveWorker is not WorkerRecord worker)
                return;
            using ControlClient client = await ControlClient.ConnectAsync(worker.Socket, CancellationToken.None).ConfigureAwait(false);
            GuestReadiness known = await AskAsync(-1).ConfigureAwait(false);
            while (true)
            {
                GuestReadiness now = await AskAsync(known.Sequence).ConfigureAwait(false);
                if (now.Booted is not null && known.Booted is null)
                    _events.Publish(Name, "booted");
                if (now.NetworkUp is not null && known.NetworkUp is null)
                    _events.Publish(Name, "network-up", now.Address ?? "");
                if (now.SetUp is not null && known.SetUp is null)
                    _events.Publish(Name, "set-up");
                known = now;
            }

            async Task<GuestReadiness> AskAsync(long after) =>
                (await client.AskAsync(new ControlRequest(ControlRequest.Readiness) { After = after }, CancellationToken.None).ConfigureAwait(false)).Readiness!;
        }
        catch (IOException)
        {
            // It has ended, or is one of an older Doppel.
        }
    }
}
