using System.Globalization;
using System.Text;
using System.Threading.Channels;
using Doppel.Devices.Display;
using Doppel.Devices.Input;

namespace Doppel.Cli.Terminals;

/// <summary>
/// Shows a machine's screen in a terminal: text modes as text in their colours, graphics as blocks of half a character's
/// height. What is typed goes to the machine's keyboard. Disposing gives the terminal back as it was.
/// </summary>
internal sealed class TerminalScreen : IDisposable
{
    private const string Enter = "\e[?1049h\e[?25l\e[0m\e[2J", Leave = "\e[0m\e[?25h\e[?1049l";
    private readonly GuestDisplay _display;
    private readonly GuestInput _input;
    private readonly Stream _output;
    private readonly Channel<bool> _wakes = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private readonly CancellationTokenSource _end = new();
    private readonly DisplayWatcher _watcher;
    private readonly Task _drawing;
    private string[] _lines = [];
    private bool _isText;
    private int _isDisposed;

    private TerminalScreen(GuestDisplay display, GuestInput input, Stream output, Stream keys)
    {
        (_display, _input, _output) = (display, input, output);
        Write(Enter);
        _watcher = display.Watch(() => _ = _wakes.Writer.TryWrite(true));
        _drawing = DrawAsync();
        _ = ReadKeysAsync(keys);
    }

    /// <summary>Begins to show.</summary>
    /// <param name="display">What.</param>
    /// <param name="input">Where keys go.</param>
    /// <param name="output">The terminal.</param>
    /// <param name="keys">What is typed at it.</param>
    internal static TerminalScreen Start(GuestDisplay display, GuestInput input, Stream output, Stream keys) => new(display, input, output, keys);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) != 0)
            return;
        _watcher.Dispose();
        _end.Cancel();
        _wakes.Writer.Complete();
        _drawing.Wait();
        _end.Dispose();
        Write(Leave);
    }

    /// <summary>Rows of a text screen as a terminal takes them.</summary>
    internal static string[] Render(TextScreen screen)
    {
        string[] lines = new string[screen.Rows];
        var line = new StringBuilder();
        for (int row = 0; row < screen.Rows; row++)
        {
            line.Clear();
            (uint Foreground, uint Background)? colors = null;
            for (int column = 0; column < screen.Columns; column++)
            {
                TextCell cell = screen.Cells[(row * screen.Columns) + column];
                bool isCursor = row == screen.CursorRow && column == screen.CursorColumn;
                (uint, uint) wanted = isCursor ? (cell.Background, cell.Foreground) : (cell.Foreground, cell.Background);
                if (wanted != colors)
                {
                    line.Append(Color(38, wanted.Item1)).Append(Color(48, wanted.Item2));
                    colors = wanted;
                }

                line.Append(cell.Character);
            }

            lines[row] = line.Append("\e[0m").ToString();
        }

        return lines;
    }

    /// <summary>A picture as a terminal takes it: each character is two pixels, one above the other.</summary>
    internal static string[] Render(PixelSurface picture, int columns, int rows)
    {
        // As large as fits, with square pixels.
        double scale = Math.Max(Math.Max((double)picture.Width / columns, picture.Height / (2.0 * rows)), 1);
        int width = (int)(picture.Width / scale), height = (int)(picture.Height / scale / 2);
        string[] lines = new string[height];
        var line = new StringBuilder();
        for (int y = 0; y < height; y++)
        {
            line.Clear();
            (uint, uint)? colors = null;
            for (int x = 0; x < width; x++)
            {
                uint At(int half) => picture.Row(Math.Min((int)(((2 * y) + half) * scale), picture.Height - 1))[Math.Min((int)(x * scale), picture.Width - 1)];
                (uint Top, uint Bottom) wanted = (At(0), At(1));
                if (wanted != colors)
                {
                    line.Append(Color(38, wanted.Top)).Append(Color(48, wanted.Bottom));
                    colors = wanted;
                }

                line.Append('▀');
            }

            lines[y] = line.Append("\e[0m").ToString();
        }

        return lines;
    }

    private static string Color(int kind, uint color) =>
        string.Create(CultureInfo.InvariantCulture, $"\e[{kind};2;{(color >> 16) & 0xFF};{(color >> 8) & 0xFF};{color & 0xFF}m");

    private async Task DrawAsync()
    {
        await foreach (bool _ in _wakes.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            if (_end.IsCancellationRequested)
                return;
            _watcher.Take(new PixelRectangle(0, 0, PixelSurface.MaximumSide, PixelSurface.MaximumSide), (_, _) => { });
            Draw();
        }
    }

    private void Draw()
    {
        TextScreen? text = _display.ReadText();
        string[] lines;
        if (text is not null)
        {
            lines = Render(text);
        }
        else
        {
            Doppel.Host.Terminals.TerminalSize size = Doppel.Host.Terminals.HostTerminal.GetSize(Doppel.Host.Terminals.HostTerminal.StandardOutput) ?? new(25, 80);
            PixelSurface picture = _display.TakePicture();
            lines = [.. Render(picture, size.Columns, size.Rows - 1), $"graphics, {picture.Width} by {picture.Height} pixels; --display vnc shows them sharp\e[K"];
        }

        var output = new StringBuilder();
        if (_isText != text is not null || lines.Length != _lines.Length)
        {
            output.Append("\e[0m\e[2J");
            _lines = new string[lines.Length];
            _isText = text is not null;
        }

        for (int row = 0; row < lines.Length; row++)
        {
            if (lines[row] == _lines[row])
                continue;
            output.Append(CultureInfo.InvariantCulture, $"\e[{row + 1};1H").Append(lines[row]);
            _lines[row] = lines[row];
        }

        if (output.Length != 0)
            Write(output.ToString());
    }

    private void Write(string text)
    {
        try
        {
            _output.Write(Encoding.UTF8.GetBytes(text));
        }
        catch (IOException)
        {
            // The terminal is gone; what ends the machine then is the signal that says so.
        }
    }

    private async Task ReadKeysAsync(Stream keys)
    {
        byte[] buffer = new byte[256];
        try
        {
            int count;
            while ((count = await keys.ReadAsync(buffer, _end.Token).ConfigureAwait(false)) != 0)
            {
                foreach (IReadOnlyList<KeyCode> together in TerminalKeys.Decode(buffer[..count]))
                {
                    foreach (KeyCode key in together)
                        _input.SetKey(key, isDown: true);
                    foreach (KeyCode key in together.Reverse())
                        _input.SetKey(key, isDown: false);
                }
            }
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // Nobody types any more.
        }
    }
}
