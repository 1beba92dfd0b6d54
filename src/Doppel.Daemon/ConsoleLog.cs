namespace Doppel.Daemon;

/// <summary>Sends what a machine has written to its console.</summary>
internal static class ConsoleLog
{
    /// <summary>Sends the log.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="target">Where to.</param>
    /// <param name="follows">True to go on with what comes until the machine has ended; false to end with what is there.</param>
    /// <param name="cancel">Ends it.</param>
    internal static async Task SendAsync(ManagedMachine machine, Stream target, bool follows, CancellationToken cancel)
    {
        string path = machine.Folder.LogPath;
        _ = Directory.CreateDirectory(machine.Folder.RunPath);
        using var changed = new SemaphoreSlim(0, 1);
        void Signal()
        {
            lock (changed)
            {
                if (changed.CurrentCount == 0)
                    _ = changed.Release();
            }
        }

        using FileSystemWatcher? watcher = follows ? new FileSystemWatcher(Path.GetDirectoryName(path)!, Path.GetFileName(path)) { NotifyFilter = NotifyFilters.Size | NotifyFilters.LastWrite | NotifyFilters.FileName } : null;
        if (watcher is not null)
        {
            watcher.Changed += (_, _) => Signal();
            watcher.Created += (_, _) => Signal();
            watcher.Error += (_, _) => Signal();
            watcher.EnableRaisingEvents = true;
            _ = machine.Ended.ContinueWith(_ => Signal(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        }

        await target.FlushAsync(cancel).ConfigureAwait(false);
        FileStream? log = null;
        try
        {
            while (true)
            {
                bool hasEnded = machine.Ended.IsCompleted;
                if (log is null && File.Exists(path))
                    log = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
                if (log is not null)
                {
                    await log.CopyToAsync(target, cancel).ConfigureAwait(false);
                    await target.FlushAsync(cancel).ConfigureAwait(false);
                }

                if (!follows || hasEnded)
                    return;
                await changed.WaitAsync(cancel).ConfigureAwait(false);
            }
        }
        finally
        {
            if (log is not null)
                await log.DisposeAsync().ConfigureAwait(false);
        }
    }
}
