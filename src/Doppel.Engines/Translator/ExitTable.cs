using Doppel.Host.Memory;

namespace Doppel.Engines.Translator;

/// <summary>
/// All exits by number, and beside them an array that emitted code reads: for exit n, at n * 4, the offset in its page
/// (bits 0 to 15) and the instructions that were counted too early (bits 16 to 31).
/// </summary>
internal sealed unsafe class ExitTable : IDisposable
{
    /// <summary>Where the second field of the array begins.</summary>
    internal const int NotRetiredShift = 16;

    // The smallest exit takes more bytes of the code cache than this.
    private const ulong BytesPerExit = 16;

    private readonly List<ExitRecord> _records = [];
    private readonly AnonymousMemory _offsets;
    private readonly int _capacity;

    /// <summary>Creates an empty table.</summary>
    /// <param name="codeBytes">Size of the code cache.</param>
    internal ExitTable(ulong codeBytes)
    {
        _capacity = (int)(codeBytes / BytesPerExit);
        _offsets = new AnonymousMemory((ulong)_capacity * sizeof(uint));
    }

    /// <summary>The array.</summary>
    internal uint* Offsets => (uint*)_offsets.Base;

    /// <summary>Number of the next exit.</summary>
    internal int Count => _records.Count;

    /// <summary>An exit by number.</summary>
    internal ExitRecord this[int number] => _records[number];

    /// <summary>Numbers an exit.</summary>
    internal void Add(in ExitRecord record)
    {
        if (_records.Count == _capacity)
            throw new InvalidOperationException($"the code cache has more than {_capacity} exits");
        Offsets[_records.Count] = (uint)record.PageOffset | ((uint)record.NotRetired << NotRetiredShift);
        _records.Add(record);
    }

    /// <summary>Forgets all but the first.</summary>
    internal void Reset() => _records.RemoveRange(1, _records.Count - 1);

    public void Dispose() => _offsets.Dispose();
}
