namespace Doppel.Machine.Bus;

/// <summary>
/// A range of ports or of memory-mapped addresses that a device answers. Offsets are relative to the range's start.
/// Calls are serialised by the bus's lock, which device timers and back ends take too (see <see cref="IoBus.Lock"/>).
/// </summary>
public interface IIoRegion
{
    /// <summary>Name for traces and errors, for example "pit".</summary>
    string Name { get; }

    /// <summary>Reads <paramref name="size"/> bytes (1, 2, 4 or 8), zero-extended. An unknown register reads as hardware would: usually all ones or zero.</summary>
    ulong Read(ulong offset, int size);

    /// <summary>Writes <paramref name="size"/> bytes (1, 2, 4 or 8). Never throws for anything that a guest can write.</summary>
    void Write(ulong offset, int size, ulong value);
}
