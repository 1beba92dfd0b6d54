using Doppel.Host.Kvm;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Kvm;

/// <summary>What a host's KVM can really give to a guest: its own word, less what a trial disproves.</summary>
internal static class KvmHostFeatures
{
    private const ulong X87AndSse = 3;
    private static readonly TimeSpan TrialLimit = TimeSpan.FromSeconds(1);

    /// <summary>
    /// The CPUID that KVM offers. XSAVE is left out where KVM doesn't see the guest's XSETBV: the processor below must hand it
    /// over, as every real one does, but QEMU's TCG of version 7.2 executes it. KVM then puts its own XCR0 back at the next entry,
    /// and the guest faults at the first XRSTOR of what it had enabled ("bad frame in rt_sigreturn" of a Linux).
    /// </summary>
    /// <exception cref="Doppel.Host.HostException">The kernel refuses.</exception>
    internal static KvmCpuidEntry[] Find(KvmDevice device)
    {
        KvmCpuidEntry[] offered = device.GetSupportedCpuid();
        return KvmCpuid.IsSupported(CpuFeature.Xsave, offered) && !SeesXsetbv(device) ? WithoutXsave(offered) : offered;
    }

    /// <summary>The same without XSAVE and all that is reached only by its registers' being enabled.</summary>
    internal static KvmCpuidEntry[] WithoutXsave(IEnumerable<KvmCpuidEntry> entries)
    {
        // XSAVE, OSXSAVE and AVX, FMA, F16C of leaf 1; AVX2 and what begins with AVX-512 of leaf 7; all of leaf 0Dh.
        const uint Leaf1Ecx = (1u << 12) | (1u << 26) | (1u << 27) | (1u << 28) | (1u << 29);
        const uint Leaf7Ebx = (1u << 5) | (1u << 16) | (1u << 17) | (1u << 21) | (1u << 26) | (1u << 27) | (1u << 28) | (1u << 30) | (1u << 31);
        return
        [
            .. entries.Select(entry => entry.Function switch
            {
                1 => entry with { Ecx = entry.Ecx & ~Leaf1Ecx },
                7 when entry.Index == 0 => entry with { Ebx = entry.Ebx & ~Leaf7Ebx },
                0xD => entry with { Eax = 0, Ebx = 0, Ecx = 0, Edx = 0 },
                _ => entry,
            }),
        ];
    }

    private static bool SeesXsetbv(KvmDevice device)
    {
        using var guest = new KvmTrialGuest(
            device,
            code =>
            {
                code.xor(ecx, ecx);
                code.xor(edx, edx);
                code.mov(eax, (uint)X87AndSse);
                code.xsetbv();
                code.hlt();
            },
            Cr4.Osxsave);
        return guest.Run(TrialLimit) && guest.Vcpu.Xcr0 == X87AndSse;
    }
}
