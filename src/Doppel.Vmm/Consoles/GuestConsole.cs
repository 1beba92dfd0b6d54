using Doppel.Devices.Console;

namespace Doppel.Vmm.Consoles;

/// <summary>
/// The serial console of a guest, for a program: it writes lines and reads up to what it expects. One reader at a time;
/// writing is for any thread.
/// </summary>
public sealed class GuestConsole
{
    private readonly MemoryConsole _console;
    private int _position;

    internal GuestConsole(MemoryConsole console) => _console = console;

    /// <summary>Everything that the guest has written so far.</summary>
    public string Transcript => _console.Text;

    /// <summary>Sends text as it is.</summary>
    public void Write(string text) => _console.Send(text);

    /// <summary>Sends a line, as if the Enter key ended it.</summary>
    public void WriteLine(string text) => _console.Send(text + "\r");

    /// <summary>Waits until the guest has written a text, and goes on behind it.</summary>
    /// <param name="text">What to wait for; not empty.</param>
    /// <param name="timeout">How long to wait; forever when it is null.</param>
    /// <param name="cancel">Ends the wait.</param>
    /// <returns>What the guest wrote since the last read, including the text.</returns>
    /// <exception cref="TimeoutException">The text has not come in time; the message holds the end of what came instead.</exception>
    public async Task<string> ReadUntilAsync(string text, TimeSpan? timeout = null, CancellationToken cancel = default)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        if (timeout is TimeSpan time)
            limit.CancelAfter(time);
        try
        {
            int end = await _console.WaitForAsync(text, _position, limit.Token).ConfigureAwait(false);
            string read = System.Text.Encoding.UTF8.GetString(_console.OutputBytes().AsSpan(_position, end - _position));
            _position = end;
            return read;
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            string tail = _console.TextFrom(Math.Max(_position, _console.OutputLength - 500));
            throw new TimeoutException($"the guest did not write \"{text}\" within {timeout}; the last it wrote is: {tail}");
        }
    }
}
