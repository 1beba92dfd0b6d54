using System.Text;

namespace Doppel.Vmm.Firmware;

/// <summary>
/// Writes the script by which firmware places tables (QEMU's "etc/table-loader", as SeaBIOS and OVMF read it): which files to
/// load where, which fields to turn from offsets into addresses, and which checksums to compute. Not thread-safe.
/// </summary>
internal sealed class TableLoader
{
    private const int EntryLength = 128, NameLength = 56;
    private readonly TableWriter _entries = new();

    /// <summary>Loads a file into memory.</summary>
    /// <param name="file">Its name.</param>
    /// <param name="alignment">A power of two.</param>
    /// <param name="isLow">True for the BIOS area, where guests search; false for anywhere below 4 GiB.</param>
    internal TableLoader Allocate(string file, int alignment, bool isLow) =>
        Entry(1, t => Name(t, file).U32((uint)alignment).U8(isLow ? 2 : 1));

    /// <summary>Adds the address of a loaded file to a field of another, which holds an offset.</summary>
    internal TableLoader AddPointer(string file, int offset, int size, string target) =>
        Entry(2, t => Name(Name(t, file), target).U32((uint)offset).U8(size));

    /// <summary>Makes the bytes of a range sum up to zero.</summary>
    internal TableLoader AddChecksum(string file, int offset, int start, int length) =>
        Entry(3, t => Name(t, file).U32((uint)offset).U32((uint)start).U32((uint)length));

    /// <summary>Writes the address of a loaded file into a file that the guest may write to.</summary>
    internal TableLoader WritePointer(string file, int offset, int size, string target, int targetOffset) =>
        Entry(4, t => Name(Name(t, file), target).U32((uint)offset).U32((uint)targetOffset).U8(size));

    internal byte[] ToArray() => _entries.ToArray();

    private static TableWriter Name(TableWriter table, string name) => table.Raw(Encoding.ASCII.GetBytes(name)).Zeros(NameLength - name.Length);

    private TableLoader Entry(uint command, Func<TableWriter, TableWriter> fields)
    {
        byte[] entry = fields(new TableWriter().U32(command)).ToArray();
        _ = _entries.Raw(entry).Zeros(EntryLength - entry.Length);
        return this;
    }
}
