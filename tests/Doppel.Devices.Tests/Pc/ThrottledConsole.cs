using Doppel.Devices.Console;

namespace Doppel.Devices.Tests.Pc;

/// <summary>A far end that accepts output only while the test lets it.</summary>
internal sealed class ThrottledConsole : IConsoleBackend
{
    private readonly MemoryConsole _inner = new();
    private bool _accepts = true;

    public event Action? InputAvailable
    {
        add => _inner.InputAvailable += value;
        remove => _inner.InputAvailable -= value;
    }

    public event Action? OutputDrained;

    public bool CanAcceptOutput => _accepts;

    public bool Accepts
    {
        set
        {
            _accepts = value;
            if (value)
                OutputDrained?.Invoke();
        }
    }

    public string Text => _inner.Text;

    public byte[] Output => _inner.OutputBytes();

    public void Send(string text) => _inner.Send(text);

    public int Read(Span<byte> buffer) => _inner.Read(buffer);

    public void Write(ReadOnlySpan<byte> data) => _inner.Write(data);
}
