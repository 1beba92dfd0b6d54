using System.Text;
using Doppel.Vmm;
using Doppel.Vmm.Machines;
using Doppel.Vmm.Seeds;

namespace Doppel.Guests;

/// <summary>The whole system: Debian 12 with systemd, as "doppel image build debian" makes it and "doppel run debian" boots it.</summary>
[Collection("System")]
[Trait("Category", "Slow")]
public sealed class SystemTests(SystemImage system)
{
    private const string Key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDd0tnAmH5M6bd+w7dKAaRCURruW/+bCkQ75GKkb76ZD anna's key";

    [Fact]
    public async Task It_boots_to_a_login_with_nothing_failed_and_its_power_button_shuts_it_down()
    {
        await using SystemGuest guest = await SystemGuest.BootAsync(system.NewMachine(), new GuestSettings { HostName = "one" });
        Assert.Equal("running", await guest.RunAsync("systemctl is-system-running --wait"));
        Assert.Equal("", await guest.RunAsync("systemctl --failed --no-legend --plain"));
        Assert.Equal("12", (await guest.RunAsync("cut -d. -f1 /etc/debian_version")).Trim());
        await guest.ShutDownAsync();
    }

    [Fact]
    public async Task Files_survive_a_reboot_and_the_next_run()
    {
        KeptMachine machine = system.NewMachine();
        var settings = new GuestSettings { HostName = "two" };
        await using (SystemGuest guest = await SystemGuest.BootAsync(machine, settings))
        {
            _ = await guest.RunAsync("head -c 20000000 /dev/urandom >/root/file; sha256sum /root/file >/root/sum; cat /etc/machine-id >/root/id");
            guest.Machine.Console.WriteLine("reboot");
            await guest.LogInAsync("two");
            Assert.Equal(1, guest.Machine.RebootCount);
            Assert.Equal("/root/file: OK", await guest.RunAsync("sha256sum -c /root/sum"));
            await guest.ShutDownAsync();
        }

        await using SystemGuest next = await SystemGuest.BootAsync(machine, settings);
        Assert.Equal("/root/file: OK", await next.RunAsync("sha256sum -c /root/sum"));
        Assert.Equal("", await next.RunAsync("cmp /etc/machine-id /root/id"));
        // The file system was not mounted anew after a crash.
        Assert.Equal("0", (await next.TryAsync("dmesg | grep -c 'recovery complete'")).Output);
    }

    [Fact]
    public async Task Settings_reach_the_guest_and_may_change()
    {
        KeptMachine machine = system.NewMachine();
        string hostKey;
        await using (SystemGuest guest = await SystemGuest.BootAsync(machine, new GuestSettings { HostName = "three", User = "anna", Keys = [Key] }))
        {
            Assert.Equal(Key, await guest.RunAsync("cat /root/.ssh/authorized_keys"));
            Assert.Equal(Key, await guest.RunAsync("cat /home/anna/.ssh/authorized_keys"));
            Assert.Equal("anna anna 600", await guest.RunAsync("stat -c '%U %G %a' /home/anna/.ssh/authorized_keys"));
            Assert.Equal("root", await guest.RunAsync("su anna -c 'sudo whoami'"));
            Assert.Contains("three", await guest.RunAsync("getent hosts three"), StringComparison.Ordinal);
            hostKey = await guest.RunAsync("cat /etc/ssh/ssh_host_*_key.pub");
            Assert.Equal("disabled", (await guest.TryAsync("cloud-init status | sed 's/status: //'")).Output);
            await guest.ShutDownAsync();
        }

        await using SystemGuest next = await SystemGuest.BootAsync(machine, new GuestSettings { HostName = "four", User = "bert", Keys = [Key] });
        Assert.Equal("four", await next.RunAsync("hostname"));
        Assert.Equal(Key, await next.RunAsync("cat /root/.ssh/authorized_keys"));
        _ = await next.RunAsync("id anna && id bert");
        Assert.Equal(hostKey, await next.RunAsync("cat /etc/ssh/ssh_host_*_key.pub"));
    }

    [Fact]
    public async Task Cloud_init_does_what_its_user_data_says()
    {
        byte[] data = Encoding.UTF8.GetBytes("""
            #cloud-config
            write_files:
              - path: /root/from-cloud-init
                content: hello
            runcmd:
              - [ sh, -c, "echo ran > /root/ran" ]
            """);
        await using SystemGuest guest = await SystemGuest.BootAsync(system.NewMachine(), new GuestSettings { HostName = "five", Keys = [Key], UserData = data });
        Assert.Contains("status: done", await guest.RunAsync("cloud-init status --wait"), StringComparison.Ordinal);
        Assert.Equal("hello", await guest.RunAsync("cat /root/from-cloud-init"));
        // It says so on the console, too.
        for (Vmm.Readiness.GuestReadiness seen = guest.Machine.Readiness; seen.SetUp is null;)
            seen = await guest.Machine.WaitForReadinessAsync(seen.Sequence, CancellationToken.None).WaitAsync(TimeSpan.FromMinutes(1));
        Assert.Equal("ran", await guest.RunAsync("cat /root/ran"));
        Assert.Equal("five", await guest.RunAsync("hostname"));
        Assert.Equal("running", await guest.RunAsync("systemctl is-system-running --wait"));
        _ = await guest.RunAsync("grep -qF \"anna's key\" /root/.ssh/authorized_keys");
    }

    [Fact]
    public async Task Its_root_may_be_a_virtio_disk_with_an_initial_RAM_disk()
    {
        KeptMachine machine = system.NewMachine();
        await using SystemGuest guest = await SystemGuest.BootAsync(machine, new GuestSettings { HostName = "six" }, spec => spec with
        {
            Initrd = machine.InitrdPath,
            Disks = [spec.Disks[0] with { Interface = DiskInterface.Virtio }, .. spec.Disks.Skip(1)],
        });
        Assert.Equal("/dev/vda1", await guest.RunAsync("findmnt -no SOURCE /"));
        await guest.ShutDownAsync();
    }
}

/// <summary>One whole system at a time.</summary>
[CollectionDefinition("System", DisableParallelization = true)]
public sealed class SystemCollection : ICollectionFixture<SystemImage>;
