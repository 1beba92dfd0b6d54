using System.Text;

namespace Doppel.Host.Network;

/// <summary>
/// A tap device of the kernel (Documentation/networking/tuntap.rst): frames that this process writes arrive on the host's
/// interface, and what is sent there is read here, each behind a struct virtio_net_hdr of 12 bytes. One thread at a time.
/// </summary>
public sealed unsafe class TapDevice : IDisposable
{
    /// <summary>Longest name of an interface.</summary>
    public const int MaximumName = TapFlags.InterfaceNameLength - 1;

    private const string ControlDevice = "/dev/net/tun";

    /// <summary>Attaches to an interface; makes it when there is none of that name and the user may.</summary>
    /// <param name="name">Its name, 1 to <see cref="MaximumName"/> bytes.</param>
    /// <param name="headerLength">Bytes of the header in front of each frame.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public TapDevice(string name, int headerLength)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(name);
        if (bytes.Length is 0 or > MaximumName)
            throw new ArgumentException($"an interface's name has 1 to {MaximumName} bytes", nameof(name));
        Descriptor = (int)HostError.Check(LibC.Open(ControlDevice, TapFlags.ReadWrite | TapFlags.NonBlocking | TapFlags.CloseOnExec), "open", ControlDevice);
        try
        {
            InterfaceRequest request = default;
            bytes.CopyTo(new Span<byte>(request.Name, TapFlags.InterfaceNameLength));
            request.Flags = TapFlags.Tap | TapFlags.NoPacketInformation | TapFlags.HasVirtioHeader;
            _ = HostError.Check(TapCalls.Control(Descriptor, TapFlags.SetInterface, &request), "ioctl", $"TUNSETIFF of {name}");
            _ = HostError.Check(TapCalls.Control(Descriptor, TapFlags.SetHeaderSize, &headerLength), "ioctl", $"TUNSETVNETHDRSZ of {name}");
            const uint Tcp = TapFlags.OffloadChecksum | TapFlags.OffloadTcp4 | TapFlags.OffloadTcp6 | TapFlags.OffloadEcn;
            // Kernels before 6.2 know no UDP segmentation here.
            HasUdpSegmentation = TapCalls.Control(Descriptor, TapFlags.SetOffload, Tcp | TapFlags.OffloadUdp4 | TapFlags.OffloadUdp6) == 0;
            if (!HasUdpSegmentation)
                _ = HostError.Check(TapCalls.Control(Descriptor, TapFlags.SetOffload, (nuint)Tcp), "ioctl", $"TUNSETOFFLOAD of {name}");
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The descriptor, to wait for.</summary>
    public int Descriptor { get; }

    /// <summary>True when frames of several UDP datagrams may be written.</summary>
    public bool HasUdpSegmentation { get; }

    /// <summary>Reads a header and a frame.</summary>
    /// <returns>Number of bytes; 0 when there is none, or the interface is down.</returns>
    public int Read(Span<byte> buffer)
    {
        fixed (byte* bytes = buffer)
        {
            nint count = LibC.Read(Descriptor, bytes, (nuint)buffer.Length);
            if (count >= 0)
                return (int)count;
        }

        // An interface that is down gives EIO until it is up again.
        return 0;
    }

    /// <summary>Writes a header and a frame.</summary>
    /// <returns>False when the kernel does not take it, which loses the frame: the interface is down, or the header makes no sense to it.</returns>
    public bool Write(ReadOnlySpan<byte> frame)
    {
        fixed (byte* bytes = frame)
            return LibC.Write(Descriptor, bytes, (nuint)frame.Length) == frame.Length;
    }

    /// <summary>Lets go of the interface. One that this object has made is gone then.</summary>
    public void Dispose() => _ = LibC.Close(Descriptor);
}
