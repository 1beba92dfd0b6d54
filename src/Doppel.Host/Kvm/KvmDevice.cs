using System.Runtime.InteropServices;

namespace Doppel.Host.Kvm;

/// <summary>The kernel's virtual machine monitor, /dev/kvm (Documentation/virt/kvm/api.rst). Any thread.</summary>
public sealed unsafe class KvmDevice : IDisposable
{
    /// <summary>Where it is.</summary>
    public const string DefaultPath = "/dev/kvm";

    /// <summary>The only version that there ever was.</summary>
    public const int ApiVersion = 12;

    private const int ReadWrite = 2;
    private const int CloseOnExec = 0x80000;
    private const int MostCpuidEntries = 256;
    private readonly KvmHandle _handle;

    /// <summary>Opens the device.</summary>
    /// <param name="path">Its path.</param>
    /// <exception cref="HostException">It isn't there, this user may not use it, or it is something else.</exception>
    public KvmDevice(string path = DefaultPath)
    {
        _handle = new KvmHandle((int)HostError.Check(LibC.Open(path, ReadWrite | CloseOnExec), "open", path));
        try
        {
            int version = _handle.Call(KvmRequest.GetApiVersion, (nuint)0, $"KVM_GET_API_VERSION of {path}");
            if (version != ApiVersion)
                throw new HostException("ioctl", 0, $"KVM_GET_API_VERSION of {path} gave {version}, {ApiVersion} is expected");
            RunSize = _handle.Call(KvmRequest.GetRunSize, (nuint)0, "KVM_GET_VCPU_MMAP_SIZE");
        }
        catch
        {
            _handle.Dispose();
            throw;
        }
    }

    /// <summary>Bytes of the memory that a vCPU's thread shares with the kernel.</summary>
    public int RunSize { get; }

    /// <summary>What the host has of something: 0 for nothing.</summary>
    public int Check(KvmCapability capability) => _handle.Call(KvmRequest.CheckExtension, (nuint)(int)capability, $"KVM_CHECK_EXTENSION {capability}");

    /// <summary>What CPUID can show to a guest here.</summary>
    public KvmCpuidEntry[] GetSupportedCpuid()
    {
        byte* buffer = stackalloc byte[8 + (MostCpuidEntries * sizeof(KvmCpuidEntry))];
        *(uint*)buffer = MostCpuidEntries;
        _ = _handle.Call(KvmRequest.GetSupportedCpuid, buffer, "KVM_GET_SUPPORTED_CPUID");
        return new ReadOnlySpan<KvmCpuidEntry>(buffer + 8, (int)*(uint*)buffer).ToArray();
    }

    /// <summary>Makes a VM without memory and vCPUs.</summary>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public KvmVm CreateVm()
    {
        // Creating a VM is interrupted by signals (Linux 5.9 and older even by those that were there before).
        while (true)
        {
            int descriptor = KvmCalls.Control(_handle.Descriptor, KvmRequest.CreateVm, (nuint)0);
            if (descriptor >= 0)
                return new KvmVm(new KvmHandle(descriptor), RunSize);
            if (Marshal.GetLastPInvokeError() != Events.EventFlags.Interrupted)
                HostError.Throw("ioctl", "KVM_CREATE_VM");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();
}
