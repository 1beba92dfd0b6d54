namespace Doppel.Host.Kvm;

/// <summary>Requests of ioctl(2) on /dev/kvm, on a VM and on a vCPU (linux/kvm.h).</summary>
internal static class KvmRequest
{
    internal const nuint GetApiVersion = 0xAE00;
    internal const nuint CreateVm = 0xAE01;
    internal const nuint CheckExtension = 0xAE03;
    internal const nuint GetRunSize = 0xAE04;
    internal const nuint GetSupportedCpuid = 0xC008AE05;

    internal const nuint CreateVcpu = 0xAE41;
    internal const nuint GetDirtyLog = 0x4010AE42;
    internal const nuint SetMemoryRegion = 0x4020AE46;
    internal const nuint SetTssAddress = 0xAE47;
    internal const nuint SetIdentityMapAddress = 0x4008AE48;
    internal const nuint SetRouting = 0x4008AE6A;
    internal const nuint SignalMessage = 0x4020AEA5;
    internal const nuint IoEventFd = 0x4040AE79;
    internal const nuint EnableCapability = 0x4068AEA3;
    internal const nuint SetMsrFilter = 0x4188AEC6;

    internal const nuint Run = 0xAE80;
    internal const nuint GetRegisters = 0x8090AE81;
    internal const nuint SetRegisters = 0x4090AE82;
    internal const nuint Interrupt = 0x4004AE86;
    internal const nuint GetMsrs = 0xC008AE88;
    internal const nuint SetMsrs = 0x4008AE89;
    internal const nuint GetLocalApic = 0x8400AE8E;
    internal const nuint SetLocalApic = 0x4400AE8F;
    internal const nuint SetCpuid = 0x4008AE90;
    internal const nuint GetMultiprocessingState = 0x8004AE98;
    internal const nuint SetMultiprocessingState = 0x4004AE99;
    internal const nuint Nmi = 0xAE9A;
    internal const nuint SetGuestDebug = 0x4048AE9B;
    internal const nuint GetEvents = 0x8040AE9F;
    internal const nuint SetEvents = 0x4040AEA0;
    internal const nuint GetDebugRegisters = 0x8080AEA1;
    internal const nuint SetDebugRegisters = 0x4080AEA2;
    internal const nuint SetTscKilohertz = 0xAEA2;
    internal const nuint GetTscKilohertz = 0xAEA3;
    internal const nuint GetXsave = 0x9000AEA4;
    internal const nuint SetXsave = 0x5000AEA5;
    internal const nuint GetXcrs = 0x8188AEA6;
    internal const nuint SetXcrs = 0x4188AEA7;
    internal const nuint GetSystemRegisters = 0x8140AECC;
    internal const nuint SetSystemRegisters = 0x4140AECD;
    internal const nuint GetStatisticsFile = 0xAECE;
    internal const nuint SetAttribute = 0x4018AEE1;
    internal const nuint GetAttribute = 0x4018AEE2;
    internal const nuint HasAttribute = 0x4018AEE3;
}
