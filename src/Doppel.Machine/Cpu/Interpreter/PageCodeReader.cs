using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>Feeds Iced's decoder from host memory.</summary>
internal sealed unsafe class PageCodeReader : CodeReader
{
    private byte* _next;
    private byte* _end;

    /// <summary>Bytes left to read.</summary>
    internal int Remaining => (int)(_end - _next);

    /// <summary>Sets the bytes to read.</summary>
    internal void Set(byte* start, int length)
    {
        _next = start;
        _end = start + length;
    }

    public override int ReadByte() => _next < _end ? *_next++ : -1;
}
