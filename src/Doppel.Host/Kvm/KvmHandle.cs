using Microsoft.Win32.SafeHandles;

namespace Doppel.Host.Kvm;

/// <summary>A descriptor of KVM's: the device, a VM or a vCPU. Closing it while a call is under way waits for the call.</summary>
internal sealed unsafe class KvmHandle : SafeHandleZeroOrMinusOneIsInvalid
{
    internal KvmHandle(int descriptor)
        : base(ownsHandle: true) => SetHandle(descriptor);

    /// <summary>The descriptor, for calls that are made often; valid until disposal.</summary>
    internal int Descriptor => (int)handle;

    /// <summary>ioctl with a structure.</summary>
    /// <exception cref="HostException">The kernel refuses.</exception>
    internal int Call(nuint request, void* argument, string name)
    {
        ObjectDisposedException.ThrowIf(IsClosed, this);
        return (int)HostError.Check(KvmCalls.Control(Descriptor, request, argument), "ioctl", name);
    }

    /// <summary>ioctl with a number.</summary>
    /// <exception cref="HostException">The kernel refuses.</exception>
    internal int Call(nuint request, nuint argument, string name)
    {
        ObjectDisposedException.ThrowIf(IsClosed, this);
        return (int)HostError.Check(KvmCalls.Control(Descriptor, request, argument), "ioctl", name);
    }

    protected override bool ReleaseHandle() => LibC.Close(Descriptor) == 0;
}
