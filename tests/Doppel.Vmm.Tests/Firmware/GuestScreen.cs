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
        string shown = "";
        if (!await WatchAsync(machine, display => (shown = Read(display)).Contains(text, StringComparison.Ordinal), patience).ConfigureAwait(false))
            throw new TimeoutException($"\"{text}\" is not on the screen within {patience}; it shows:\n{Read(machine.Display!)}");
        return shown;
    }

    /// <summary>Waits until the picture is as wished.</summary>
    /// <exception cref="TimeoutException">It isn't in time, or the machine has ended; the message names a file with what the screen shows instead.</exception>
    internal static async Task WaitForPictureAsync(VirtualMachine machine, Func<PixelSurface, bool> isAsWished, TimeSpan patience)
    {
        if (await WatchAsync(machine, display => isAsWished(display.TakePicture()), patience).ConfigureAwait(false))
            return;
        string file = Path.Combine(Path.GetTempPath(), $"doppel-screen-{Guid.NewGuid():N}.png");
        File.WriteAllBytes(file, PngWriter.Write(machine.Display!.TakePicture()));
        throw new TimeoutException($"the screen is not as wished within {patience}; it is in {file}");
    }

    // Looks whenever something on the screen has changed.
    private static async Task<bool> WatchAsync(VirtualMachine machine, Func<GuestDisplay, bool> isThere, TimeSpan patience)
    {
        GuestDisplay display = machine.Display!;
        var changes = new SemaphoreSlim(0);
        using DisplayWatcher watcher = display.Watch(() => changes.Release());
        using var limit = new CancellationTokenSource(patience);
        Task<VmExit> end = machine.WaitAsync();
        while (!isThere(display))
        {
            watcher.Take(new PixelRectangle(0, 0, int.MaxValue, int.MaxValue), (_, _) => { });
            try
            {
                if (await Task.WhenAny(changes.WaitAsync(limit.Token), end).ConfigureAwait(false) == end || limit.IsCancellationRequested)
                    return false;
            }
            catch (OperationCanceledException)
            {
                return false;
            }
        }

        return true;
    }

    private static string Read(GuestDisplay display) => display.ReadText() is TextScreen screen ? string.Join('\n', screen.Lines) : "";
}
