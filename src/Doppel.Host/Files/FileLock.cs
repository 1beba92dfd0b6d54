using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Doppel.Host.Files;

/// <summary>A lock between processes: a file that one of them holds (flock(2)). It ends with its owner, however that ends.</summary>
public sealed partial class FileLock : IDisposable
{
    private readonly SafeFileHandle _file;

    private FileLock(SafeFileHandle file) => _file = file;

    /// <summary>Takes the lock, waiting until whoever has it gives it back.</summary>
    /// <param name="path">The file, made if there is none; its directory must exist.</param>
    /// <exception cref="IOException">The file can't be had.</exception>
    public static FileLock Take(string path) => TryTake(path, FileLockFlags.Exclusive)!;

    /// <summary>Takes the lock if nobody has it.</summary>
    /// <returns>Null when somebody has.</returns>
    /// <exception cref="IOException">The file can't be had.</exception>
    public static FileLock? TryTake(string path) => TryTake(path, FileLockFlags.Exclusive | FileLockFlags.NonBlocking);

    /// <summary>Gives the lock back; the file stays.</summary>
    public void Dispose() => _file.Dispose();

    private static FileLock? TryTake(string path, int operation)
    {
        // Not as .NET opens files, which takes such locks itself.
        const uint UserOnly = 0x180;
        int descriptor = (int)HostError.Check(FileCalls.Open(path, FileFlags.ReadWrite | FileFlags.Create | FileFlags.CloseOnExec, UserOnly), "open", path);
        var file = new SafeFileHandle(descriptor, ownsHandle: true);
        while (Lock(file, operation) == -1)
        {
            int errno = Marshal.GetLastPInvokeError();
            if (errno == FileFlags.Interrupted)
                continue;
            file.Dispose();
            if (errno == FileFlags.Again)
                return null;
            throw new HostException("flock", errno, path);
        }

        return new FileLock(file);
    }

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int Lock(SafeFileHandle file, int operation);
}

/// <summary>LOCK_* of flock(2).</summary>
internal static class FileLockFlags
{
    internal const int Exclusive = 2;
    internal const int NonBlocking = 4;
}
