namespace Doppel.Machine.Cpu.System;

/// <summary>Numbers of the model-specific registers that exist here (Intel SDM vol. 4).</summary>
public static class MsrIndex
{
#pragma warning disable CS1591 // The names are those of the manual, without IA32_ and MSR_.
    public const uint Tsc = 0x10;
    public const uint PlatformId = 0x17;
    public const uint ApicBase = 0x1B;
    public const uint PowerOn = 0x2A;
    public const uint FeatureControl = 0x3A;
    public const uint TscAdjust = 0x3B;
    public const uint SpecCtrl = 0x48;
    public const uint PredCmd = 0x49;
    public const uint MicrocodeUpdate = 0x79;
    public const uint MicrocodeRevision = 0x8B;
    public const uint PlatformInfo = 0xCE;
    public const uint MtrrCap = 0xFE;
    public const uint ArchCapabilities = 0x10A;
    public const uint SysenterCs = 0x174;
    public const uint SysenterEsp = 0x175;
    public const uint SysenterEip = 0x176;
    public const uint McgCap = 0x179;
    public const uint McgStatus = 0x17A;
    public const uint PerfStatus = 0x198;
    public const uint MiscEnable = 0x1A0;
    public const uint DebugCtl = 0x1D9;
    public const uint LastBranchFrom = 0x1DB;
    public const uint LastInterruptTo = 0x1DE;
    public const uint MtrrPhysBase0 = 0x200;
    public const uint MtrrPhysMask7 = 0x20F;
    public const uint MtrrFix64K = 0x250;
    public const uint MtrrFix16K80000 = 0x258;
    public const uint MtrrFix16KA0000 = 0x259;
    public const uint MtrrFix4KC0000 = 0x268;
    public const uint MtrrFix4KF8000 = 0x26F;
    public const uint Pat = 0x277;
    public const uint MtrrDefType = 0x2FF;
    public const uint Mc0Ctl = 0x400;
    public const uint Mc3Misc = 0x40F;
    public const uint TscDeadline = 0x6E0;
    public const uint X2ApicFirst = 0x800;
    public const uint X2ApicLast = 0x8FF;
    public const uint Xss = 0xDA0;
    public const uint Efer = 0xC0000080;
    public const uint Star = 0xC0000081;
    public const uint Lstar = 0xC0000082;
    public const uint Cstar = 0xC0000083;
    public const uint SyscallMask = 0xC0000084;
    public const uint FsBase = 0xC0000100;
    public const uint GsBase = 0xC0000101;
    public const uint KernelGsBase = 0xC0000102;
    public const uint TscAux = 0xC0000103;
#pragma warning restore CS1591
}
