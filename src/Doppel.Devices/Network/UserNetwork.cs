using System.Buffers.Binary;
using Doppel.Host;
using Doppel.Host.Events;
using Doppel.Host.Network;

namespace Doppel.Devices.Network;

/// <summary>
/// User-mode NAT (<see cref="Slirp"/>): the guest's connections are sockets of this process, so no rights are needed. TCP
/// crosses it in frames of up to 64 KiB whatever the MTU: what the guest sends is not cut at all, and the guest's maximum
/// segment size is hidden from the library, whose segments then reach the guest as if its card had put small ones together.
/// </summary>
public sealed class UserNetwork : PolledNetwork, ISlirpGuest
{
    /// <summary>The MTU that is usual.</summary>
    public const int DefaultMtu = 1500;

    private const int EthernetLength = 14;
    private readonly int _mtu;
    private readonly Slirp _slirp;

    /// <summary>Opens a network.</summary>
    /// <param name="forwards">Ports of the host that lead to ports of the guest.</param>
    /// <param name="mtu">Largest packet that the guest may be given, 68 to 65521.</param>
    /// <param name="bootFile">File that DHCP names to guests that boot from the network; TFTP gives it and the other files of its folder. Null for none.</param>
    /// <exception cref="HostException">A port can't be had.</exception>
    /// <exception cref="InvalidOperationException">The library is missing.</exception>
    public UserNetwork(IEnumerable<PortForward>? forwards = null, int mtu = DefaultMtu, string? bootFile = null)
        : base("doppel-net-user")
    {
        _mtu = Math.Min(mtu, Slirp.MaximumPacket);
        _slirp = new Slirp(this, bootFile);
        try
        {
            foreach (PortForward forward in forwards ?? [])
                _slirp.AddForward(forward.IsUdp, forward.HostAddress, forward.HostPort, forward.GuestPort);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>True when the host has the library.</summary>
    public static bool IsAvailable => Slirp.IsAvailable;

    /// <summary>Debian's name of the package with the library.</summary>
    public static string Package => Slirp.Package;

    /// <summary>False: connections are this process's and end with it.</summary>
    public override bool IsMovable => false;

    /// <inheritdoc/>
    public override NetworkOffloads Offloads => NetworkOffloads.Checksum | NetworkOffloads.Tcp4 | NetworkOffloads.Tcp6 | NetworkOffloads.Ecn;

    /// <inheritdoc/>
    protected override void Forward(in FrameOffload offload, Span<byte> frame)
    {
        if (FrameHeaders.TryFind(frame, out FrameHeaders headers) && headers.Protocol == FrameHeaders.Tcp)
            TcpOptions.HideSegmentSize(frame[headers.Transport..], offload.NeedsChecksum);
        if (offload.NeedsChecksum)
            InternetChecksum.Complete(offload, frame);
        if (frame.Length <= EthernetLength + Slirp.MaximumPacket)
            _slirp.Input(frame);
    }

    /// <inheritdoc/>
    void ISlirpGuest.Receive(Span<byte> frame)
    {
        if (frame.Length <= EthernetLength + _mtu)
        {
            Deliver(new FrameOffload { IsChecked = true }, frame);
        }
        else if (FrameHeaders.TryFind(frame, out FrameHeaders headers))
        {
            if (headers.Protocol == FrameHeaders.Tcp)
                DeliverLarge(headers, frame);
            else if (!headers.IsIpv6)
                DeliverFragments(headers, frame);
        }
    }

    /// <inheritdoc/>
    protected override void Close() => _slirp?.Dispose();

    /// <inheritdoc/>
    protected override int Prepare(PollList list) => _slirp.Fill(list);

    /// <inheritdoc/>
    protected override void Work(PollList list) => _slirp.Poll(list);

    private void DeliverLarge(FrameHeaders headers, Span<byte> frame)
    {
        Span<byte> segment = frame[headers.Transport..];
        int header = segment.Length >= 20 ? (segment[12] >> 4) * 4 : 0;
        int size = _mtu - (headers.Transport - headers.Network) - header;
        if (header < 20 || header >= segment.Length || size <= 0)
            return;
        var offload = new FrameOffload
        {
            NeedsChecksum = true,
            Kind = headers.IsIpv6 ? SegmentKind.Tcp6 : SegmentKind.Tcp4,
            HeaderLength = (ushort)(headers.Transport + header),
            SegmentSize = (ushort)size,
            ChecksumStart = (ushort)headers.Transport,
            ChecksumOffset = 16,
        };
        // Whoever cuts the frame, or takes it whole, expects the sum of the pseudo header here.
        BinaryPrimitives.WriteUInt16BigEndian(segment[16..], (ushort)~InternetChecksum.Finish(headers.PseudoHeader(frame, FrameHeaders.Tcp, segment.Length)));
        Deliver(offload, frame);
    }

    // The library takes the MTU for what TCP may use of it, so what is too large otherwise is cut here (RFC 791, 3.2).
    private void DeliverFragments(FrameHeaders headers, Span<byte> frame)
    {
        const ushort MoreFragments = 0x2000;
        int headerLength = headers.Transport - headers.Network, total = frame.Length - headers.Transport;
        int size = (_mtu - headerLength) & ~7;
        if (size <= 0)
            return;
        byte[] fragment = new byte[headers.Transport + size];
        frame[..headers.Transport].CopyTo(fragment);
        Span<byte> header = fragment.AsSpan(headers.Network, headerLength);
        for (int at = 0; at < total; at += size)
        {
            int length = Math.Min(size, total - at);
            BinaryPrimitives.WriteUInt16BigEndian(header[2..], (ushort)(headerLength + length));
            BinaryPrimitives.WriteUInt16BigEndian(header[6..], (ushort)((at / 8) | (at + length < total ? MoreFragments : 0)));
            header[10..12].Clear();
            BinaryPrimitives.WriteUInt16BigEndian(header[10..], InternetChecksum.Finish(InternetChecksum.Add(header)));
            frame.Slice(headers.Transport + at, length).CopyTo(fragment.AsSpan(headers.Transport));
            Deliver(default, fragment.AsSpan(0, headers.Transport + length));
        }
    }
}
