using Doppel.Host.Files;

namespace Doppel.Host.Tests.Files;

public sealed class PrivateDirectoryTests : IDisposable
{
    private const UnixFileMode UserOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private readonly string _parent = Directory.CreateTempSubdirectory("doppel-host-").FullName;

    public void Dispose() => Directory.Delete(_parent, recursive: true);

    [Fact]
    public void Constants_are_those_of_the_c_compiler()
    {
        long[] values = CProgram.Evaluate(["fcntl.h", "sys/stat.h", "sys/types.h"], ["O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "S_IRWXU", "sizeof(uid_t)", "sizeof(mode_t)"]);
        long[] ours = [OpenFlags.ReadOnly, OpenFlags.Directory, OpenFlags.NoFollow, OpenFlags.CloseOnExec, (long)UserOnly, sizeof(uint), sizeof(uint)];
        Assert.Equal(values, ours);
    }

    [Fact]
    public void A_directory_is_made_or_narrowed_to_its_user()
    {
        string path = Path.Combine(_parent, "new");
        PrivateDirectory.Ensure(path);
        Assert.Equal(UserOnly, File.GetUnixFileMode(path));
        File.SetUnixFileMode(path, UserOnly | UnixFileMode.OtherExecute | UnixFileMode.GroupRead);
        PrivateDirectory.Ensure(path);
        Assert.Equal(UserOnly, File.GetUnixFileMode(path));
    }

    [Fact]
    public void A_symbolic_link_or_a_file_in_its_place_is_refused()
    {
        string target = Path.Combine(_parent, "target"), link = Path.Combine(_parent, "link"), file = Path.Combine(_parent, "file");
        _ = Directory.CreateDirectory(target);
        UnixFileMode mode = File.GetUnixFileMode(target);
        _ = File.CreateSymbolicLink(link, target);
        File.WriteAllText(file, "");
        foreach (string path in (string[])[link, file])
            Assert.Contains(path, Assert.Throws<HostException>(() => PrivateDirectory.Ensure(path)).Message, StringComparison.Ordinal);

        Assert.Equal(mode, File.GetUnixFileMode(target));
    }
}
