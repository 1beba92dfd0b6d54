using System.CommandLine;
using Doppel.Devices.Input;
using Doppel.Vmm.Control;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel screenshot, type, key and mouse: a running machine seen and steered by scripts.</summary>
internal static class ScreenCommands
{
    internal static Command CreateScreenshot()
    {
        Argument<string> machine = LifeCommands.Machine();
        var file = new Argument<string?>("file") { Description = "Where the PNG goes, - for standard output [default: MACHINE.png].", Arity = ArgumentArity.ZeroOrOne };
        var text = new Option<bool>("--text") { Description = "Print what a screen in text mode says." };
        var command = new ExampledCommand(
            "screenshot", "Take a picture of a machine's screen, as PNG or as text.", "doppel screenshot web", "doppel screenshot web /tmp/screen.png", "doppel screenshot web.png", "doppel screenshot --text web") { machine, file, text };
        command.SetAction(async (result, cancel) =>
        {
            string name = result.GetRequiredValue(machine);
            string? path = result.GetValue(file);
            // "web.png" names both.
            const string Extension = ".png";
            if (path is null && name.EndsWith(Extension, StringComparison.Ordinal) && await RunningMachines.FindAsync(name, cancel).ConfigureAwait(false) is null)
                (path, name) = (name, Path.GetFileName(name)[..^Extension.Length]);
            (_, ControlReply reply) = await RunningMachines.AskAsync(name, new ControlRequest(ControlRequest.Screenshot), cancel).ConfigureAwait(false);
            ScreenReport screen = reply.Screen!;
            if (result.GetValue(text))
            {
                if (screen.Text is null)
                    throw new CliException(ExitCode.Host, $"{name}: the screen shows graphics, {screen.Width} by {screen.Height} pixels; without --text it would be right");
                Console.Out.Write(string.Concat(screen.Text.Select(line => line + "\n")));
                return ExitCode.Success;
            }

            await WriteAsync(path ?? name + Extension, screen.Png, cancel).ConfigureAwait(false);
            return ExitCode.Success;
        });
        return command;
    }

    internal static Command CreateType()
    {
        Argument<string> machine = LifeCommands.Machine();
        var text = new Argument<string>("text") { Description = "What is typed on a US keyboard; \\n, \\t, \\b, \\e and \\\\ are Enter, Tab, Backspace, Escape and the backslash." };
        Option<int> delay = Delay();
        var command = new ExampledCommand("type", "Type text on a machine's keyboard.", "doppel type web \"root\\n\"", "doppel type --delay 100 web \"linux single\\n\"") { machine, text, delay };
        command.SetAction(async (result, cancel) =>
        {
            string typed = Unescape(result.GetRequiredValue(text));
            return await SendAsync(result.GetRequiredValue(machine), new InputRequest { Text = typed, Delay = result.GetValue(delay) }, cancel).ConfigureAwait(false);
        });
        return command;
    }

    internal static Command CreateKey()
    {
        Argument<string> machine = LifeCommands.Machine();
        var keys = new Argument<string[]>("keys") { Description = "Keys one after the other; those with dashes between them together.", HelpName = "keys", Arity = ArgumentArity.OneOrMore };
        keys.CompletionSources.Add([.. KeyNames.All]);
        Option<int> delay = Delay();
        var command = new ExampledCommand("key", "Press keys of a machine's keyboard.", "doppel key web ctrl-alt-f2", "doppel key web down down enter") { machine, keys, delay };
        command.SetAction((result, cancel) =>
            SendAsync(result.GetRequiredValue(machine), new InputRequest { Keys = result.GetRequiredValue(keys), Delay = result.GetValue(delay) }, cancel));
        return command;
    }

    internal static Command CreateMouse()
    {
        Argument<string> machine = LifeCommands.Machine();
        var x = new Argument<int>("x") { Description = "Column of the screen, from 0." };
        var y = new Argument<int>("y") { Description = "Row of the screen, from 0." };
        var action = new Argument<string>("action") { Description = $"{string.Join(", ", PointerRequest.Actions)}.", HelpName = "action", DefaultValueFactory = _ => "move" };
        action.CompletionSources.Add([.. PointerRequest.Actions]);
        var command = new ExampledCommand("mouse", "Move a machine's pointer, and press its buttons.", "doppel mouse web 320 200", "doppel mouse web 320 200 click") { machine, x, y, action };
        command.SetAction((result, cancel) =>
            SendAsync(result.GetRequiredValue(machine), new InputRequest { Pointer = new PointerRequest(result.GetValue(x), result.GetValue(y), result.GetRequiredValue(action)) }, cancel));
        return command;
    }

    private static Option<int> Delay() => new("--delay") { Description = "Milliseconds between two keys.", HelpName = "MS", DefaultValueFactory = _ => InputRequest.UsualDelay };

    private static async Task<int> SendAsync(string machine, InputRequest input, CancellationToken cancel)
    {
        _ = await RunningMachines.AskAsync(machine, new ControlRequest(ControlRequest.SendInput) { Input = input }, cancel).ConfigureAwait(false);
        return ExitCode.Success;
    }

    private static async Task WriteAsync(string path, byte[] png, CancellationToken cancel)
    {
        try
        {
            if (path != "-")
            {
                await File.WriteAllBytesAsync(path, png, cancel).ConfigureAwait(false);
                return;
            }

            await using Stream output = Console.OpenStandardOutput();
            await output.WriteAsync(png, cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.Host, $"{path}: the file can't be written: {e.Message}", e);
        }
    }

    private static string Unescape(string text)
    {
        var plain = new System.Text.StringBuilder(text.Length);
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] != '\\' || i + 1 == text.Length)
            {
                plain.Append(text[i]);
                continue;
            }

            char code = text[++i];
            plain.Append(code switch
            {
                'n' => '\n',
                't' => '\t',
                'b' => '\b',
                'e' => '\e',
                '\\' => '\\',
                _ => throw new CliException(ExitCode.Usage, $"\\{code}: \\n, \\t, \\b, \\e or \\\\ would be right"),
            });
        }

        return plain.ToString();
    }
}
