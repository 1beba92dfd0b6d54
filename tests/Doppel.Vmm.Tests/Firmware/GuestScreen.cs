using Doppel.Devices.Display;

namespace Doppel.Vmm.Tests.Firmware;

/// <summary>The characters on a guest's screen.</summary>
internal static class GuestScreen
{
    /// <summary>Waits until a text is on the screen.</summary>
    /// <returns>The whole screen.</returns>
    /// <exception cref="TimeoutException">It has not come in time, or the machine has ended; the message holds what is on the screen instead.</exception>
    internal static async Task<string> ReadUntilAsync(VirtualMachine machine, string text, TimeSpan patience)
    {
        GuestDisplay display = machine.Display!;
        var changes = new SemaphoreSlim(0);
        using DisplayWatcher watcher = display.Watch(() => changes.Release());
        using var limit = new CancellationTokenSource(patience);
        Task<VmExit> end = machine.WaitAsync();
        while (true)
        {
            string shown = Read(display);
            if (shown.Contains(text, StringComparison.Ordinal))
                return shown;
            watcher.Take(new PixelRectangle(0, 0, int.MaxValue, int.MaxValue), (_, _) => { });
            try
            {
                if (await Task.WhenAny(changes.WaitAsync(limit.Token), end).ConfigureAwait(false) == end || limit.IsCancellationRequested)
                    throw new TimeoutException($"\"{text}\" is not on the screen, which shows:\n{Read(display)}");
            }
            catch (OperationCanceledException)
            {
                throw new TimeoutException($"\"{text}\" is not on the screen within {patience}; it shows:\n{Read(display)}");
            }
        }
    }

    private static string Read(GuestDisplay display) => display.ReadText() is TextScreen screen ? string.Join('\n', screen.Lines) : "";
}
