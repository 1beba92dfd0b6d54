using System.Buffers;
using System.Text;
using Doppel.Devices.Console;

namespace Doppel.Vmm.Lockstep;

/// <summary>
/// A serial line that sends lines by a script: each when the guest has shown its prompt once more. What it sends arrives
/// only when <see cref="Deliver"/> is called, so that the moment is a matter of guest time alone. One thread.
/// </summary>
internal sealed class ScriptedConsole(IReadOnlyList<string> lines, string prompt) : IConsoleBackend
{
    private readonly byte[] _prompt = Encoding.UTF8.GetBytes(prompt);
    private readonly Queue<byte> _input = new();
    private readonly ArrayBufferWriter<byte> _output = new();
    private int _searched;
    private int _sent;

    public event Action? InputAvailable;

    internal ReadOnlyMemory<byte> Output => _output.WrittenMemory;

    public int Read(Span<byte> buffer)
    {
        int count = 0;
        while (count < buffer.Length && _input.TryDequeue(out byte value))
            buffer[count++] = value;
        return count;
    }

    public void Write(ReadOnlySpan<byte> data) => _output.Write(data);

    /// <summary>Sends the next line if the guest waits for it; false when nothing was sent.</summary>
    internal bool Deliver()
    {
        if (_sent == lines.Count)
            return false;
        int found = Output.Span[_searched..].IndexOf(_prompt);
        if (found < 0)
            return false;
        _searched += found + _prompt.Length;
        foreach (byte value in Encoding.UTF8.GetBytes(lines[_sent] + "\n"))
            _input.Enqueue(value);
        _sent++;
        InputAvailable?.Invoke();
        return true;
    }
}
