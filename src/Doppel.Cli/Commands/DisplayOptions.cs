using System.CommandLine;
using Doppel.Vmm;

namespace Doppel.Cli.Commands;

/// <summary>--vga, --display and --pointer of doppel run.</summary>
internal sealed class DisplayOptions
{
    private const string Adapters = "std or none", Pointers = "mouse or tablet", Screens = $"none, terminal or {VncSpec.Choices}";
    private readonly Option<string?> _adapter = new("--vga") { Description = "Display adapter: std (VGA with Bochs VBE) or none [default: std with firmware or --display].", HelpName = "ADAPTER" };
    private readonly Option<string?> _screen = new("--display") { Description = $"Where the machine's screen is seen: {Screens} [default: none].", HelpName = "SCREEN" };
    private readonly Option<string?> _pointer = new("--pointer") { Description = "Pointing device beside the keyboard: mouse (PS/2), or tablet, a USB one as well that is where the pointer is [default: tablet with --display vnc, else mouse].", HelpName = "DEVICE" };

    internal DisplayOptions()
    {
        _pointer.CompletionSources.Add("mouse", "tablet");
        _adapter.CompletionSources.Add("std", "none");
        _screen.CompletionSources.Add("none", "terminal", "vnc", "vnc=:");
    }

    /// <summary>The options in the order of the help.</summary>
    internal IEnumerable<Option> All => [_adapter, _screen, _pointer];

    /// <summary>True when the terminal shows the machine's screen.</summary>
    internal bool IsTerminal(ParseResult result) => result.GetValue(_screen) == "terminal";

    /// <summary>Adds to a machine what the options say.</summary>
    /// <exception cref="CliException">A value is wrong.</exception>
    internal MachineSpec Enter(ParseResult result, MachineSpec spec)
    {
        string? adapter = result.GetValue(_adapter), screen = result.GetValue(_screen);
        VncSpec? vnc = null;
        if (screen is not (null or "none" or "terminal") && !VncSpec.TryParse(screen, out vnc))
            throw new CliException(ExitCode.Usage, $"--display {screen}: {Screens} would be right");
        bool isSeen = screen is not (null or "none");
        DisplayAdapterKind kind = adapter switch
        {
            null => isSeen ? DisplayAdapterKind.Std : DisplayAdapterKind.Automatic,
            "std" => DisplayAdapterKind.Std,
            "none" when isSeen => throw new CliException(ExitCode.Usage, $"--display {screen} shows a display adapter; without --vga none it would be right"),
            "none" => DisplayAdapterKind.None,
            _ => throw new CliException(ExitCode.Usage, $"--vga {adapter}: {Adapters} would be right"),
        };
        PointerKind pointer = result.GetValue(_pointer) switch
        {
            null => vnc is null ? PointerKind.Mouse : PointerKind.Tablet,
            "mouse" => PointerKind.Mouse,
            "tablet" when adapter == "none" => throw new CliException(ExitCode.Usage, "--pointer tablet points at a display adapter; without --vga none it would be right"),
            "tablet" => PointerKind.Tablet,
            string other => throw new CliException(ExitCode.Usage, $"--pointer {other}: {Pointers} would be right"),
        };
        if (pointer == PointerKind.Tablet && kind == DisplayAdapterKind.Automatic)
            kind = DisplayAdapterKind.Std;
        if (vnc?.PasswordFile is string file)
            vnc = vnc with { PasswordFile = Path.GetFullPath(file) };
        return spec with { Display = kind, Vnc = vnc, Pointer = pointer };
    }
}
