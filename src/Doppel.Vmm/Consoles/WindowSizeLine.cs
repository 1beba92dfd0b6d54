using System.Text;
using Doppel.Devices.Console;

namespace Doppel.Vmm.Consoles;

/// <summary>
/// A serial line that tells the guest the size of its console's window: whenever the guest writes a line "size", and
/// whenever the size changes after that, it receives a line "ROWS COLUMNS". Any thread.
/// </summary>
public sealed class WindowSizeLine : IConsoleBackend
{
    private readonly Lock _lock = new();
    private readonly StringBuilder _line = new();
    private byte[] _pending = [];
    private int _taken;
    private bool _isAsked;
    private (int Rows, int Columns)? _size;

    /// <inheritdoc/>
    public event Action? InputAvailable;

    /// <summary>Sets the size in characters.</summary>
    public void SetSize(int rows, int columns)
    {
        lock (_lock)
        {
            _size = (rows, columns);
            if (!_isAsked)
                return;
            Queue();
        }

        InputAvailable?.Invoke();
    }

    /// <inheritdoc/>
    public int Read(Span<byte> buffer)
    {
        lock (_lock)
        {
            int count = Math.Min(buffer.Length, _pending.Length - _taken);
            _pending.AsSpan(_taken, count).CopyTo(buffer);
            _taken += count;
            return count;
        }
    }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> data)
    {
        bool isAnswered = false;
        lock (_lock)
        {
            foreach (byte b in data)
            {
                if (b is (byte)'\r' or (byte)'\n')
                {
                    if (_line.Equals("size"))
                    {
                        _isAsked = true;
                        isAnswered = _size is not null;
                        Queue();
                    }

                    _ = _line.Clear();
                }
                else if (_line.Length < 16)
                {
                    _ = _line.Append((char)b);
                }
            }
        }

        // The device calls with the I/O lock held and takes it again when it is told of input: that must be another thread.
        if (isAnswered)
            _ = ThreadPool.UnsafeQueueUserWorkItem(_ => InputAvailable?.Invoke(), null);
    }

    private void Queue()
    {
        if (_size is not (int rows, int columns))
            return;
        // What the guest has not begun to read is out of date.
        byte[] rest = _taken > 0 && _taken < _pending.Length ? _pending[_taken..] : [];
        _pending = [.. rest, .. Encoding.ASCII.GetBytes($"{rows} {columns}\n")];
        _taken = 0;
    }
}
