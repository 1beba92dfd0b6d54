using Doppel.Host.Memory;
using Doppel.Machine.Memory;

namespace Doppel.Engines.Translator;

/// <summary>
/// Where guest-physical addresses lead, for emitted look-ups: one word for each hash of an address and a variant of
/// translation. The upper half of a word is minus the upper part of its <see cref="Key"/>, the lower half the offset of
/// the code; that the index is made of the lower and the upper part of the key makes the comparison complete. Zero is no
/// entry.
/// </summary>
/// <remarks>Words are written under the lock of <see cref="TranslationCache"/> and read by emitted code without it, whole.</remarks>
internal sealed unsafe class BlockTable : IDisposable
{
    /// <summary>Bits of an index.</summary>
    internal const int IndexBits = 15;

    /// <summary>What cuts an index out.</summary>
    internal const ulong IndexMask = (1UL << IndexBits) - 1;

    /// <summary>Where the variant is in a key: guest-physical addresses have 36 bits (<see cref="GuestMemory.MaximumAddressSpace"/>).</summary>
    internal const int VariantShift = 36;

    // Above all variants, so that no key's upper part is zero.
    private const ulong VariantMark = 0x200;

    private readonly AnonymousMemory _memory = new((IndexMask + 1) * sizeof(ulong));

    /// <summary>The words.</summary>
    internal ulong* Words => (ulong*)_memory.Base;

    /// <summary>What stands for a variant in a key.</summary>
    internal static ulong Count(TranslationVariant variant) => (ulong)variant | VariantMark;

    /// <summary>The key of a block.</summary>
    internal static ulong Key(ulong physical, TranslationVariant variant) => physical | (Count(variant) << VariantShift);

    /// <summary>The offset of a block's code; 0 when the table does not know it.</summary>
    internal uint Find(ulong key)
    {
        ulong word = Volatile.Read(ref Words[Index(key)]);
        return (uint)(word >> 32) + (uint)(key >> IndexBits) == 0 ? (uint)word : 0;
    }

    /// <summary>Enters a block in place of whatever has its index.</summary>
    internal void Set(ulong key, uint offset) => Volatile.Write(ref Words[Index(key)], ((ulong)(0 - (uint)(key >> IndexBits)) << 32) | offset);

    /// <summary>Forgets a block.</summary>
    internal void Remove(ulong key)
    {
        if (Find(key) != 0)
            Volatile.Write(ref Words[Index(key)], 0);
    }

    public void Dispose() => _memory.Dispose();

    private static ulong Index(ulong key) => (key + (key >> IndexBits)) & IndexMask;
}
