using Doppel.Host.Kvm;

namespace Doppel.Host.Tests.Kvm;

public sealed class KvmStatisticsFileTests
{
    [Fact]
    public void The_kernel_names_what_it_counts()
    {
        if (TryOpen() is not KvmDevice device)
            return;
        using (device)
        {
            if (device.Check(KvmCapability.StatisticsFile) == 0)
                return;
            using KvmVm vm = device.CreateVm();
            using KvmStatisticsFile counts = vm.OpenStatistics();
            Assert.Contains("pages_4k", counts.Names);
            Assert.Equal(0UL, counts.Read("pages_4k"));
            Assert.Equal(0UL, counts.Read("no such name"));
        }
    }

    private static KvmDevice? TryOpen()
    {
        try
        {
            return new KvmDevice();
        }
        catch (HostException)
        {
            return null;
        }
    }
}
