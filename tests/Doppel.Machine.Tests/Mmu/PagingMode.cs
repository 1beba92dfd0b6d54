namespace Doppel.Machine.Tests.Mmu;

/// <summary>The paging modes of the architecture (Intel SDM vol. 3, 4.1.1), without 5-level paging.</summary>
public enum PagingMode
{
    /// <summary>32-bit paging, with CR4.PSE.</summary>
    TwoLevel,

    /// <summary>PAE paging.</summary>
    Pae,

    /// <summary>4-level paging.</summary>
    FourLevel,
}
