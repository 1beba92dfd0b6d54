using System.Runtime.Intrinsics.X86;

namespace Doppel.Machine.Cpu.Models;

/// <summary>What the CPU that this process runs on can execute.</summary>
public static class HostCpu
{
    /// <summary>True when an unprivileged program can use the feature here, the operating system's part included.</summary>
    public static bool Has(CpuFeature feature)
    {
        if (!X86Base.IsSupported)
            return false;
        CpuFeatureInfo info = CpuFeatureCatalog.Of(feature);
        // The instructions on YMM registers also need the operating system to save them (XCR0), which the runtime has checked.
        bool usesYmm = feature is CpuFeature.Avx or CpuFeature.Avx2 or CpuFeature.Fma or CpuFeature.F16c
            or CpuFeature.Vaes or CpuFeature.Vpclmulqdq or CpuFeature.AvxVnni;
        if (usesYmm && !Avx.IsSupported)
            return false;
        (int maximum, _, _, _) = X86Base.CpuId((int)(info.Leaf & 0x80000000), 0);
        if ((uint)maximum < info.Leaf)
            return false;
        (int eax, int ebx, int ecx, int edx) = X86Base.CpuId((int)info.Leaf, (int)info.Subleaf);
        int register = info.Register switch
        {
            CpuidRegister.Eax => eax,
            CpuidRegister.Ebx => ebx,
            CpuidRegister.Ecx => ecx,
            _ => edx,
        };
        return ((register >> info.Bit) & 1) != 0;
    }
}
