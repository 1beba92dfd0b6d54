using System.Diagnostics;
using System.Net.Sockets;
using Doppel.Host.Events;
using Doppel.Host.Files;

namespace Doppel.Devices.Network;

/// <summary>
/// A learning switch between machines of one user. Nothing hosts it: each member listens on a socket of its own, named after
/// its address, in the switch's directory, and is connected to each other member, so that a member's death concerns nobody
/// else. Each learns which member an address is behind; what is for nobody in particular goes to all. Frames travel with their
/// <see cref="FrameOffload"/> and are finished by the receiver, if at all. A member that is slow makes senders wait for a
/// moment; one that takes nothing loses frames.
/// </summary>
public sealed class SwitchNetwork : PolledNetwork
{
    private const string Extension = ".member";
    private const int MaximumFrame = 65536 + 64;
    private const int MaximumMembers = 256;
    private const int MaximumAddresses = 4096;
    private const int Burst = 32;
    private const int SendBuffer = 1 << 20;
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(50);
    private static readonly byte[] Greeting = "doppel switch 1\n"u8.ToArray();
    private readonly List<SwitchMember> _members = [];
    private readonly Dictionary<ulong, SwitchMember> _learned = [];
    private readonly PollList _writable = new();
    private readonly byte[] _incoming = new byte[FrameOffload.Length + MaximumFrame];
    private readonly byte[] _outgoing = new byte[FrameOffload.Length + MaximumFrame];
    private readonly Socket _listener;
    private readonly string _path;
    private int _listenerIndex;

    /// <summary>Joins a switch.</summary>
    /// <param name="directory">The switch's directory; made if there is none. With a member's file name its path must be short enough for a socket's address: 107 bytes.</param>
    /// <param name="address">This member's address, which no other member may have.</param>
    /// <exception cref="IOException">The directory can't be used, or the address is taken.</exception>
    public SwitchNetwork(string directory, MacAddress address)
        : base("doppel-net-switch")
    {
        ArgumentNullException.ThrowIfNull(directory);
        Address = address;
        _path = PathOf(directory, address);
        PrivateDirectory.Ensure(directory);
        _listener = Listen(directory, _path);
        try
        {
            // Whoever comes later finds this member's socket; who was there first is found here.
            foreach (string path in Directory.EnumerateFiles(directory, "*" + Extension).Where(path => path != _path).ToArray())
                Join(path);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>This member's address.</summary>
    public MacAddress Address { get; }

    /// <inheritdoc/>
    public override NetworkOffloads Offloads => NetworkOffloads.All;

    /// <summary>True when a member of a switch has an address.</summary>
    public static bool IsTaken(string directory, MacAddress address)
    {
        string path = PathOf(directory, address);
        return File.Exists(path) && !RemoveIfStale(path);
    }

    /// <inheritdoc/>
    protected override void Forward(in FrameOffload offload, Span<byte> frame)
    {
        offload.Write(_outgoing, 1);
        frame.CopyTo(_outgoing.AsSpan(FrameOffload.Length));
        ReadOnlySpan<byte> message = _outgoing.AsSpan(0, FrameOffload.Length + frame.Length);
        var to = MacAddress.Read(frame);
        if (!to.IsMulticast && _learned.TryGetValue(to.Value, out SwitchMember? member))
        {
            SendTo(member, message, mayWait: true);
            return;
        }

        for (int i = _members.Count - 1; i >= 0; i--)
        {
            if (_members[i].IsPrimary)
                SendTo(_members[i], message, mayWait: false);
        }
    }

    /// <inheritdoc/>
    protected override void Close()
    {
        foreach (SwitchMember member in _members)
            member.Dispose();
        // The file goes first: nobody may take a socket for stale that another has just made.
        File.Delete(_path);
        _listener.Dispose();
    }

    /// <inheritdoc/>
    protected override int Prepare(PollList list)
    {
        _listenerIndex = list.Add((int)_listener.Handle, PollEvents.In);
        // What the guest has no room for stays with the kernel, and makes senders wait. A negative descriptor is passed over.
        foreach (SwitchMember member in _members)
            member.Index = list.Add(HasPending ? -1 : member.Descriptor, PollEvents.In);
        return -1;
    }

    /// <inheritdoc/>
    protected override void Work(PollList list)
    {
        ArgumentNullException.ThrowIfNull(list);
        // From the end, since members that are gone are removed on the way.
        for (int i = _members.Count - 1; i >= 0; i--)
        {
            if (i < _members.Count && list[_members[i].Index] != PollEvents.None)
                ReceiveFrom(_members[i]);
        }

        if (list[_listenerIndex] != PollEvents.None)
            Accept();
    }

    private static string PathOf(string directory, MacAddress address) =>
        Path.Combine(directory, address.ToString().Replace(":", "", StringComparison.Ordinal) + Extension);

    private static Socket NewSocket() => new(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);

    private static Socket Listen(string directory, string path)
    {
        // It gets its name when it listens already, so that nobody takes it for a stale one.
        string hidden = Path.Combine(directory, $".{Guid.NewGuid().ToString("N")[..8]}");
        Socket listener = NewSocket();
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(hidden));
            listener.Listen(64);
            listener.Blocking = false;
            if (File.Exists(path) && !RemoveIfStale(path))
                throw new IOException($"the address of {Path.GetFileName(path)} is another member's already");
            File.Move(hidden, path);
            return listener;
        }
        catch (Exception e) when (e is SocketException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            listener.Dispose();
            File.Delete(hidden);
            throw new IOException($"the switch in {directory} can't be joined: {e.Message}", e);
        }
    }

    private static bool RemoveIfStale(string path)
    {
        using Socket probe = NewSocket();
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
            return false;
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.ConnectionRefused or SocketError.AddressNotAvailable)
        {
            File.Delete(path);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private void Join(string path)
    {
        Socket socket = NewSocket();
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            var member = new SwitchMember(socket, Path.GetFileName(path), SendBuffer);
            byte[] greeting = [.. Greeting, .. System.Text.Encoding.UTF8.GetBytes(Path.GetFileName(_path))];
            if (member.TrySend(greeting))
            {
                Add(member);
                return;
            }
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.ConnectionRefused or SocketError.AddressNotAvailable)
        {
            File.Delete(path);
        }
        catch (SocketException)
        {
            // It has gone, or has more to do than it can: it joins this one when it comes again.
        }

        socket.Dispose();
    }

    private void Accept()
    {
        for (int i = 0; i < Burst; i++)
        {
            Socket socket;
            try
            {
                socket = _listener.Accept();
            }
            catch (SocketException)
            {
                return;
            }

            if (_members.Count >= MaximumMembers)
                socket.Dispose();
            else
                Add(new SwitchMember(socket, null, SendBuffer));
        }
    }

    private void Add(SwitchMember member)
    {
        _members.Add(member);
        ChoosePrimaries();
    }

    // Two that joined at the same moment have two connections; each sends on one, and listens on both.
    private void ChoosePrimaries()
    {
        var names = new HashSet<string>();
        foreach (SwitchMember member in _members)
            member.IsPrimary = member.Name is not null && names.Add(member.Name);
    }

    private void Remove(SwitchMember member)
    {
        _ = _members.Remove(member);
        foreach (ulong address in _learned.Where(entry => entry.Value == member).Select(entry => entry.Key).ToArray())
            _ = _learned.Remove(address);
        member.Dispose();
        ChoosePrimaries();
    }

    private void ReceiveFrom(SwitchMember member)
    {
        for (int i = 0; i < Burst && !HasPending; i++)
        {
            int count = member.Receive(_incoming);
            if (count < 0)
                return;
            ReadOnlySpan<byte> message = _incoming.AsSpan(0, count);
            if (count == 0 || (member.Name is null && !TryGreet(member, message)))
            {
                Remove(member);
                return;
            }

            if (count >= FrameOffload.Length + (2 * MacAddress.Length) && !message.StartsWith(Greeting))
                Take(member, message);
        }
    }

    private bool TryGreet(SwitchMember member, ReadOnlySpan<byte> message)
    {
        if (!message.StartsWith(Greeting))
            return false;
        member.Name = System.Text.Encoding.UTF8.GetString(message[Greeting.Length..]);
        ChoosePrimaries();
        return true;
    }

    private void Take(SwitchMember member, ReadOnlySpan<byte> message)
    {
        ReadOnlySpan<byte> frame = message[FrameOffload.Length..];
        if (!FrameOffload.TryRead(message, frame, out FrameOffload offload))
            return;
        var from = MacAddress.Read(frame[MacAddress.Length..]);
        if (!from.IsMulticast && (!_learned.TryGetValue(from.Value, out SwitchMember? known) || (known.Name != member.Name)))
        {
            if (_learned.Count >= MaximumAddresses)
                _learned.Clear();
            _learned[from.Value] = _members.Find(other => other.IsPrimary && other.Name == member.Name) ?? member;
        }

        Deliver(offload with { IsChecked = false }, frame);
    }

    private void SendTo(SwitchMember member, ReadOnlySpan<byte> message, bool mayWait)
    {
        if (member.TrySend(message))
        {
            member.IsStuck = false;
            return;
        }

        if (!mayWait || member.IsStuck || member.IsGone)
            return;
        long begin = Stopwatch.GetTimestamp();
        while (!member.IsGone)
        {
            int left = (int)(Patience - Stopwatch.GetElapsedTime(begin)).TotalMilliseconds;
            if (left <= 0)
            {
                // Until it takes something again, nobody waits for it.
                member.IsStuck = true;
                return;
            }

            WaitWritable(member, left);
            if (member.TrySend(message))
                return;
        }
    }

    /// <summary>Waits for room at a member, which may be waiting for room here: so what comes is received meanwhile.</summary>
    private void WaitWritable(SwitchMember member, int timeout)
    {
        _writable.Clear();
        int woken = _writable.Add(Signal.Descriptor, PollEvents.In);
        _ = _writable.Add(member.Descriptor, PollEvents.Out);
        SwitchMember[] others = HasPending ? [] : [.. _members];
        int first = _writable.Count;
        foreach (SwitchMember other in others)
            _ = _writable.Add(other.Descriptor, PollEvents.In);
        _ = _writable.Wait(timeout);
        if (_writable[woken] != PollEvents.None)
        {
            // The thread looks for frames to send in any case when this one is sent.
            Signal.Clear();
            DeliverPending();
        }

        for (int i = 0; i < others.Length; i++)
        {
            if (_writable[first + i] != PollEvents.None && !others[i].IsGone)
                ReceiveFrom(others[i]);
        }
    }
}
