using Doppel.Devices.Display;
using Doppel.Devices.Input;

namespace Doppel.Vmm.Control;

/// <summary>Takes pictures of a machine's screen, and types and points for scripts.</summary>
internal static class ScreenControl
{
    private static readonly TimeSpan ClickTime = TimeSpan.FromMilliseconds(50);

    /// <summary>What the screen shows.</summary>
    /// <exception cref="SpecException">There is none.</exception>
    internal static ScreenReport TakePicture(VirtualMachine machine)
    {
        GuestDisplay display = FindDisplay(machine);
        TextScreen? text = display.ReadText();
        PixelSurface picture = display.TakePicture();
        return new ScreenReport(picture.Width, picture.Height, PngWriter.Write(picture), text is null ? null : [.. text.Lines]);
    }

    /// <summary>Does what is asked; completes when all keys are up again.</summary>
    /// <exception cref="SpecException">A key or a character is unknown, or there is no pointer; nothing is done then.</exception>
    internal static async Task DoAsync(VirtualMachine machine, InputRequest request, CancellationToken cancel)
    {
        int delay = request.Delay ?? InputRequest.UsualDelay;
        if (delay is < 0 or > 10_000)
            throw new SpecException("delay", $"a delay of {delay} ms: 0 to 10000 would be right");
        var presses = new List<IReadOnlyList<KeyCode>>();
        foreach (char character in request.Text ?? "")
        {
            if (!KeyNames.TryFind(character == '\r' ? '\n' : character, out KeyCode key, out bool shift))
                throw new SpecException("text", $"\"{character}\" (U+{(int)character:X4}): no key of a US keyboard makes it");
            presses.Add(shift ? [KeyCode.LeftShift, key] : [key]);
        }

        if (presses.Count > InputRequest.LongestText)
            throw new SpecException("text", $"{presses.Count} characters: at most {InputRequest.LongestText} would be right");
        foreach (string combination in request.Keys ?? [])
        {
            if (!KeyNames.TryParseCombination(combination, out IReadOnlyList<KeyCode> keys, out string? unknown))
                throw new SpecException("keys", $"{combination}: there is no key \"{unknown}\"; {string.Join(", ", KeyNames.All)} would be right, with dashes between those that are pressed together");
            presses.Add(keys);
        }

        if (request.Pointer is PointerRequest pointer && !PointerRequest.Actions.Contains(pointer.Action))
            throw new SpecException("action", $"{pointer.Action}: {string.Join(", ", PointerRequest.Actions)} would be right");
        foreach (IReadOnlyList<KeyCode> keys in presses)
        {
            foreach (KeyCode key in keys)
                machine.Input.SetKey(key, isDown: true);
            foreach (KeyCode key in keys.Reverse())
                machine.Input.SetKey(key, isDown: false);
            await Task.Delay(delay, cancel).ConfigureAwait(false);
        }

        if (request.Pointer is not null)
            await PointAsync(machine, request.Pointer, cancel).ConfigureAwait(false);
    }

    private static GuestDisplay FindDisplay(VirtualMachine machine) =>
        machine.Display ?? throw new SpecException("display", "the machine has no display; \"doppel run --vga std\", or --display, would be right");

    private static async Task PointAsync(VirtualMachine machine, PointerRequest request, CancellationToken cancel)
    {
        const int Farthest = 10_000;
        PixelSurface screen = FindDisplay(machine).TakePicture();
        if (request.X < 0 || request.Y < 0 || request.X >= screen.Width || request.Y >= screen.Height)
            throw new SpecException("position", $"{request.X} {request.Y}: the screen has {screen.Width} by {screen.Height} pixels");
        // A mouse only tells how it moves: from the corner, where it stops, the way is known.
        if (!machine.Input.IsAbsolute)
        {
            machine.Input.MoveBy(-Farthest, -Farthest, 0, PointerButtons.None);
            machine.Input.PointTo(0, 0, screen.Width, screen.Height, 0, PointerButtons.None);
        }

        void Send(PointerButtons buttons, int wheel = 0) => machine.Input.PointTo(request.X, request.Y, screen.Width, screen.Height, wheel, buttons);
        async Task ClickAsync(PointerButtons button)
        {
            Send(button);
            await Task.Delay(ClickTime, cancel).ConfigureAwait(false);
            Send(PointerButtons.None);
            await Task.Delay(ClickTime, cancel).ConfigureAwait(false);
        }

        Send(PointerButtons.None);
        switch (request.Action)
        {
            case "click":
                await ClickAsync(PointerButtons.Left).ConfigureAwait(false);
                break;
            case "right":
                await ClickAsync(PointerButtons.Right).ConfigureAwait(false);
                break;
            case "middle":
                await ClickAsync(PointerButtons.Middle).ConfigureAwait(false);
                break;
            case "double":
                await ClickAsync(PointerButtons.Left).ConfigureAwait(false);
                await ClickAsync(PointerButtons.Left).ConfigureAwait(false);
                break;
            case "down":
                Send(PointerButtons.Left);
                break;
            case "wheel-up":
                Send(PointerButtons.None, -1);
                break;
            case "wheel-down":
                Send(PointerButtons.None, 1);
                break;
        }
    }
}
