namespace Doppel.Cli.Tests;

public sealed class BadInputTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-cli-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData("frob", "'frob'")]
    [InlineData("run --bogus", "'--bogus'")]
    [InlineData("run --memory 0", "--memory 0 bytes: 1 MiB to 63 GiB would be right")]
    [InlineData("run --memory 64G --overcommit", "--memory 64 GiB: 1 MiB to 63 GiB would be right")]
    [InlineData("run --memory lots", "--memory lots: a size such as 512M or 2G would be right")]
    [InlineData("run --engine warp", "--engine warp: there is no such engine; interpreter")]
    [InlineData("run --cpu z80", "--cpu z80:")]
    [InlineData("run --serial socket", "--serial socket: stdio, file:PATH, pty or none would be right")]
    [InlineData("run --serial stdio --serial stdio", "--serial stdio is given more than once: one serial port on the terminal would be right")]
    [InlineData("run --serial none --serial none --serial pty --serial pty --serial pty", "--serial is given 5 times: at most 4 serial ports would be right")]
    [InlineData("run --clock sun", "--clock sun: host or instructions would be right")]
    [InlineData("run --trace colours", "--trace colours: instructions, exceptions, interrupts, ports, mmio, translation or all would be right")]
    [InlineData("run --trace-file x", "--trace-file needs --trace KINDS")]
    [InlineData("run --initrd x", "--initrd needs --kernel FILE")]
    [InlineData("run --memory 5M --memory 6M", "--memory")]
    [InlineData("run --disk a.img,rw", "--disk a.img,rw: rw: FILE[,ro]")]
    [InlineData("run --disk ,ro", "--disk ,ro: FILE[,ro]")]
    [InlineData("run --firmware coreboot", "--firmware coreboot: bios, uefi or none would be right")]
    [InlineData("run --boot disk,tape", "--boot disk,tape: tape: disk, cd, floppy and net")]
    [InlineData("run --boot disk,disk", "--boot disk,disk: disk: disk, cd, floppy and net")]
    [InlineData("run --firmware none --boot disk", "--boot is for a machine with firmware")]
    [InlineData("run --firmware uefi --bios rom", "--bios is for a BIOS")]
    [InlineData("run --net bridge", "--net bridge: user|tap=NAME|switch=NAME[,model=virtio|e1000|rtl8139|ne2k][,mac=ADDRESS][,mtu=N][,queues=N][,boot=FILE][,bps=SIZE], or none, would be right")]
    [InlineData("run --net user,mtu=5", "--net user,mtu=5: mtu=5: user|tap=NAME")]
    [InlineData("run --net none --net user", "--net none: user|tap=NAME")]
    [InlineData("run --net none -p 80:80", "-p 80:80 needs --net user, not --net none")]
    [InlineData("run --net switch=lan -p 80:80", "-p 80:80 needs --net user")]
    [InlineData("run -p 80", "-p 80: [HOSTIP:]HOSTPORT:GUESTPORT[/tcp|/udp] would be right")]
    [InlineData("run --net user --clock instructions", "--net user: --clock instructions")]
    [InlineData("image pull beos", "'beos'")]
    [InlineData("image build beos", "'beos'")]
    [InlineData("image build debian --size big", "--size big")]
    [InlineData("image build debian --size 1M", "--size 1048576")]
    [InlineData("image build debian --unsigned", "--mirror URL")]
    [InlineData("run beos", "there is no image \"beos\"")]
    [InlineData("run debian --kernel vmlinuz", "--kernel would be right")]
    [InlineData("run --kernel vmlinuz --user anna", "--user")]
    [InlineData("run debian --user Anna", "--user \"Anna\"")]
    [InlineData("run debian --hostname -x-", "--hostname \"-x-\"")]
    [InlineData("run debian --ssh-key /nonexistent.pub", "--ssh-key /nonexistent.pub")]
    [InlineData("run debian --cloud-init /dev/null", "--cloud-init /dev/null")]
    [InlineData("image pull busybox --mirror nonsense", "--mirror nonsense")]
    [InlineData("image pull busybox --suite sid", "--mirror URL")]
    [InlineData("cpu show z80", "z80")]
    [InlineData("completion tcsh", "'tcsh'")]
    public void A_wrong_word_option_or_value_gets_one_line_that_names_it_and_exit_code_2(string line, string expected)
    {
        CommandResult result = Command.Run(line.Split(' '));
        Assert.StartsWith("doppel: ", result.ErrorLine, StringComparison.Ordinal);
        Assert.Contains(expected, result.ErrorLine, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Usage, result.ExitCode);
        Assert.Empty(result.Output);
    }

    [Fact]
    public void More_memory_than_the_host_has_is_refused_with_what_it_has()
    {
        long host = long.Parse(File.ReadLines("/proc/meminfo").First().Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], System.Globalization.CultureInfo.InvariantCulture) >> 20;
        if (host >= 62)
            host = 62;
        CommandResult result = Command.Run(["run", "--memory", $"{host + 1}G"]);
        Assert.Contains("the host has", result.ErrorLine, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Usage, result.ExitCode);
    }

    [Fact]
    public void A_missing_kernel_a_text_file_and_a_truncated_kernel_get_one_line_and_exit_code_4()
    {
        string missing = Path.Combine(_directory, "missing");
        AssertInput($"{missing}: the kernel does not exist", "--kernel", missing);
        string text = Write("text", "hello, world"u8.ToArray());
        AssertInput($"{text}: not a kernel", "--kernel", text);
        byte[] header = new byte[2048];
        header[0x1FE] = 0x55;
        header[0x1FF] = 0xAA;
        header[0x1F6] = 1;
        header[0x201] = 0x6A;
        "HdrS\x0F\x02"u8.CopyTo(header.AsSpan(0x202));
        header[0x211] = 1;
        string truncated = Write("truncated", header);
        AssertInput($"{truncated}: truncated: the kernel needs", "--kernel", truncated);
    }

    [Fact]
    public void An_initial_RAM_disk_that_is_too_large_for_the_memory_gets_one_line_and_exit_code_4()
    {
        string kernel = Write("kernel", TinyGuest.Create("", TinyGuest.PowerOff));
        string initrd = Write("initrd", new byte[4 << 20]);
        AssertInput($"{initrd}: the module of 4 MiB doesn't fit", "--kernel", kernel, "--initrd", initrd, "--memory", "2M");
    }

    [Fact]
    public void An_image_that_is_not_there_gets_one_line_and_exit_code_8()
    {
        CommandResult result = Command.Run(["image", "rm", "nope"], cache: _directory);
        Assert.Contains("there is no image \"nope\"", result.ErrorLine, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Image, result.ExitCode);
    }

    [Fact]
    public void A_mirror_that_is_not_there_gets_one_line_and_exit_code_8()
    {
        CommandResult result = Command.Run(["image", "pull", "busybox", "--mirror", $"file://{_directory}/nowhere"], cache: _directory);
        Assert.Contains($"{_directory}/nowhere", result.Errors, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Image, result.ExitCode);
    }

    [Fact]
    public void A_serial_file_that_can_not_be_written_gets_one_line_and_exit_code_6()
    {
        string kernel = Write("kernel", TinyGuest.Create("", TinyGuest.PowerOff));
        CommandResult result = Command.Run(["run", "--kernel", kernel, "--serial", $"file:{_directory}/no/file"]);
        Assert.Contains("--serial", result.ErrorLine, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Host, result.ExitCode);
    }

    private void AssertInput(string expected, params string[] arguments)
    {
        CommandResult result = Command.Run(["run", .. arguments]);
        Assert.StartsWith("doppel: " + expected, result.ErrorLine, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Input, result.ExitCode);
        Assert.Empty(result.Output);
    }

    private string Write(string name, byte[] content)
    {
        string path = Path.Combine(_directory, name);
        File.WriteAllBytes(path, content);
        return path;
    }
}
