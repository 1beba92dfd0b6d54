namespace Doppel.Vmm.Comparison;

/// <summary>
/// One operation of an operating system that techniques of virtualization pay for differently: the nanobenchmarks of Adams and
/// Agesen, "A Comparison of Software and Hardware Techniques for x86 Virtualization" (2006).
/// </summary>
public enum Nanobenchmark
{
    /// <summary>A turn of an empty loop, which is taken off from the others.</summary>
    Loop,

    /// <summary>SYSCALL from privilege 3 to a handler that returns at once.</summary>
    Syscall,

    /// <summary>IN from a port at which nothing is.</summary>
    In,

    /// <summary>MOV to CR8.</summary>
    Cr8Write,

    /// <summary>An indirect call of a function that returns at once.</summary>
    CallReturn,

    /// <summary>A page fault whose handler goes on behind the access.</summary>
    PageFault,

    /// <summary>A division by zero whose handler goes on behind the instruction.</summary>
    DivideByZero,

    /// <summary>A change of a page table's entry, INVLPG, and an access through it.</summary>
    PageTableModification,
}
