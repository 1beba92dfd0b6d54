namespace Doppel.Engines.Kvm;

/// <summary>Entries of the tables by which the kernel shows memory to a guest (nested or shadow page tables), by the size of their pages.</summary>
/// <param name="Of4KiB">Pages of 4 KiB.</param>
/// <param name="Of2MiB">Pages of 2 MiB.</param>
/// <param name="Of1GiB">Pages of 1 GiB.</param>
public sealed record KvmMappedPages(ulong Of4KiB, ulong Of2MiB, ulong Of1GiB);
