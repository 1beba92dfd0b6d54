using System.Globalization;
using Doppel.Host;
using Doppel.Host.Kvm;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;
using Doppel.Machine.Time;

namespace Doppel.Engines.Kvm;

/// <summary>
/// A machine as the kernel's VM: its memory, what is logged of writes to it, its local APICs, and the time that its vCPUs share.
/// Outlives their engines.
/// </summary>
public sealed unsafe class KvmMachine : IDisposable
{
    // Inside the hole for memory-mapped I/O, where no device is; only Intel's real mode needs them.
    private const ulong IdentityMapAddress = 0xFEFF_C000;
    private const ulong TssAddress = 0xFEFF_D000;

    // A guest's clocks notice less than this, and the kernel itself takes a rate as equal up to it.
    private const long TolerancePerMillion = 250;

    // How far the guest's TSC may be from the machine's clock before it is set anew, in nanoseconds. The clock is disciplined
    // by the host's NTP, the TSC isn't; and the clock stands still while the machine is paused.
    private const long TimeTolerance = 1_000_000;

    private readonly KvmDevice _device;
    private readonly KvmVm _vm;
    private readonly IGuestClock _clock;
    private readonly Lock _lock = new();
    private readonly KvmMemoryMap _map;
    private readonly bool _keepsSpecCtrl;
    private readonly KvmStatisticsFile? _counts;
    private readonly KvmDoorbells? _doorbells;
    private Exception? _failure;
    private ulong? _timeBase;
    private bool _isDisposed;

    /// <summary>Makes the VM of a machine, with its memory.</summary>
    /// <param name="cpu">Its first vCPU.</param>
    /// <param name="path">The device.</param>
    /// <exception cref="KvmException">KVM can't run such a machine here; the message says why.</exception>
    public KvmMachine(VirtualCpu cpu, string path = KvmDevice.DefaultPath)
    {
        ArgumentNullException.ThrowIfNull(cpu);
        if (cpu.Clock.IsDeterministic)
            throw new KvmException("KVM can't count instructions, so it can't run a machine whose time is their count (--clock instructions); the interpreter or the translator would be right");
        _clock = cpu.Clock;
        try
        {
            _device = new KvmDevice(path);
            // A running machine that changes to KVM stands still meanwhile.
            KvmCpuidEntry[] supported = cpu.Model.Has(CpuFeature.Xsave) ? KvmHostFeatures.Find(_device) : _device.GetSupportedCpuid();
            IReadOnlyList<string> missing = KvmCpuid.FindMissing(cpu.Model, supported);
            if (missing.Count != 0)
                throw new KvmException($"CPU model '{cpu.Model.Name}' has {string.Join(", ", missing)}, which this host's KVM can't give to a guest; {Alternatives(supported)}");
            int most = _device.Check(KvmCapability.MaximumVcpus);
            if (cpu.CpuCount > most)
                throw new KvmException($"this host's KVM has at most {most} vCPUs for a machine, not {cpu.CpuCount}");
            _keepsSpecCtrl = cpu.Model.Has(CpuFeature.SpecCtrl) && KvmCpuid.IsSupported(CpuFeature.SpecCtrl, supported);
            _vm = _device.CreateVm();
            if (_device.Check(KvmCapability.SetIdentityMapAddress) != 0)
                _vm.SetIdentityMapAddress(IdentityMapAddress);
            if (_device.Check(KvmCapability.SetTssAddress) != 0)
                _vm.SetTssAddress(TssAddress);
            _vm.Enable(KvmCapability.UserSpaceMsr, KvmMsrExit.AllReasons);
            LocalApics = KvmLocalApics.TryCreate(_device, _vm, cpu);
            _vm.KeepMsrs(KeptMsrs(cpu.Model));
            CanDebug = _device.Check(KvmCapability.SetGuestDebug) != 0;
            _counts = _device.Check(KvmCapability.StatisticsFile) != 0 ? _vm.OpenStatistics() : null;
            _map = new KvmMemoryMap(_vm, cpu.Physical.Memory);
            _doorbells = _device.Check(KvmCapability.IoEventFd) != 0 ? new KvmDoorbells(_vm, cpu.Physical.Mmio, e => Fail(cpu, e)) : null;
        }
        catch (HostException e)
        {
            Close();
            throw new KvmException($"this host's KVM can't run the machine: {e.Message}", e);
        }
        catch
        {
            Close();
            throw;
        }
    }

    /// <summary>How much of the guest's memory the kernel's tables show to it now; null when this kernel (before Linux 5.14) doesn't count. Any thread.</summary>
    public KvmMappedPages? MappedPages
    {
        get
        {
            lock (_lock)
                return _isDisposed || _counts is null ? null : new KvmMappedPages(_counts.Read("pages_4k"), _counts.Read("pages_2m"), _counts.Read("pages_1g"));
        }
    }

    /// <summary>True when the kernel has the local APICs while its vCPUs run; false when they stay in this process. Any thread.</summary>
    public bool HasLocalApics => LocalApics is not null;

    /// <summary>The local APICs in the kernel; null when they stay in this process.</summary>
    internal KvmLocalApics? LocalApics { get; }

    /// <summary>True when the processor can look for a debugger's breakpoints.</summary>
    internal bool CanDebug { get; }

    /// <summary>True when MSRs of speculation control are the processor's own.</summary>
    internal bool KeepsSpecCtrl => _keepsSpecCtrl;

    /// <summary>Whether the processor walks nested page tables for guests, by the kernel's own word; null when it doesn't say.</summary>
    public static string? NestedPaging => ReadParameter("kvm_intel", "ept") is bool ept
        ? ept ? "extended page tables (EPT)" : "none: shadow page tables"
        : ReadParameter("kvm_amd", "npt") is bool npt
            ? npt ? "nested page tables (NPT)" : "none: shadow page tables"
            : null;

    /// <summary>The models of which KVM here has everything, in the order of the list.</summary>
    public static IReadOnlyList<CpuModel> FindModels(string path = KvmDevice.DefaultPath)
    {
        using var device = new KvmDevice(path);
        KvmCpuidEntry[] supported = KvmHostFeatures.Find(device);
        return [.. CpuModels.All.Where(model => KvmCpuid.FindMissing(model, supported).Count == 0)];
    }

    /// <summary>
    /// The rate at which the TSC of a machine must count to run here, where the host's processor can't scale it; null where any
    /// rate will do.
    /// </summary>
    /// <exception cref="HostException">The device can't be used.</exception>
    public static ulong? FindFixedTscFrequency(string path = KvmDevice.DefaultPath)
    {
        using var device = new KvmDevice(path);
        return device.Check(KvmCapability.TscControl) != 0 ? null : FindTscFrequency(device);
    }

    /// <summary>The rate of a guest's TSC that isn't scaled.</summary>
    /// <exception cref="HostException">The device can't be used.</exception>
    public static ulong FindTscFrequency(string path = KvmDevice.DefaultPath)
    {
        using var device = new KvmDevice(path);
        return FindTscFrequency(device);
    }

    /// <summary>True when no guest can tell two rates apart.</summary>
    public static bool IsSameFrequency(ulong first, ulong second) => Int128.Abs((Int128)first - second) * 1_000_000 <= (Int128)second * TolerancePerMillion;

    /// <inheritdoc/>
    public void Dispose()
    {
        _doorbells?.Dispose();
        _map.Dispose();
        Close();
    }

    /// <summary>Reports a fault of a device that it had on the thread of the doorbells.</summary>
    /// <exception cref="KvmException">It had one.</exception>
    internal void ThrowIfFailed()
    {
        if (Volatile.Read(ref _failure) is Exception e)
            throw new KvmException($"a device failed: {e.Message}", e);
    }

    /// <summary>Makes the kernel's part of a vCPU.</summary>
    /// <exception cref="KvmException">KVM can't run it here.</exception>
    internal KvmCpu CreateVcpu(VirtualCpu cpu)
    {
        KvmVcpu? vcpu = null;
        try
        {
            vcpu = _vm.CreateVcpu(cpu.Index);
            vcpu.SetCpuid(KvmCpuid.Describe(cpu));
            SetTscRate(vcpu);
            var whole = new KvmCpu(this, cpu, vcpu, hasCounts: LocalApics is not null && _counts is not null);
            LocalApics?.Add(whole);
            return whole;
        }
        catch (HostException e)
        {
            vcpu?.Dispose();
            throw new KvmException($"this host's KVM can't run vCPU {cpu.Index}: {e.Message}", e);
        }
        catch
        {
            vcpu?.Dispose();
            throw;
        }
    }

    /// <summary>
    /// The number that, added to the host's scaled TSC, gives the machine's clock in ticks; the same for all vCPUs as long as the
    /// TSC and the clock agree. The vCPU's thread.
    /// </summary>
    internal ulong GetTimeBase(KvmVcpu vcpu)
    {
        lock (_lock)
        {
            ulong host = ReadHostTsc(vcpu);
            ulong wanted = _clock.Tsc - host;
            if (_timeBase is not ulong current || Math.Abs((long)(wanted - current)) > ToleratedTicks)
                _timeBase = wanted;
            return _timeBase.Value;
        }
    }

    /// <summary>How far the guests' TSC is ahead of the machine's clock, in ticks. The vCPU's thread.</summary>
    internal long GetDrift(KvmVcpu vcpu)
    {
        lock (_lock)
            return _timeBase is ulong current ? (long)(ReadHostTsc(vcpu) + current - _clock.Tsc) : 0;
    }

    /// <summary>Ticks that are not worth a correction.</summary>
    internal long ToleratedTicks => (long)(_clock.TscFrequency / 1000 * TimeTolerance / 1_000_000);

    private void Fail(VirtualCpu cpu, Exception error)
    {
        Volatile.Write(ref _failure, error);
        cpu.Signal(PendingEvents.Kick);
    }

    private static ulong FindTscFrequency(KvmDevice device)
    {
        using KvmVm vm = device.CreateVm();
        using KvmVcpu vcpu = vm.CreateVcpu(0);
        return (ulong)vcpu.TscKilohertz * 1000;
    }

    private static ulong ReadHostTsc(KvmVcpu vcpu)
    {
        Span<KvmMsr> msr = [new KvmMsr { Index = MsrIndex.Tsc }];
        _ = vcpu.GetMsrs(msr);
        return msr[0].Data - vcpu.TscOffset;
    }

    private static bool? ReadParameter(string module, string parameter)
    {
        try
        {
            return File.ReadAllText($"/sys/module/{module}/parameters/{parameter}").Trim() is "Y" or "1";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static string Alternatives(KvmCpuidEntry[] supported)
    {
        string[] usable = [.. CpuModels.All.Where(model => KvmCpuid.FindMissing(model, supported).Count == 0).Select(model => model.Name)];
        return usable.Length == 0 ? "it can't run any of the models" : $"models that it can run: {string.Join(", ", usable)}";
    }

    private (uint First, bool[] Kept)[] KeptMsrs(CpuModel model)
    {
        List<(uint, bool[])> kept =
        [
            (MsrIndex.SysenterCs, [true, true, true]),
            (MsrIndex.Pat, [true]),
            (MsrIndex.Efer, [true, true, true, true, true]),
            (MsrIndex.FsBase, [true, true, true, true]),
        ];
        if (_keepsSpecCtrl)
            kept.Add((MsrIndex.SpecCtrl, [true, true]));
        if (LocalApics is not null && model.Has(CpuFeature.TscDeadline))
            kept.Add((MsrIndex.TscDeadline, [true]));
        return [.. kept];
    }

    private void SetTscRate(KvmVcpu vcpu)
    {
        int host = vcpu.TscKilohertz, wanted = (int)(_clock.TscFrequency / 1000);
        if (IsSameFrequency((ulong)host, (ulong)wanted))
            return;
        if (_device.Check(KvmCapability.TscControl) == 0)
        {
            throw new KvmException(string.Create(
                CultureInfo.InvariantCulture,
                $"the machine's TSC counts {wanted / 1000.0:0.0} MHz and this host's processor can't scale its own of {host / 1000.0:0.0} MHz; a machine that was made for this rate (--tsc-frequency {(ulong)host * 1000}), or another engine, would be right"));
        }

        vcpu.TscKilohertz = wanted;
    }

    private void Close()
    {
        lock (_lock)
        {
            if (_isDisposed)
                return;
            _isDisposed = true;
            _counts?.Dispose();
            _vm?.Dispose();
            _device?.Dispose();
        }
    }
}
