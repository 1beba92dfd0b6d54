using System.Diagnostics;
using Doppel.Api;
using Doppel.Devices.Storage.Images;
using Doppel.Host.Confinement;
using Doppel.Host.Files;
using Doppel.Vmm;
using Doppel.Vmm.Images;

namespace Doppel.Daemon;

/// <summary>
/// Starts workers, confined to their machines: where the kernel has Landlock, a worker can use its machine's disks, folders and
/// state, read what its program consists of, and nothing else. Any thread.
/// </summary>
/// <param name="location">Where machines and sockets are.</param>
/// <param name="program">The program that runs a machine: "PROGRAM worker NAME".</param>
/// <param name="spares">Processes that were started ahead; not disposed here.</param>
internal sealed class WorkerLauncher(DaemonLocation location, string program, SpareWorkers spares)
{
    private const PathAccess UseImage = PathAccess.UseFile | PathAccess.ReadDirectory;

    // 2,000 ms, in hexadecimal, before the runtime compiles for the second time what was called often. Machines that go on from one snapshot are started
    // in numbers, and that takes half as much of a processor as a start (0.25 s of 0.8), just when the next ones start.
    private const string CompilationDelay = "7D0";

    /// <summary>Processes that were started ahead.</summary>
    internal SpareWorkers Spares => spares;

    /// <summary>Starts a worker, or takes one that was started ahead; what it says on its standard output and error is the caller's.</summary>
    /// <param name="folder">The machine's folder.</param>
    /// <param name="record">The machine; <see cref="MachineRecord.Behind"/> is known.</param>
    /// <param name="snapshot">The folder of the snapshot that it goes on from; null for none.</param>
    /// <exception cref="IOException">It can't be started.</exception>
    internal Process Start(MachineFolder folder, MachineRecord record, string? snapshot) =>
        Start(
            folder,
            record,
            snapshot is null ? ["worker", folder.Name] : ["worker", folder.Name, "--snapshot", snapshot],
            [],
            snapshot is not null || folder.IsSuspended,
            rules => spares.TryTake(new WorkerOrder(folder.Name, TemporaryOf(folder), rules) { Snapshot = snapshot }));

    /// <summary>Starts a worker in which a machine arrives from another host; it is told on its standard input which.</summary>
    /// <param name="folder">The machine's folder.</param>
    /// <param name="record">The machine as it will be here.</param>
    /// <param name="postCopy">True when memory may come after the machine: its process starts another one then, which may end it.</param>
    /// <exception cref="IOException">It can't be started.</exception>
    internal Process StartArrival(MachineFolder folder, MachineRecord record, bool postCopy) =>
        Start(
            folder,
            record,
            ["worker", folder.Name, "--arrival"],
            [new PathRule(folder.ArrivedPath, PathAccess.UseDirectory), .. postCopy ? (PathRule[])[new PathRule("/dev/userfaultfd", PathAccess.UseFile | PathAccess.Control)] : []],
            false,
            // The threads of one that was started ahead are confined each for itself, and may not end each other's process.
            rules => postCopy ? null : spares.TryTake(new WorkerOrder(folder.Name, TemporaryOf(folder), rules) { IsArrival = true }));

    private Process Start(MachineFolder folder, MachineRecord record, string[] arguments, IEnumerable<PathRule> more, bool goesOn, Func<IReadOnlyList<PathRule>, Process?> takeSpare)
    {
        string temporary = TemporaryOf(folder), sockets = location.Runtime.OfMachine(folder.Name).Path;
        PrivateDirectory.Ensure(location.Runtime.Path);
        PrivateDirectory.Ensure(Path.GetDirectoryName(sockets)!);
        PrivateDirectory.Ensure(sockets);
        foreach (string own in (string[])[temporary, SnapshotsOf(folder), SuspendedOf(folder)])
            _ = Directory.CreateDirectory(own, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        RefuseLinks(folder, record.Spec);
        IReadOnlyList<PathRule> rules = [.. Rules(folder, record, temporary, sockets), .. more];
        if (takeSpare(rules) is Process spare)
            return spare;
        var info = new ProcessStartInfo(program, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = "/" };
        info.Environment["TMPDIR"] = temporary;
        // Its socket in the temporary directory would let anybody of this user into the process.
        info.Environment["DOTNET_EnableDiagnostics"] = "0";
        if (record.Spec.Engine != EngineNames.Interpreter)
            StartSooner(info);
        if (record.Spec.Engine != EngineNames.Interpreter && goesOn)
            info.Environment["DOTNET_TC_CallCountingDelayMs"] = CompilationDelay;
        return Landlock.Version == 0 ? Start(info) : StartConfined(info, rules);
    }

    /// <summary>
    /// Lets the runtime compile methods without counting what they do for the next time: that takes a fifth of a start (0.61 s of a
    /// processor with it, 0.46 without, of a spare that warms up), and what a translator's machine does most is not the runtime's code.
    /// </summary>
    internal static void StartSooner(ProcessStartInfo info) => info.Environment["DOTNET_TieredPGO"] = "0";

    /// <summary>The files behind a machine's disks.</summary>
    /// <exception cref="DiskImageException">An image can't be read.</exception>
    internal static IReadOnlyList<string> FindBehind(MachineSpec spec)
    {
        var behind = new List<string>();
        foreach (DiskSpec disk in spec.Disks.Where(disk => disk.Path.Length != 0 && !Overlays.IsAddress(disk.Path)))
        {
            string? next = disk.Overlay is string overlay && File.Exists(overlay) ? overlay : disk.Path;
            // A circle is refused when the disk is opened.
            for (int depth = 0; next is not null && !Overlays.IsAddress(next) && depth < DiskImages.MaximumDepth; depth++)
            {
                behind.Add(next);
                next = ImageInformation.Read(next, null, isShared: true).BackingPath;
            }

            behind.Add(disk.Path);
        }

        return [.. behind.Distinct()];
    }

    private static string TemporaryOf(MachineFolder folder) => Path.Combine(folder.RunPath, "tmp");

    private static string SnapshotsOf(MachineFolder folder) => Path.Combine(folder.Path, "snapshots");

    private static string SuspendedOf(MachineFolder folder) => StateDirectory.SuspendedIn(folder.Path).Path;

    // What came along with an arrival was written by a process that a guest may have taken over since: it could have put a link
    // to another file there, which the next one would be given.
    private static void RefuseLinks(MachineFolder folder, MachineSpec spec)
    {
        foreach (string? path in spec.Disks.Select(disk => disk.Path).Append(spec.Kernel).Append(spec.Initrd).Append(spec.FirmwareFile))
        {
            if (path is not null && path.StartsWith(folder.ArrivedPath + "/", StringComparison.Ordinal) && new FileInfo(path).LinkTarget is string target)
                throw new IOException($"{path}: a link to {target}, where a file came with the machine; the file would be right");
        }
    }

    // A child is confined as the thread is that starts it; the daemon's other threads are not.
    private static Process StartConfined(ProcessStartInfo info, IReadOnlyList<PathRule> rules)
    {
        Process? started = null;
        Exception? failed = null;
        var thread = new Thread(() =>
        {
            try
            {
                _ = Landlock.ConfineThread(rules, refusesTcp: false);
                started = Start(info);
            }
            catch (Exception e)
            {
                failed = e;
            }
        });
        thread.Start();
        thread.Join();
        return started ?? throw new IOException($"the worker can't be started: {failed!.Message}", failed);
    }

    private static Process Start(ProcessStartInfo info)
    {
        try
        {
            return Process.Start(info)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new IOException($"the worker {info.FileName} can't be started: {e.Message}", e);
        }
    }

    private IEnumerable<PathRule> Rules(MachineFolder folder, MachineRecord record, string temporary, string sockets)
    {
        const PathAccess Program = PathAccess.Read | PathAccess.Execute;
        // What the program consists of, and what the C library, .NET and libslirp read of the system.
        foreach (string path in (string[])["/usr", "/lib", "/lib64", "/bin", Path.GetDirectoryName(program)!, AppContext.BaseDirectory, RuntimeRoot])
            yield return new PathRule(path, Program);
        foreach (string path in (string[])["/etc", "/proc", "/sys", "/run/systemd/resolve"])
            yield return new PathRule(path, PathAccess.Read);
        foreach (string path in (string[])["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/kvm", "/dev/net/tun", "/dev/ptmx"])
            yield return new PathRule(path, PathAccess.UseFile | PathAccess.Control);

        // Its own state; it may not write its own definition, which says what it may use the next time.
        yield return new PathRule(folder.Path, PathAccess.Read);
        foreach (string path in (string[])[folder.RunPath, temporary, SnapshotsOf(folder), SuspendedOf(folder), sockets])
            yield return new PathRule(path, PathAccess.UseDirectory);

        // Names of others' sockets it may see.
        yield return new PathRule(location.Runtime.Path, PathAccess.ReadDirectory);

        MachineSpec spec = record.Spec;
        if (spec.Kernel.Length != 0)
            yield return new PathRule(spec.Kernel, PathAccess.ReadFile);
        if (spec.FirmwareFile is string rom)
            yield return new PathRule(rom, PathAccess.ReadFile);
        if (FirmwareCache.PackageOf(spec.Firmware) is not null && FirmwareCache.ForUser().Find(spec.Firmware) is string firmware)
            yield return new PathRule(firmware, PathAccess.Read);
        if (spec.FirmwareVariables is string variables)
        {
            // The file may have to be made; nothing else is in its folder.
            string directory = Path.GetDirectoryName(variables)!;
            PrivateDirectory.Ensure(directory);
            yield return new PathRule(directory, PathAccess.UseDirectory);
        }

        if (spec.Parallel is string printed)
        {
            MakeFile(printed);
            yield return new PathRule(printed, PathAccess.WriteFile);
        }

        if (spec.Vnc?.PasswordFile is string password)
            yield return new PathRule(password, PathAccess.ReadFile);
        if (spec.Initrd is string initrd)
            yield return new PathRule(initrd, PathAccess.ReadFile);
        foreach (string behind in record.Behind ?? [])
            yield return new PathRule(behind, PathAccess.ReadFile);
        foreach (DiskSpec disk in spec.Disks.Where(disk => !Overlays.IsAddress(disk.Path)))
        {
            bool isWritten = disk is { IsReadOnly: false, IsEphemeral: false, Overlay: null };
            yield return new PathRule(disk.Path, isWritten ? UseImage : PathAccess.ReadFile);
            if (disk.Overlay is string overlay)
                yield return new PathRule(overlay, UseImage);
            // The extents of such an image are files beside it.
            if (disk.Format == DiskFormat.Vmdk || disk.Path.EndsWith(".vmdk", StringComparison.OrdinalIgnoreCase))
                yield return new PathRule(Path.GetDirectoryName(disk.Path)!, isWritten ? UseImage : PathAccess.Read);
        }

        foreach (VolumeSpec volume in spec.Volumes)
            yield return new PathRule(volume.HostPath, volume.IsReadOnly ? PathAccess.Read : PathAccess.UseDirectory);
        foreach (NetworkSpec network in spec.Networks)
        {
            // TFTP gives the other files of its folder, too.
            if (network.BootFile is string file && Path.GetDirectoryName(file) is string directory)
                yield return new PathRule(directory, PathAccess.Read);
        }

        const PathAccess MakeSockets = PathAccess.ReadDirectory | PathAccess.MakeSocket | PathAccess.RemoveFile | PathAccess.MakeFile | PathAccess.Refer;
        if (spec.Vsock is VsockSpec vsock)
            yield return new PathRule(Path.GetDirectoryName(Path.GetFullPath(vsock.Path)) ?? "/", MakeSockets);
        foreach (NetworkSpec network in spec.Networks.Where(network => network.Kind == NetworkKind.Switch))
        {
            string directory = Path.Combine(location.Runtime.Path, "switch-" + network.Name);
            PrivateDirectory.Ensure(directory);
            yield return new PathRule(directory, MakeSockets | PathAccess.UseFile);
        }
    }

    // The worker may make none where the user's are.
    private static void MakeFile(string path)
    {
        try
        {
            if (!File.Exists(path))
                File.Open(path, FileMode.OpenOrCreate).Dispose();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"{path}: the file can't be made: {e.Message}", e);
        }
    }

    // ROOT/shared/Microsoft.NETCore.App/VERSION/System.Private.CoreLib.dll
    private static string RuntimeRoot => Path.GetFullPath("../../..", Path.GetDirectoryName(typeof(object).Assembly.Location)!);
}
