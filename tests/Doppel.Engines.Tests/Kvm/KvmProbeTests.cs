using Doppel.Engines.Kvm;
using Doppel.Host.Kvm;
using Doppel.Machine.Cpu.Models;

namespace Doppel.Engines.Tests.Kvm;

public sealed class KvmProbeTests
{
    [Fact]
    public void A_host_without_the_device_is_told_so()
    {
        string? obstacle = KvmProbe.FindObstacle("/nonexistent/kvm");
        Assert.Equal("this host has no /nonexistent/kvm: its kernel has no KVM, or virtualization is switched off in its firmware", obstacle);
    }

    [Fact]
    public void A_user_without_permission_is_told_what_would_be_right()
    {
        // A path that nobody may go through: for root it is another error of the same call.
        string path = Path.GetTempFileName();
        try
        {
            File.SetUnixFileMode(path, UnixFileMode.None);
            string? obstacle = KvmProbe.FindObstacle(path);
            string expected = Environment.IsPrivilegedProcess
                ? $"{path} is no usable KVM: ioctl KVM_GET_API_VERSION of {path}: "
                : $"this user may not use {path}; membership in the group that owns it (often kvm) would be right";
            Assert.StartsWith(expected, obstacle, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData(13)]
    [InlineData(1)]
    public void A_refusal_names_the_group(int errno) => Assert.Equal(
        "this user may not use /dev/kvm; membership in the group that owns it (often kvm) would be right",
        KvmProbe.Explain("/dev/kvm", new Doppel.Host.HostException("open", errno, "/dev/kvm")));

    [Fact]
    public void Another_device_is_no_kvm() => Assert.StartsWith("/dev/null is no usable KVM: ", KvmProbe.FindObstacle("/dev/null"), StringComparison.Ordinal);

    [KvmFact]
    public void A_host_that_only_emulates_is_recognised()
    {
        string? obstacle = KvmProbe.FindObstacle();
        bool hasHardware = File.ReadAllText("/proc/cpuinfo").Split('\n').Any(line => line.StartsWith("flags", StringComparison.Ordinal) && line.Split(' ').Any(flag => flag is "vmx" or "svm"));
        if (hasHardware)
            Assert.Null(obstacle);
        else
            Assert.StartsWith("this host's KVM has no hardware virtualization below it", obstacle, StringComparison.Ordinal);
    }

    [Fact]
    public void Features_that_kvm_lacks_are_named()
    {
        KvmCpuidEntry[] supported =
        [
            .. KvmCpuidTests.AllOnes.Select(entry => entry.Function == 1 ? entry with { Ecx = entry.Ecx & ~(1u << 17) } : entry.Function == 7 && entry.Index == 0 ? entry with { Ebx = entry.Ebx & ~(1u << 10) } : entry),
        ];
        Assert.Equal(["pcid", "invpcid"], KvmCpuid.FindMissing(CpuModels.Version2, supported));
        Assert.Empty(KvmCpuid.FindMissing(CpuModels.Version2Compat, supported));
    }

    [Fact]
    public void Where_xsave_cannot_be_had_only_models_without_it_can()
    {
        KvmCpuidEntry[] supported = KvmHostFeatures.WithoutXsave(KvmCpuidTests.AllOnes);
        Assert.Contains("xsave", KvmCpuid.FindMissing(CpuModels.Version2, supported));
        Assert.Contains("avx2", KvmCpuid.FindMissing(CpuModels.Version3, supported));
        Assert.Empty(KvmCpuid.FindMissing(CpuModels.Version2Compat, supported));
    }
}
