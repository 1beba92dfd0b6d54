using System.Diagnostics;
using System.Text;
using System.Text.RegularExpressions;
using Doppel.Cli.Terminals;
using Doppel.Devices.Display;
using Doppel.Host.Terminals;

namespace Doppel.Cli.Tests.Terminals;

/// <summary>--display terminal: the screen as text and as blocks, and a machine that is seen and steered in a terminal.</summary>
public sealed partial class TerminalScreenTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private readonly StartedMachines _machines = new();

    public void Dispose() => _machines.Dispose();

    [Fact]
    public void Text_has_its_colours_and_the_cursor_is_turned_round()
    {
        TextCell[] cells = [.. "ab┌d".Select((c, i) => new TextCell(c, i < 2 ? 0xAAAAAAu : 0xFFFF55u, 0x0000AAu))];
        string[] lines = TerminalScreen.Render(new TextScreen(2, 2, cells, CursorColumn: 1, CursorRow: 1));
        Assert.Equal("\e[38;2;170;170;170m\e[48;2;0;0;170mab\e[0m", lines[0]);
        Assert.Equal("\e[38;2;255;255;85m\e[48;2;0;0;170m┌\e[38;2;0;0;170m\e[48;2;255;255;85md\e[0m", lines[1]);
    }

    [Theory]
    [InlineData(4, 4, 80, 24, 4, 2)]
    [InlineData(640, 480, 80, 24, 64, 24)]
    [InlineData(1024, 768, 100, 10, 26, 10)]
    public void A_picture_becomes_blocks_of_two_pixels_that_fit(int width, int height, int columns, int rows, int expectedColumns, int expectedRows)
    {
        var picture = new PixelSurface();
        _ = picture.Resize(width, height);
        var damage = new DamageRegion();
        damage.Reset(width, height);
        for (int y = 0; y < height; y++)
            picture.Put(0, y, [.. Enumerable.Repeat(y < height / 2 ? 0xFF0000u : 0x0000FFu, width)], damage);
        string[] lines = TerminalScreen.Render(picture, columns, rows);
        Assert.Equal(expectedRows, lines.Length);
        Assert.All(lines, line => Assert.Equal(expectedColumns, line.Count(c => c == '▀')));
        Assert.StartsWith("\e[38;2;255;0;0m\e[48;2;255;0;0m▀", lines[0], StringComparison.Ordinal);
        Assert.StartsWith("\e[38;2;0;0;255m\e[48;2;0;0;255m▀", lines[^1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_machine_is_seen_and_steered_in_a_terminal_which_is_given_back()
    {
        using var terminal = new PseudoTerminal();
        string before = Stty(terminal.Path, "sane") + Stty(terminal.Path, "-g");
        string kernel = Path.Combine(_machines.Directory, "kernel");
        await File.WriteAllBytesAsync(kernel, TinyGuest.Create("ready", ScreenTests.ShowKeys));
        var info = new ProcessStartInfo("/bin/sh", ["-c", $"exec '{Command.Path}' run --kernel '{kernel}' --memory 16M --net none --display terminal <{terminal.Path} >{terminal.Path} 2>&1"]);
        info.Environment["XDG_RUNTIME_DIR"] = _machines.Directory;
        Process process = _machines.Add(Process.Start(info)!);
        var reader = new TerminalReader(terminal.Stream);
        await reader.ReadUntilAsync("\e[?1049h");
        await reader.ReadUntilAsync("Hi", isPlain: true);
        Assert.NotEqual(before, Stty(terminal.Path, "-g"));
        // F1 goes up: BBh. Then Ctrl-C, which is the guest's as well: C goes up before Ctrl does, 9Dh.
        await terminal.Stream.WriteAsync("\eOP"u8.ToArray());
        await reader.ReadUntilAsync("╗");
        await terminal.Stream.WriteAsync("\u0003"u8.ToArray());
        await reader.ReadUntilAsync("¥");
        await terminal.Stream.WriteAsync("\u0001x"u8.ToArray());
        await reader.ReadUntilAsync("\e[?25h\e[?1049l");
        await process.WaitForExitAsync().WaitAsync(Patience);
        Assert.Equal(ExitCode.Success, process.ExitCode);
        Assert.Equal(before, Stty(terminal.Path, "-g"));
    }

    [GeneratedRegex("\\e\\[[0-9;?]*[A-Za-z]")]
    private static partial Regex Sequence();

    private static string Stty(string path, string arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo("stty", ["-F", path, arguments]) { RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return output;
    }

    /// <summary>What a terminal was sent; each thing that is awaited is looked for behind the one before, for they may come together.</summary>
    private sealed class TerminalReader(Stream stream)
    {
        private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();
        private readonly byte[] _buffer = new byte[4096];
        private readonly char[] _characters = new char[4096];
        private string _seen = "";

        /// <summary>Reads up to a text.</summary>
        /// <param name="text">The text.</param>
        /// <param name="isPlain">True to look for it between colours and places.</param>
        internal async Task ReadUntilAsync(string text, bool isPlain = false)
        {
            using var limit = new CancellationTokenSource(Patience);
            while (true)
            {
                // A sequence that has not come to its end is none yet.
                string seen = isPlain ? Sequence().Replace(_seen, "") : _seen;
                int at = seen.IndexOf(text, StringComparison.Ordinal);
                if (at >= 0)
                {
                    _seen = seen[(at + text.Length)..];
                    return;
                }

                int count;
                try
                {
                    count = await stream.ReadAsync(_buffer, limit.Token).AsTask().WaitAsync(limit.Token);
                }
                catch (OperationCanceledException)
                {
                    throw new TimeoutException($"the terminal was not sent {text.Replace("\e", "\\e", StringComparison.Ordinal)}; behind what was awaited before it was sent {_seen.Replace("\e", "\\e", StringComparison.Ordinal)}");
                }

                _seen += new string(_characters, 0, _decoder.GetChars(_buffer, 0, count, _characters, 0));
            }
        }
    }
}
