using Doppel.Vmm;
using Doppel.Vmm.Images;
using Doppel.Vmm.Lockstep;

namespace Doppel.Guests;

/// <summary>Debian on two engines at once.</summary>
public sealed class LockstepTests
{
    [Fact]
    [Trait("Category", "Slow")]
    public async Task Debian_boots_to_its_shell_works_and_powers_off_the_same_on_both_engines()
    {
        ImageStore store = ImageStore.ForUser();
        GuestImage image = store.Find(BusyboxImageBuilder.ImageName)
            ?? await new BusyboxImageBuilder(store).BuildAsync(directory => new AptPackageSource(Path.Combine(directory, "apt")), new Progress<ImageProgress>(), CancellationToken.None);
        var run = new LockstepRun(new LockstepOptions
        {
            Spec = MachineSpec.ForImage(image),
            Input =
            [
                "uname -a",
                "cat /proc/cpuinfo /proc/meminfo | sha256sum; ls -laR /dev | tail -5; dmesg | tail -3",
                "i=0; while [ $i -lt 300 ]; do i=$((i+1)); done; echo $i",
                "dd if=/dev/zero of=/tmp/x bs=64k count=64 2>/dev/null; gzip /tmp/x; wc -c /tmp/x.gz; awk 'BEGIN { for (i = 0; i < 500; i++) s += sin(i); print s }'",
                "for i in 1 2 3 4 5 6 7 8; do (echo $i | sed s/./x/ &) ; done; wait; sleep 1",
                "poweroff -f",
            ],
        });
        LockstepResult result = await Task.Run(() => run.Run());
        Assert.True(result.Difference is null, result.Difference?.ToString());
        Assert.Equal("the guest powered off", result.End);
        Assert.Contains("reboot: Power down", result.Console, StringComparison.Ordinal);
    }
}
