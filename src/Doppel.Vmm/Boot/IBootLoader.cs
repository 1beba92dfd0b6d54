using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Boot;

/// <summary>A kernel image whose format is known and whose headers were checked.</summary>
public interface IBootLoader
{
    /// <summary>The format in words, for example "Linux bzImage 2.15".</summary>
    string Format { get; }

    /// <summary>Copies the kernel and what it needs into RAM. May be called again for the next boot.</summary>
    /// <returns>The state in which the bootstrap processor starts.</returns>
    /// <exception cref="BootException">It doesn't fit, or a part of the file is missing.</exception>
    CpuEntry Load(GuestMemory memory, BootRequest request);
}
