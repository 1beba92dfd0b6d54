using Doppel.Host.Files;
using Doppel.Host.Processes;

namespace Doppel.Host.Tests.Files;

public sealed class FileLockTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-lock-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Constants_match_the_C_headers() =>
        Assert.Equal([FileLockFlags.Exclusive, FileLockFlags.NonBlocking], CProgram.Evaluate(["sys/file.h"], ["LOCK_EX", "LOCK_NB"]));

    [Fact]
    public async Task A_lock_is_one_owners_at_a_time()
    {
        string path = Path.Combine(_directory, "lock");
        FileLock first = FileLock.Take(path);
        Assert.Null(FileLock.TryTake(path));
        Task<FileLock> next = Task.Run(() => FileLock.Take(path));
        Assert.False(next.IsCompleted);
        first.Dispose();
        using FileLock second = await next;
        Assert.Null(FileLock.TryTake(path));
        Assert.Throws<HostException>(() => FileLock.Take(Path.Combine(_directory, "no", "lock")));
    }

    [Fact]
    public void A_file_is_replaced_whole()
    {
        string path = Path.Combine(_directory, "file");
        AtomicFile.Write(path, "one"u8.ToArray());
        AtomicFile.Write(path, "two"u8.ToArray());
        Assert.Equal("two", File.ReadAllText(path));
        Assert.Single(Directory.GetFiles(_directory));
        Assert.ThrowsAny<IOException>(() => AtomicFile.Write(Path.Combine(_directory, "no", "file"), default));
    }

    [Fact]
    public void A_process_is_known_by_its_number_and_start()
    {
        Assert.Equal(HostProcess.StartOf(Environment.ProcessId), HostProcess.StartOf(Environment.ProcessId));
        Assert.True(HostProcess.StartOf(Environment.ProcessId) >= HostProcess.StartOf(1));
        Assert.Null(HostProcess.StartOf(int.MaxValue));
    }
}
