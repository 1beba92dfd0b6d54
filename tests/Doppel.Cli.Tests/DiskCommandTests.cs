using System.Diagnostics;
using System.Text.Json;

namespace Doppel.Cli.Tests;

public sealed class DiskCommandTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-disk-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void An_overlay_is_made_shown_committed_and_rebased()
    {
        string below = At("base.qcow2"), overlay = At("vm.qcow2");
        Works("disk", "create", below, "64M");
        Works("disk", "create", overlay, "--backing", below, "--cluster-size", "4K");
        JsonElement[] chain = [.. JsonDocument.Parse(Works("disk", "info", "--chain", "--json", overlay)).RootElement.EnumerateArray()];
        Assert.Equal([(4096, below), (65536, null)], chain.Select(i => (i.GetProperty("clusterSize").GetInt32(), i.TryGetProperty("backing", out JsonElement b) ? b.GetString() : null)));
        Works("disk", "resize", overlay, "+64M");
        Works("disk", "commit", overlay);
        Works("disk", "rebase", overlay, "--no-backing");
        JsonElement alone = JsonDocument.Parse(Works("disk", "info", "--json", overlay)).RootElement;
        Assert.Equal(128ul << 20, alone.GetProperty("length").GetUInt64());
        Assert.False(alone.TryGetProperty("backing", out _));
        Assert.Contains("no error", Works("disk", "check", overlay), StringComparison.Ordinal);
    }

    [Fact]
    public void A_backing_image_is_named_relative_to_the_overlay()
    {
        _ = Directory.CreateDirectory(At("images"));
        Works("disk", "create", At("images/base.raw"), "1M");
        string relative = Path.GetRelativePath(Directory.GetCurrentDirectory(), At("images/base.raw"));
        Works("disk", "create", At("vm.qcow2"), "--backing", relative);
        JsonElement image = JsonDocument.Parse(Works("disk", "info", "--json", At("vm.qcow2"))).RootElement;
        Assert.Equal(("images/base.raw", "raw"), (image.GetProperty("backing").GetString(), image.GetProperty("backingFormat").GetString()));
    }

    [Theory]
    [InlineData("raw")]
    [InlineData("qcow2")]
    [InlineData("qcow2", "--compress")]
    [InlineData("qcow2", "--compress", "--compression", "zstd", "--cluster-size", "8K")]
    public void Disks_are_converted_there_and_back(string format, params string[] options)
    {
        byte[] disk = new byte[3 << 20];
        new Random(7).NextBytes(disk.AsSpan(0, 500_000));
        disk.AsSpan(1 << 20, 1 << 20).Fill(77);
        File.WriteAllBytes(At("disk.raw"), disk);
        CommandResult result = Command.Run(["disk", "convert", At("disk.raw"), At("copy"), "--format", format, .. options]);
        Assert.Equal((0, ""), (result.ExitCode, result.Output));
        Assert.Contains("copying", result.Errors, StringComparison.Ordinal);
        Works("disk", "convert", At("copy"), At("back.raw"));
        Assert.Equal(disk, File.ReadAllBytes(At("back.raw")));
        using Process qemu = Process.Start("qemu-img", ["compare", "-f", "raw", "-F", format, At("disk.raw"), At("copy")]);
        qemu.WaitForExit();
        Assert.Equal(0, qemu.ExitCode);
    }

    [Fact]
    public void Snapshots_are_made_listed_copied_applied_and_deleted()
    {
        string image = At("disk.qcow2");
        Works("disk", "create", image, "1M");
        Works("disk", "snapshot", "create", image, "empty");
        Assert.Contains("empty", Works("disk", "snapshot", "ls", image), StringComparison.Ordinal);
        Assert.Equal("empty", JsonDocument.Parse(Works("disk", "snapshot", "ls", "--json", image)).RootElement[0].GetProperty("name").GetString());
        Works("disk", "resize", image, "2M");
        Works("disk", "convert", "--snapshot", "empty", image, At("old.raw"));
        Assert.Equal(1 << 20, new FileInfo(At("old.raw")).Length);
        Works("disk", "snapshot", "apply", image, "empty");
        Works("disk", "snapshot", "rm", image, "empty");
        Assert.Equal("[]\n", Works("disk", "snapshot", "ls", "--json", image));
        Works("disk", "check", image);
    }

    [Fact]
    public void A_check_tells_errors_from_leaks_and_repairs_both()
    {
        string image = At("disk.qcow2");
        Works("disk", "create", image, "1M");
        // The first refcount block is the third cluster; cluster 9 is nobody's.
        using (FileStream file = File.OpenWrite(image))
        {
            file.Position = (2 * 65536) + 19;
            file.WriteByte(1);
        }

        CommandResult leak = Command.Run(["disk", "check", image]);
        Assert.Equal(ExitCode.DiskLeak, leak.ExitCode);
        using (FileStream file = File.OpenWrite(image))
        {
            file.Position = (2 * 65536) + 1;
            file.WriteByte(0);
        }

        CommandResult damage = Command.Run(["disk", "check", "--json", image]);
        Assert.Equal(ExitCode.DiskDamage, damage.ExitCode);
        Assert.Equal((1, 1), (JsonDocument.Parse(damage.Output).RootElement.GetProperty("errorCount").GetInt32(), JsonDocument.Parse(damage.Output).RootElement.GetProperty("leaks").GetInt32()));
        Works("disk", "check", "--repair", image);
        Works("disk", "check", image);
    }

    [Fact]
    public void Help_ends_with_examples()
    {
        CommandResult help = Command.Run(["disk", "create", "--help"]);
        Assert.Equal((0, ""), (help.ExitCode, help.Errors));
        Assert.Contains("Examples:\n  doppel disk create disk.qcow2 20G\n", help.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(ExitCode.Usage, "create x.raw", "x.raw: a new image needs a size")]
    [InlineData(ExitCode.Usage, "create x.raw much", "much: a size such as 20G")]
    [InlineData(ExitCode.Usage, "create x 1G --format zip", "--format zip: raw, qcow2")]
    [InlineData(ExitCode.Usage, "rebase x", "--backing FILE or --no-backing")]
    [InlineData(ExitCode.Usage, "convert a b.raw --compress", "--compress: images of the format raw")]
    [InlineData(ExitCode.Usage, "convert a b --compression lzma", "--compression lzma: deflate or zstd")]
    [InlineData(ExitCode.Input, "info missing", "missing: there is no such file")]
    [InlineData(ExitCode.Input, "create /proc/1/none/x 1G", "/proc/1/none/x: there is no such directory")]
    [InlineData(ExitCode.Input, "create x 1G --cluster-size 1000", "x: clusters of 1000 bytes")]
    [InlineData(ExitCode.Input, "create x 1G --qcow2-version 2 --compression zstd", "need version 3")]
    [InlineData(ExitCode.Input, "create x.raw 1G --cluster-size 4K", "qcow2 has")]
    public void What_is_wrong_is_named(int code, string line, string expected)
    {
        CommandResult result = Command.Run(["disk", .. line.Split(' ')]);
        Assert.Contains(expected, result.ErrorLine, StringComparison.Ordinal);
        Assert.Equal((code, ""), (result.ExitCode, result.Output));
    }

    private string At(string name) => Path.Combine(_directory, name);

    private static string Works(params string[] arguments)
    {
        CommandResult result = Command.Run(arguments);
        Assert.True(result.ExitCode == 0, $"{string.Join(' ', arguments)}: {result.Errors}");
        return result.Output;
    }
}
