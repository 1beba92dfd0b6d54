using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Doppel.Host.Files;
using Doppel.Host.Processes;
using Doppel.Vmm;

namespace Doppel.Api;

/// <summary>The folder of a machine that is kept by name. Every file in it is replaced whole. Any thread and process.</summary>
/// <param name="path">The folder; its name is the machine's.</param>
public sealed class MachineFolder(string path)
{
    private const string RecordFile = "definition.json", StopFile = "stop-asked", HandoverFile = "handover.json", ArrivingFile = "arriving.json", ArrivedFolder = "arrived", RunFolder = "run";
    private const string PermitFile = RunFolder + "/permit.json", AcceptedFile = RunFolder + "/accepted.json";
    private const string WorkerFile = RunFolder + "/worker.json", ExitFile = RunFolder + "/exit.json", LogFile = RunFolder + "/console.log", LockFile = RunFolder + "/worker.lock";

    /// <summary>The folder of a machine.</summary>
    /// <param name="state">Where machines are.</param>
    /// <param name="name">The machine's name.</param>
    /// <exception cref="SpecException">It can't be a name.</exception>
    public MachineFolder(StateDirectory state, string name)
        : this(state.FolderOf(name))
    {
    }

    /// <summary>The folder's path.</summary>
    public string Path { get; } = path;

    /// <summary>The machine's name.</summary>
    public string Name { get; } = System.IO.Path.GetFileName(path);

    /// <summary>What the machine's process writes of itself; but for snapshots, disks and this it writes nothing here.</summary>
    public string RunPath => System.IO.Path.Combine(Path, RunFolder);

    /// <summary>The log of the first serial port.</summary>
    public string LogPath => System.IO.Path.Combine(Path, LogFile);

    /// <summary>A lock that the process holds in which the machine runs.</summary>
    public string WorkerLockPath => System.IO.Path.Combine(Path, LockFile);

    /// <summary>The machine; null when none of that name is kept. Writing it makes the folder.</summary>
    /// <exception cref="IOException">The host refuses, or the file is damaged.</exception>
    public MachineRecord? Record
    {
        get => Read(RecordFile, json => MachineSpecJson.Read(json, ApiJson.Default.MachineRecord, "spec"));
        set => Write(RecordFile, value, ApiJson.Default.MachineRecord);
    }

    /// <summary>The process in which it runs, or ran when it was killed; null when it has ended.</summary>
    public WorkerRecord? Worker
    {
        get => Read(WorkerFile, json => JsonSerializer.Deserialize(json, ApiJson.Default.WorkerRecord));
        set => Write(WorkerFile, value, ApiJson.Default.WorkerRecord);
    }

    /// <summary>How its last run ended; null when it hasn't run, or runs.</summary>
    public ExitRecord? Exit
    {
        get => Read(ExitFile, json => JsonSerializer.Deserialize(json, ApiJson.Default.ExitRecord));
        set => Write(ExitFile, value, ApiJson.Default.ExitRecord);
    }

    /// <summary>The migration that is taking it to another host, or has; null for none. The daemon's: what its process says of it is <see cref="Permit"/>.</summary>
    public HandoverRecord? Handover
    {
        get => Read(HandoverFile, json => JsonSerializer.Deserialize(json, ApiJson.Default.HandoverRecord));
        set => Write(HandoverFile, value, ApiJson.Default.HandoverRecord);
    }

    /// <summary>What its process keeps before it lets another host have it; null when it hasn't.</summary>
    public PermitRecord? Permit
    {
        get => Read(PermitFile, json => JsonSerializer.Deserialize(json, ApiJson.Default.PermitRecord));
        set => Write(PermitFile, value, ApiJson.Default.PermitRecord);
    }

    /// <summary>True when only the other host knows which of the two has it.</summary>
    public bool IsInDoubt => Handover is { IsAccepted: false } handover && Permit?.Id == handover.Address.Id;

    /// <summary>The machine that is arriving here; null when none is. The daemon's: that it has arrived its process says by <see cref="Accepted"/>.</summary>
    public ArrivingRecord? Arriving
    {
        get => Read(ArrivingFile, json => JsonSerializer.Deserialize(json, ApiJson.Default.ArrivingRecord));
        set => Write(ArrivingFile, value, ApiJson.Default.ArrivingRecord);
    }

    /// <summary>True when a machine is arriving here, or has, and the daemon hasn't taken it over yet.</summary>
    public bool IsArriving => File.Exists(System.IO.Path.Combine(Path, ArrivingFile));

    /// <summary>The last arrival that its process has accepted: from then on the machine is here. Null when there was none.</summary>
    public AcceptedRecord? Accepted
    {
        get => Read(AcceptedFile, json => JsonSerializer.Deserialize(json, ApiJson.Default.AcceptedRecord));
        set => Write(AcceptedFile, value, ApiJson.Default.AcceptedRecord);
    }

    /// <summary>The folder of what comes along with an arrival: disks, boot files.</summary>
    public string ArrivedPath => System.IO.Path.Combine(Path, ArrivedFolder);

    /// <summary>True while a process has the machine, from before it runs to its end.</summary>
    public bool IsHeld
    {
        get
        {
            if (!Directory.Exists(Path))
                return false;
            using FileLock? free = FileLock.TryTake(WorkerLockPath);
            return free is null;
        }
    }

    /// <summary>The process in which it runs; null when that is gone.</summary>
    public WorkerRecord? LiveWorker => Worker is WorkerRecord worker && HostProcess.StartOf(worker.ProcessId) == worker.ProcessStart ? worker : null;

    /// <summary>True when it is suspended.</summary>
    public bool IsSuspended => StateDirectory.SuspendedIn(Path).Has(StateDirectory.SuspendedName);

    /// <summary>True from the moment that somebody asks for its end until it is started again: no policy starts it meanwhile.</summary>
    public bool IsStopAsked
    {
        get => File.Exists(System.IO.Path.Combine(Path, StopFile));
        set
        {
            string path = System.IO.Path.Combine(Path, StopFile);
            if (!value)
                File.Delete(path);
            else if (!File.Exists(path))
                AtomicFile.Write(path, Array.Empty<byte>());
        }
    }

    private T? Read<T>(string file, Func<byte[], T?> read)
        where T : class
    {
        string path = System.IO.Path.Combine(Path, file);
        try
        {
            return read(File.ReadAllBytes(path));
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (JsonException e)
        {
            throw new IOException($"{path}: not what Doppel has written: {e.Message}", e);
        }
    }

    private void Write<T>(string file, T? value, JsonTypeInfo<T> type)
        where T : class
    {
        string path = System.IO.Path.Combine(Path, file);
        if (value is null)
        {
            File.Delete(path);
            return;
        }

        _ = Directory.CreateDirectory(RunPath, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        AtomicFile.Write(path, (byte[])[.. JsonSerializer.SerializeToUtf8Bytes(value, type), (byte)'\n']);
    }
}
