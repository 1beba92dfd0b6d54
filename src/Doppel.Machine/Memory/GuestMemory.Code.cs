using Doppel.Host.Memory;

namespace Doppel.Machine.Memory;

/// <content>Which pages code was taken from, and which parts of them.</content>
public sealed unsafe partial class GuestMemory
{
    /// <summary>Bytes of a granule: so exactly is it known where code of a page lies.</summary>
    public const int GranuleSize = 16;

    /// <summary>Bytes of a page's bits in <see cref="CodeGranules"/>, one for each granule.</summary>
    public const int GranuleBytes = PageSize / GranuleSize / 8;

    private readonly List<Func<ulong, bool>> _codeHolders = [];
    private readonly AnonymousMemory _codeGranules;

    /// <summary>For each page <see cref="GranuleBytes"/> of bits: in which of its granules lies code that some cache holds, or held while others held some of the page.</summary>
    public byte* CodeGranules => _codeGranules.Base;

    /// <summary>
    /// Notes that a cache has taken code from bytes of a page that is protected for it. A machine with one vCPU may then write
    /// to other granules of the page unseen. The vCPU's thread.
    /// </summary>
    /// <param name="address">First byte.</param>
    /// <param name="length">Bytes, at least 1; what lies beyond the page doesn't count.</param>
    public void MarkCode(ulong address, int length)
    {
        byte* bits = CodeGranules + (address / PageSize * GranuleBytes);
        int first = (int)(address % PageSize), last = Math.Min(first + length, PageSize) - 1;
        for (int granule = first / GranuleSize; granule <= last / GranuleSize; granule++)
            bits[granule >> 3] |= (byte)(1 << (granule & 7));
    }

    /// <summary>Held while <see cref="Memory.PageFlags.Code"/> of a page is set or cleared.</summary>
    internal object CodeLock => _codeHolders;

    /// <summary>Registers a cache of decoded or translated code: the function says whether it holds code of a page. Any thread.</summary>
    public void AddCodeHolder(Func<ulong, bool> holds)
    {
        lock (_codeHolders)
            _codeHolders.Add(holds);
    }

    /// <summary>Removes what <see cref="AddCodeHolder"/> registered.</summary>
    public void RemoveCodeHolder(Func<ulong, bool> holds)
    {
        lock (_codeHolders)
            _codeHolders.Remove(holds);
    }

    /// <summary>
    /// Clears <see cref="Memory.PageFlags.Code"/> of a page unless some cache still holds code of it. A cache registers a
    /// page as held before it protects it, and both are done under one lock, so that the flag cannot be lost between.
    /// </summary>
    public void ReleaseCode(ulong address)
    {
        lock (CodeLock)
        {
            foreach (Func<ulong, bool> holds in _codeHolders)
            {
                if (holds(address))
                    return;
            }

            ClearFlags(address, Memory.PageFlags.Code);
            new Span<byte>(CodeGranules + (address / PageSize * GranuleBytes), GranuleBytes).Clear();
        }
    }
}
