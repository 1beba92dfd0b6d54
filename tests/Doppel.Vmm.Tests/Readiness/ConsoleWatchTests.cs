using System.Text;
using Doppel.Devices.Console;
using Doppel.Vmm.Readiness;

namespace Doppel.Vmm.Tests.Readiness;

public sealed class ConsoleWatchTests
{
    [Theory]
    [InlineData("debian login: ")]
    [InlineData("root@doppel:~# ")]
    [InlineData("/ # ")]
    [InlineData("# ")]
    [InlineData("$ ")]
    [InlineData("[root@localhost ~]# ")]
    [InlineData("sh-5.2$ ")]
    [InlineData("\u001b[0m\u001b[1;32mroot@doppel\u001b[0m:~# ")]
    public void A_prompt_says_that_the_guest_has_booted(string prompt)
    {
        ReadinessLog log = Show($"[    0.000000] Linux version\r\nWelcome\r\n{prompt}", expectsSetUp: false);
        Assert.NotNull(log.Now.Booted);
        Assert.Equal(log.Now.Booted!.Value, log.Now.SetUp!.Value, TimeSpan.FromMinutes(1));
        Assert.Null(log.Now.NetworkUp);
    }

    [Theory]
    [InlineData("[    0.123456] a comment # ")]
    [InlineData("Last login: ")]
    [InlineData("(initramfs) ")]
    [InlineData("grub> ")]
    [InlineData("Price: 5 $ ")]
    [InlineData("Starting unit user@0.service: # ")]
    public void Other_text_does_not(string text) => Assert.Null(Show(text, expectsSetUp: false).Now.Booted);

    [Fact]
    public void Where_cloud_init_works_it_says_itself_that_it_is_done()
    {
        const string Begun = "[    4.1] cloud-init[312]: Cloud-init v. 22.4.2 running 'init-local' at Sun, 22 Nov 2026 01:00:00 +0000. Up 4.10 seconds.\r\n";
        const string Done = "[   12.0] cloud-init[700]: Cloud-init v. 22.4.2 finished at Sun, 22 Nov 2026 01:00:08 +0000. Datasource DataSourceNoCloud.  Up 12.00 seconds\r\n";
        foreach (string before in (string[])["", Begun])
        {
            ReadinessLog log = Show(before + "debian login: ", expectsSetUp: before.Length == 0);
            Assert.NotNull(log.Now.Booted);
            Assert.Null(log.Now.SetUp);
            Assert.True(log.Now.IsSettingUp);
            log = Show(before + "debian login: \r\n" + Done, expectsSetUp: true);
            Assert.NotNull(log.Now.SetUp);
            Assert.False(log.Now.IsSettingUp);
        }
    }

    [Fact]
    public async Task Whoever_waits_is_told_of_each_change_and_a_reset_begins_anew()
    {
        var log = new ReadinessLog(expectsSetUp: false);
        long known = log.Now.Sequence;
        Task<GuestReadiness> next = log.WaitAsync(known, CancellationToken.None);
        Assert.False(next.IsCompleted);
        log.Address(System.Net.IPAddress.Parse("10.0.2.15"));
        GuestReadiness now = await next;
        Assert.Equal("10.0.2.15", now.Address);
        log.Boot();
        Assert.NotNull((await log.WaitAsync(now.Sequence, CancellationToken.None)).Booted);
        log.Begin();
        Assert.Null(log.Now.Booted);
        Assert.Null(log.Now.Address);
        Assert.True(log.Now.Sequence > now.Sequence);
    }

    [Theory]
    [InlineData("doppel.seed", true)]
    [InlineData("quiet doppel.seed cloud-init=disabled", false)]
    [InlineData("console=ttyS0", false)]
    public void The_command_line_says_whether_cloud_init_is_to_work(string commandLine, bool expects) => Assert.Equal(expects, ReadinessLog.ExpectsSetUp(commandLine));

    // Byte by byte, as a serial port gives it.
    private static ReadinessLog Show(string text, bool expectsSetUp)
    {
        var log = new ReadinessLog(expectsSetUp);
        var memory = new MemoryConsole();
        var watch = new ConsoleWatch(memory, log);
        foreach (byte each in Encoding.UTF8.GetBytes(text))
            watch.Write([each]);
        Assert.Equal(text, memory.Text);
        return log;
    }
}
