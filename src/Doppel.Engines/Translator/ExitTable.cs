using System.Runtime.InteropServices;
using Doppel.Host.Memory;

namespace Doppel.Engines.Translator;

/// <summary>
/// All exits by number, and beside them an array that emitted code reads: for exit n, at n * 4, the offset in its page
/// (bits 0 to 15) and the instructions that were counted too early (bits 16 to 31). Exit 0 is that of a branch whose target
/// was not found.
/// </summary>
/// <remarks>Written under the lock of <see cref="TranslationCache"/>; an exit is read by vCPUs that have come by it.</remarks>
internal sealed unsafe class ExitTable : IDisposable
{
    /// <summary>Where the second field of the array begins.</summary>
    internal const int NotRetiredShift = 16;

    /// <summary>An exit takes at least so many bytes of the code cache.</summary>
    internal const int BytesPerExit = 10;

    /// <summary>Bytes of a record.</summary>
    internal const int RecordBytes = 8;

    /// <summary>Where in a record the sizes are, 2 bytes: that of the access in the lower <see cref="SizeBits"/> bits, that of its check above.</summary>
    internal const int SizesOffset = 6;

    /// <summary>Bits of the size of an access.</summary>
    internal const int SizeBits = 10;

    private readonly AnonymousMemory _offsets;
    private readonly AnonymousMemory _records;
    private readonly ExecutableMemory _code;

    /// <summary>Creates a table with exit 0.</summary>
    /// <param name="code">The code cache.</param>
    internal ExitTable(ExecutableMemory code)
    {
        _code = code;
        ulong capacity = (code.Length / BytesPerExit) + 1;
        _offsets = new AnonymousMemory(capacity * sizeof(uint));
        _records = new AnonymousMemory(capacity * (ulong)sizeof(Packed));
        Add(new ExitRecord { Kind = ExitKind.Indirect });
    }

    /// <summary>The array.</summary>
    internal uint* Offsets => (uint*)_offsets.Base;

    /// <summary>What else is known of exits, <see cref="RecordBytes"/> each; the sizes of an access and of its check at <see cref="SizesOffset"/>.</summary>
    internal byte* RecordBase => _records.Base;

    /// <summary>Number of the next exit.</summary>
    internal int Next { get; set; }

    /// <summary>An exit by number.</summary>
    internal ExitRecord this[int number]
    {
        get
        {
            uint offsets = Offsets[number];
            ref readonly Packed packed = ref Records[number];
            return new ExitRecord
            {
                Kind = packed.Kind,
                PageOffset = (ushort)offsets,
                NotRetired = (int)(offsets >> NotRetiredShift),
                IsInShadow = (packed.Flags & Flags.InShadow) != 0,
                IsWrite = (packed.Flags & Flags.Write) != 0,
                IsGrouped = (packed.Flags & Flags.Grouped) != 0,
                IsUngrouped = (packed.Flags & Flags.Ungrouped) != 0,
                Size = packed.Sizes & ((1 << SizeBits) - 1),
                CheckBytes = packed.Sizes >> SizeBits,
                Retry = packed.Kind == ExitKind.TlbMiss ? (nint)(_code.Executable + packed.Place) : 0,
                PatchSite = packed.Kind == ExitKind.Branch ? (nint)(_code.Writable + packed.Place) : 0,
            };
        }
    }

    private Packed* Records => (Packed*)_records.Base;

    /// <summary>Numbers an exit.</summary>
    internal void Add(in ExitRecord record)
    {
        Offsets[Next] = (uint)record.PageOffset | ((uint)record.NotRetired << NotRetiredShift);
        Records[Next] = new Packed
        {
            Kind = record.Kind,
            Flags = (record.IsInShadow ? Flags.InShadow : 0) | (record.IsWrite ? Flags.Write : 0) | (record.IsUngrouped ? Flags.Ungrouped : 0) | (record.IsGrouped ? Flags.Grouped : 0),
            Sizes = checked((ushort)(record.Size | (record.CheckBytes << SizeBits))),
            Place = record.Kind switch
            {
                ExitKind.TlbMiss => (uint)(record.Retry - (nint)_code.Executable),
                ExitKind.Branch => (uint)(record.PatchSite - (nint)_code.Writable),
                _ => 0,
            },
        };
        Next++;
    }

    public void Dispose()
    {
        _offsets.Dispose();
        _records.Dispose();
    }

    [Flags]
    private enum Flags : byte
    {
        InShadow = 1,
        Write = 2,
        Ungrouped = 4,
        Grouped = 8,
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Packed
    {
        // Offset in the code of where to go on after a miss, or of a branch's displacement.
        internal uint Place;
        internal ExitKind Kind;
        internal Flags Flags;
        internal ushort Sizes;
    }
}
