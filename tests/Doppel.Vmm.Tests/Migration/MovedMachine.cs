using System.Text;
using Doppel.Vmm.Migration;

namespace Doppel.Vmm.Tests.Migration;

/// <summary>A machine that tests move from one place in this process to the next.</summary>
internal sealed class MovedMachine : IAsyncDisposable
{
    private readonly string _folder;
    private readonly List<MigrationTarget> _targets = [];
    private int _moves;

    internal MovedMachine(string folder, VirtualMachine machine)
    {
        _folder = folder;
        Machine = machine;
    }

    internal VirtualMachine Machine { get; private set; }

    internal Journal Source { get; private set; } = new();

    internal Journal Target { get; private set; } = new();

    /// <summary>Moves it; the machine is the new one after.</summary>
    internal async Task<MigrationProgress> MoveAsync(MigrationOptions? options = null, string? engine = null, Action<string>? sourceStep = null, Action<string>? targetStep = null, Action<MigrationProgress>? seen = null, string? passing = null, CancellationToken cancel = default)
    {
        (Source, Target) = (new Journal(), new Journal());
        int number = _moves++;
        MigrationListener listener = MigrationListener.OnSocket(Path.Combine(_folder, $"m{number}"), Guid.NewGuid());
        var target = new MigrationTarget(listener, new ArrivalOptions { Name = Machine.Spec.Name, Folder = Path.Combine(_folder, $"at{number}"), Passing = passing, Engine = engine, Step = targetStep }, Target);
        _targets.Add(target);
        Task<VirtualMachine> arriving = target.ReceiveAsync(CancellationToken.None);
        var source = new MigrationSource(Machine, listener.Address, options ?? new MigrationOptions(), Source) { Step = sourceStep };
        Task<MigrationProgress> running = source.RunAsync(cancel);
        if (seen is not null)
        {
            for (MigrationProgress progress = source.Progress; !progress.IsOver; progress = await source.WaitAsync(progress.Sequence, CancellationToken.None))
                seen(progress);
        }

        MigrationProgress end = await running;
        if (end.Phase == MigrationPhase.Completed)
        {
            VirtualMachine before = Machine;
            Machine = await arriving;
            Assert.Equal(VmExitKind.Migrated, (await before.WaitAsync(CancellationToken.None)).Kind);
            await before.DisposeAsync();
        }
        else
        {
            Assert.False(target.Resolve());
            await Assert.ThrowsAsync<MigrationException>(() => arriving);
        }

        return end;
    }

    /// <summary>Waits until the guest has gone over its memory so often again, and sees that it has found nothing wrong.</summary>
    internal async Task SweepAsync(int passes)
    {
        for (int i = 0; i < passes; i++)
            _ = await Machine.Console.ReadUntilAsync(".", TimeSpan.FromMinutes(1));
        Assert.DoesNotContain('X', Machine.Console.Transcript);
        Assert.DoesNotContain('T', Machine.Console.Transcript);
    }

    /// <summary>Waits until a text has come on the console.</summary>
    /// <exception cref="TimeoutException">It has not in time; the message says where the vCPUs are and what is on the screen.</exception>
    internal async Task ReadUntilAsync(string text, TimeSpan patience)
    {
        try
        {
            _ = await Machine.Console.ReadUntilAsync(text, patience);
        }
        catch (TimeoutException e)
        {
            var seen = new StringBuilder(e.Message).AppendLine();
            for (int i = 0; i < 5; i++)
                seen.AppendJoin("; ", await Machine.LocateCpusAsync()).AppendLine();
            seen.AppendJoin('\n', Machine.Display?.ReadText()?.Lines ?? []);
            throw new TimeoutException(seen.ToString(), e);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Machine.DisposeAsync();
        foreach (MigrationTarget target in _targets)
            await target.DisposeAsync();
    }

    internal sealed class Journal : IMigrationJournal
    {
        internal List<string> Entries { get; } = [];

        public void Permit() => Entries.Add("permit");

        public void TakeBack() => Entries.Add("take back");

        public void Accept() => Entries.Add("accept");
    }
}
