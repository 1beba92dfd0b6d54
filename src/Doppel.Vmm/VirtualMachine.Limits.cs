using System.Globalization;
using Doppel.Devices.Storage.Images;
using Doppel.Vmm.Limits;

namespace Doppel.Vmm;

/// <content>What the machine may have of the host's processors.</content>
public sealed partial class VirtualMachine
{
    private readonly Lock _limiting = new();
    private CpuLimiter? _limiter;
    private double? _cpuCap;
    private double? _cpuShare;
    private bool _isLimitingOver;

    /// <summary>Processors of the host that this process may use, from <see cref="CpuLimits.SmallestCap"/> on; null for all. The machine's time goes on while its vCPUs stand still for it. Any thread.</summary>
    public double? CpuCap
    {
        get => _cpuCap;
        set
        {
            lock (_limiting)
            {
                _cpuCap = value;
                ApplyCap();
            }
        }
    }

    /// <summary>The same, as whoever shares the host among machines wants it for now: the lesser of both holds.</summary>
    public double? CpuShare
    {
        get => _cpuShare;
        set
        {
            lock (_limiting)
            {
                _cpuShare = value;
                ApplyCap();
            }
        }
    }

    /// <summary>Limits what disks and network cards may do in a second, from now on. Any thread.</summary>
    /// <param name="disks">Limits of disks.</param>
    /// <param name="networks">Limits of network cards.</param>
    /// <exception cref="SpecException">There is no disk or card of a number, or a limit can't be.</exception>
    public void LimitDevices(IReadOnlyList<DeviceLimits> disks, IReadOnlyList<DeviceLimits> networks)
    {
        ArgumentNullException.ThrowIfNull(disks);
        ArgumentNullException.ThrowIfNull(networks);
        lock (_lock)
        {
            MachineSpec next = (SpecWithMedia with { Networks = [.. _networks.Select(network => network.Spec)] }).WithLimits(disks, networks);
            next.Validate();
            _disks = [.. _disks.Select((disk, i) => disk with { Spec = next.Disks[i] })];
            _networks = [.. _networks.Select((network, i) => network with { Spec = next.Networks[i] })];
            foreach (int number in disks.Select(limits => limits.Number))
                (_disks[number].Backend as ImageBackend)?.Limit(next.Disks[number].BytesPerSecond, next.Disks[number].OperationsPerSecond);
            foreach (int number in networks.Select(limits => limits.Number))
                _networks[number].Limit(next.Networks[number].BytesPerSecond);
        }
    }

    /// <summary>What this process has had of the host's processors.</summary>
    public CpuUse GetCpuUse()
    {
        CpuLimiter? limiter;
        lock (_limiting)
            limiter = _limiter;
        return new CpuUse(Environment.CpuUsage.TotalTime.TotalSeconds, WaitedSeconds(), limiter?.Throttled.TotalSeconds ?? 0);
    }

    // The second number is the time on a run queue, in nanoseconds (Linux, Documentation/scheduler/sched-stats.rst).
    private static double WaitedSeconds()
    {
        double nanoseconds = 0;
        foreach (string task in Directory.GetDirectories("/proc/self/task"))
        {
            try
            {
                string[] fields = File.ReadAllText(Path.Combine(task, "schedstat")).Split(' ');
                if (fields.Length > 1)
                    nanoseconds += double.Parse(fields[1], CultureInfo.InvariantCulture);
            }
            catch (IOException)
            {
                // That thread has ended, or the kernel doesn't count.
            }
        }

        return nanoseconds / 1e9;
    }

    private void ApplyCap()
    {
        double? cap = _cpuCap is double own && _cpuShare is double share ? Math.Min(own, share) : _cpuCap ?? _cpuShare;
        if ((cap is null && _limiter is null) || _isLimitingOver)
            return;
        _limiter ??= new CpuLimiter(() => Environment.CpuUsage.TotalTime, HoldCpus);
        _limiter.Cap = cap;
    }

    private void HoldCpus(bool isHeld)
    {
        _gate.Throttle(isHeld);
        if (!isHeld)
            return;
        lock (_lock)
            _machine?.Kick();
    }

    private void EndLimits()
    {
        CpuLimiter? limiter;
        lock (_limiting)
        {
            _isLimitingOver = true;
            limiter = _limiter;
            _limiter = null;
        }

        limiter?.Dispose();
    }
}
