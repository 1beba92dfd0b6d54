using System.Globalization;
using Doppel.Devices.Virtio;
using Doppel.Engines.Translator;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Memory;
using Doppel.Vmm.Limits;

namespace Doppel.Vmm;

/// <summary>Checks what can be checked of a specification without opening its files.</summary>
public static class MachineSpecValidation
{
    /// <summary>Checks name, vCPUs, memory, disks, shared folders, network cards, CPU model and engine.</summary>
    /// <exception cref="SpecException">A value can't be; the message is one line that says what would be right.</exception>
    public static void Validate(this MachineSpec spec)
    {
        if (!IsName(spec.Name))
            throw new SpecException("name", $"--name \"{spec.Name}\": 1 to {MachineSpec.MaximumName} letters, digits, dots, dashes and underscores, not only digits, would be right");
        // A description from outside may have null where a list's element is expected.
        if (spec.Disks.Any(disk => disk is null) || spec.Volumes.Any(volume => volume is null) || spec.Networks.Any(network => network is null || network.Forwards.Any(forward => forward is null)))
            throw new SpecException("disks", "a disk, shared folder, network card or forwarded port is null; an object would be right");
        foreach (string? path in spec.Disks.SelectMany(disk => (string?[])[disk.Path, disk.Overlay]).Append(spec.Kernel).Append(spec.Initrd).Append(spec.FirmwareFile).Append(spec.FirmwareVariables).Append(spec.Parallel))
        {
            if (path?.Contains('\0', StringComparison.Ordinal) == true)
                throw new SpecException("kernel", $"\"{path.Replace("\0", "\\0", StringComparison.Ordinal)}\": a path without the character 0 would be right");
        }

        if (spec.Parallel is "" || Directory.Exists(spec.Parallel))
            throw new SpecException("parallel", $"--parallel {(spec.Parallel.Length == 0 ? "\"\"" : spec.Parallel)}: the path of a file would be right");
        if (spec.SerialPorts is < MachineSpec.SmallestSerialPorts or > MachineSpec.MaximumSerialPorts)
            throw new SpecException("serialPorts", $"{spec.SerialPorts} serial ports: {MachineSpec.SmallestSerialPorts} to {MachineSpec.MaximumSerialPorts} would be right");
        if (spec.Cpus is < 1 or > MachineSpec.MaximumCpus)
            throw new SpecException("cpus", $"--cpus {spec.Cpus}: 1 to {MachineSpec.MaximumCpus} would be right");
        if (spec.CpuWeight is < CpuLimits.SmallestWeight or > CpuLimits.LargestWeight)
            throw new SpecException("cpuWeight", $"--cpu-weight {spec.CpuWeight}: {CpuLimits.SmallestWeight} to {CpuLimits.LargestWeight} would be right");
        if (spec.CpuCap is double cap && cap is not (>= CpuLimits.SmallestCap and <= CpuLimits.LargestCap))
            throw new SpecException("cpuCap", string.Create(CultureInfo.InvariantCulture, $"--cpu-cap {cap}: {CpuLimits.SmallestCap} to {CpuLimits.LargestCap} of the host's processors would be right"));
        if (spec.Memory is < MachineSpec.MinimumMemory or > MachineSpec.MaximumMemory)
            throw new SpecException("memory", $"--memory {MemorySize.Format(spec.Memory)}: {MemorySize.Format(MachineSpec.MinimumMemory)} to {MemorySize.Format(MachineSpec.MaximumMemory)} would be right");
        if (spec.Memory % GuestMemory.PageSize != 0)
            throw new SpecException("memory", $"--memory {MemorySize.Format(spec.Memory)}: a multiple of {GuestMemory.PageSize} bytes would be right");
        if (!spec.Overcommit && HostMemory() is ulong host && spec.Memory > host)
            throw new SpecException("memory", $"--memory {MemorySize.Format(spec.Memory)}: the host has {MemorySize.Format(host & ~0xFFFFFUL)}; less, or --overcommit for a guest that won't use it all, would be right");
        if (spec.CodeCache is < TranslationCache.MinimumBytes or > TranslationCache.MaximumBytes || spec.CodeCache % (64 << 10) != 0)
            throw new SpecException("codeCache", $"--code-cache {MemorySize.Format(spec.CodeCache)}: {MemorySize.Format(TranslationCache.MinimumBytes)} to {MemorySize.Format(TranslationCache.MaximumBytes)}, a multiple of 64K, would be right");
        if (spec.TlbSpaces is not (2 or 4 or 8 or 16))
            throw new SpecException("tlbSpaces", $"--tlb-spaces {spec.TlbSpaces}: 2, 4, 8 or 16 would be right");
        if (!EngineNames.Choices.Contains(spec.Engine))
            throw new SpecException("engine", $"--engine {spec.Engine}: there is no such engine; {string.Join(", ", EngineNames.Choices)} would be right");
        if (spec.Engine == EngineNames.Kvm && spec.Clock == ClockKind.Instructions)
            throw new SpecException("engine", $"--engine kvm: KVM can't count instructions, which --clock instructions needs; {string.Join(" or ", EngineNames.Deterministic)} would be right");
        if (spec.TscFrequency is < 1_000_000 or > 16_000_000_000)
            throw new SpecException("tscFrequency", $"--tsc-frequency {spec.TscFrequency}: 1000000 to 16000000000 ticks a second would be right");
        if (spec.Disks.Count > MachineSpec.MaximumDisks)
            throw new SpecException("disks", $"--disk is given {spec.Disks.Count} times: at most {MachineSpec.MaximumDisks} disks would be right");
        DrivePlaces.Validate(spec.Disks);
        if (spec.Disks.FirstOrDefault(disk => !DeviceLimits.IsBytes(disk.BytesPerSecond) || !DeviceLimits.IsOperations(disk.OperationsPerSecond)) is DiskSpec limited)
            throw new SpecException("disks", $"--disk {limited.Path},bps={limited.BytesPerSecond},iops={limited.OperationsPerSecond}: {DeviceLimits.SmallestBytes >> 10}K bytes and {DeviceLimits.SmallestOperations} operations a second and more, or 0 for no limit, would be right");
        if (spec.Volumes.Count > MachineSpec.MaximumVolumes)
            throw new SpecException("volumes", $"--volume is given {spec.Volumes.Count} times: at most {MachineSpec.MaximumVolumes} shared folders would be right");
        if (spec.Vsock is { Cid: < VirtioVsock.SmallestCid })
            throw new SpecException("vsock", $"--vsock {spec.Vsock.Path},cid={spec.Vsock.Cid}: a context id from {VirtioVsock.SmallestCid} on would be right");
        foreach (VolumeSpec volume in spec.Volumes)
        {
            if (!VolumeSpec.IsGuestPath(volume.GuestPath))
                throw new SpecException("volumes", $"--volume {volume.HostPath}:{volume.GuestPath}: an absolute path other than /, without blanks and colons, would be right in the guest");
            if (!Directory.Exists(volume.HostPath))
                throw new SpecException("volumes", $"--volume {volume.HostPath}:{volume.GuestPath}: {volume.HostPath} is no directory of the host; an existing one would be right");
        }

        if (spec.Vnc is not null && spec.DisplayAdapter == DisplayAdapterKind.None)
            throw new SpecException("vnc", "--display vnc shows a display adapter; --vga std with it would be right");
        if (spec.Networks.Count > MachineSpec.MaximumNetworks)
            throw new SpecException("net", $"--net is given {spec.Networks.Count} times: at most {MachineSpec.MaximumNetworks} network cards would be right");
        if (spec.Networks.Count != 0 && spec.Clock == ClockKind.Instructions)
            throw new SpecException("net", $"--net {spec.Networks[0]}: --clock instructions makes runs that can be repeated, which frames from outside can't be; --net none would be right");
        if (spec.Networks.Count(network => network.Model == NetworkModel.Ne2000) > 1)
            throw new SpecException("net", "--net with model=ne2k is given more than once: one card at port 300h would be right");
        foreach (NetworkSpec network in spec.Networks)
            network.Validate();
        try
        {
            CpuModels.EnsureSupported(CpuModels.Find(spec.CpuModel));
        }
        catch (CpuModelException e)
        {
            throw new SpecException("cpu", $"--cpu {spec.CpuModel}: {e.Message}");
        }
    }

    // A name of digits would be taken for a process number.
    /// <summary>True for what a machine can be called.</summary>
    public static bool IsName(string name) =>
        name.Length is >= 1 and <= MachineSpec.MaximumName && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_') && !name.All(char.IsAsciiDigit);

    private static ulong? HostMemory()
    {
        const string Field = "MemTotal:";
        try
        {
            string? line = File.ReadLines("/proc/meminfo").FirstOrDefault(l => l.StartsWith(Field, StringComparison.Ordinal));
            return line is not null && ulong.TryParse(line[Field.Length..].Replace("kB", "", StringComparison.Ordinal), NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out ulong kibibytes)
                ? kibibytes << 10
                : null;
        }
        catch (IOException)
        {
            return null;
        }
    }
}
