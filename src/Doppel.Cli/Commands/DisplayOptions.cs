using System.CommandLine;
using Doppel.Vmm;

namespace Doppel.Cli.Commands;

/// <summary>--vga, --display, --pointer and --keyboard of doppel run.</summary>
internal sealed class DisplayOptions
{
    private const string Adapters = "std, vmware, virtio or none", Pointers = "mouse, tablet or virtio", Keyboards = "ps2 or virtio", Screens = $"none, terminal or {VncSpec.Choices}";
    private readonly Option<string?> _adapter = new("--vga") { Description = "Display adapter: std (VGA with Bochs VBE), vmware or virtio (the same until its driver comes, and VMware's SVGA II or a virtio GPU then) or none [default: std with firmware or --display].", HelpName = "ADAPTER" };
    private readonly Option<string?> _screen = new("--display") { Description = $"Where the machine's screen is seen: {Screens} [default: none].", HelpName = "SCREEN" };
    private readonly Option<string?> _pointer = new("--pointer") { Description = "Pointing device beside the keyboard: mouse (PS/2), or as well a tablet that is where the pointer is: tablet (USB) or virtio [default: tablet with --display vnc, else mouse].", HelpName = "DEVICE" };
    private readonly Option<string?> _keyboard = new("--keyboard") { Description = "Keyboard: ps2, or virtio, one beside it for guests that have a driver [default: ps2].", HelpName = "DEVICE" };

    internal DisplayOptions()
    {
        _pointer.CompletionSources.Add("mouse", "tablet", "virtio");
        _keyboard.CompletionSources.Add("ps2", "virtio");
        _adapter.CompletionSources.Add("std", "vmware", "virtio", "none");
        _screen.CompletionSources.Add("none", "terminal", "vnc", "vnc=:");
    }

    /// <summary>The options in the order of the help.</summary>
    internal IEnumerable<Option> All => [_adapter, _screen, _pointer, _keyboard];

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
            "vmware" => DisplayAdapterKind.Vmware,
            "virtio" => DisplayAdapterKind.Virtio,
            "none" when isSeen => throw new CliException(ExitCode.Usage, $"--display {screen} shows a display adapter; without --vga none it would be right"),
            "none" => DisplayAdapterKind.None,
            _ => throw new CliException(ExitCode.Usage, $"--vga {adapter}: {Adapters} would be right"),
        };
        PointerKind pointer = result.GetValue(_pointer) switch
        {
            null => vnc is null ? PointerKind.Mouse : PointerKind.Tablet,
            "mouse" => PointerKind.Mouse,
            "tablet" or "virtio" when adapter == "none" => throw new CliException(ExitCode.Usage, $"--pointer {result.GetValue(_pointer)} points at a display adapter; without --vga none it would be right"),
            "tablet" => PointerKind.Tablet,
            "virtio" => PointerKind.Virtio,
            string other => throw new CliException(ExitCode.Usage, $"--pointer {other}: {Pointers} would be right"),
        };
        KeyboardKind keyboard = result.GetValue(_keyboard) switch
        {
            null or "ps2" => KeyboardKind.Ps2,
            "virtio" => KeyboardKind.Virtio,
            string other => throw new CliException(ExitCode.Usage, $"--keyboard {other}: {Keyboards} would be right"),
        };
        if (pointer != PointerKind.Mouse && kind == DisplayAdapterKind.Automatic)
            kind = DisplayAdapterKind.Std;
        if (vnc?.PasswordFile is string file)
            vnc = vnc with { PasswordFile = Path.GetFullPath(file) };
        return spec with { Display = kind, Vnc = vnc, Pointer = pointer, Keyboard = keyboard };
    }
}
