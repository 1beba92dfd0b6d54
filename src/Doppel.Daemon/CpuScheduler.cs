using System.Diagnostics;
using Doppel.Api;
using Doppel.Vmm.Control;
using Doppel.Vmm.Limits;

namespace Doppel.Daemon;

/// <summary>
/// Makes weights hold: ten times a second it asks each running machine's process what it has had, and tells it what it may have.
/// It does so only while a running machine has a weight of its own; where all are alike, the host's scheduler is fair already.
/// A process that hears nothing more is free again. Any thread.
/// </summary>
/// <param name="machines">All machines.</param>
internal sealed class CpuScheduler(Func<IReadOnlyList<ManagedMachine>> machines) : IAsyncDisposable
{
    private static readonly TimeSpan Period = TimeSpan.FromMilliseconds(100);
    private readonly Lock _lock = new();
    private readonly CancellationTokenSource _end = new();
    private Task? _task;

    /// <summary>A machine has begun or ended to run, or has another weight.</summary>
    internal void Reconsider()
    {
        lock (_lock)
        {
            if (!_end.IsCancellationRequested && _task is null or { IsCompleted: true } && IsNeeded())
                _task = RunAsync();
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        Task? task;
        lock (_lock)
        {
            _end.Cancel();
            task = _task;
        }

        if (task is not null)
            await task.ConfigureAwait(false);
        _end.Dispose();
    }

    private static bool HasWeight(ManagedMachine machine) => machine.Folder is { LiveWorker: not null, Record.Spec.CpuWeight: not CpuLimits.DefaultWeight };

    private bool IsNeeded() => machines().Any(HasWeight);

    private async Task RunAsync()
    {
        var shares = new CpuShares();
        var members = new Dictionary<string, Member>(StringComparer.Ordinal);
        using var timer = new PeriodicTimer(Period);
        try
        {
            for (int turn = 0; await timer.WaitForNextTickAsync(_end.Token).ConfigureAwait(false); turn++)
            {
                // Who is there is looked at once a second.
                if (turn % 10 == 0 && !await FindAsync(members).ConfigureAwait(false))
                    return;
                var now = new List<CpuShares.Machine>();
                foreach (Member member in members.Values.ToArray())
                {
                    if (await member.MeasureAsync(_end.Token).ConfigureAwait(false) is CpuShares.Machine measured)
                        now.Add(measured);
                    else
                        Forget(members, member);
                }

                foreach ((string name, double? cap) in shares.Share(now))
                    members[name].Cap = cap;
            }
        }
        catch (OperationCanceledException)
        {
            // The daemon ends; connections end with it, and so do caps.
        }
        finally
        {
            foreach (Member member in members.Values)
                member.Dispose();
        }
    }

    private async Task<bool> FindAsync(Dictionary<string, Member> members)
    {
        bool isNeeded = false;
        foreach (ManagedMachine machine in machines())
        {
            if (machine.Folder is not { LiveWorker: WorkerRecord worker, Record: MachineRecord record })
                continue;
            isNeeded |= record.Spec.CpuWeight != CpuLimits.DefaultWeight;
            if (members.TryGetValue(machine.Name, out Member? known) && known.ProcessId == worker.ProcessId)
            {
                known.Weight = record.Spec.CpuWeight;
                continue;
            }

            if (known is not null)
                Forget(members, known);
            try
            {
                ControlClient client = await ControlClient.ConnectAsync(worker.Socket, _end.Token).ConfigureAwait(false);
                members[machine.Name] = new Member(machine.Name, worker.ProcessId, record.Spec.Cpus, client) { Weight = record.Spec.CpuWeight };
            }
            catch (IOException)
            {
                // It is about to end.
            }
        }

        return isNeeded;
    }

    private static void Forget(Dictionary<string, Member> members, Member member)
    {
        _ = members.Remove(member.Name);
        member.Dispose();
    }

    /// <summary>A running machine, and the connection by which it is asked and told.</summary>
    private sealed class Member(string name, int processId, int cpus, ControlClient client) : IDisposable
    {
        private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);
        private long _last;
        private CpuUse? _before;

        internal string Name => name;

        internal int ProcessId => processId;

        internal int Weight { get; set; }

        internal double? Cap { get; set; }

        public void Dispose() => client.Dispose();

        /// <summary>Tells the cap, and asks what was used since the last time; null when it doesn't answer.</summary>
        internal async Task<CpuShares.Machine?> MeasureAsync(CancellationToken cancel)
        {
            try
            {
                using var time = CancellationTokenSource.CreateLinkedTokenSource(cancel);
                time.CancelAfter(Patience);
                CpuUse now = (await client.AskAsync(new ControlRequest(ControlRequest.Share) { CpuShare = Cap }, time.Token).ConfigureAwait(false)).CpuUse!;
                long at = Stopwatch.GetTimestamp();
                double seconds = _before is null ? 0 : Stopwatch.GetElapsedTime(_last, at).TotalSeconds;
                CpuUse before = _before ?? now;
                (_before, _last) = (now, at);
                return seconds <= 0
                    ? new CpuShares.Machine(name, Weight, cpus, 0, 0, 0)
                    : new CpuShares.Machine(
                        name, Weight, cpus, (now.UsedSeconds - before.UsedSeconds) / seconds, Math.Max(0, now.WaitedSeconds - before.WaitedSeconds) / seconds, (now.ThrottledSeconds - before.ThrottledSeconds) / seconds);
            }
            catch (Exception e) when (e is IOException || (e is OperationCanceledException && !cancel.IsCancellationRequested))
            {
                return null;
            }
        }
    }
}
