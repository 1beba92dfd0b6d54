using System.Diagnostics;
using System.Net;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Doppel.Host.Events;

namespace Doppel.Host.Network;

/// <summary>
/// A network of user-mode NAT by libslirp (Debian's libslirp0): the guest's connections become sockets of this process.
/// The guest is 10.0.2.15 of 10.0.2.0/24 by DHCP, the host 10.0.2.2, a name server 10.0.2.3; in IPv6 fec0::/64 by router
/// advertisements, the host fec0::2, a name server fec0::3. One thread at a time may use it.
/// </summary>
public sealed unsafe class Slirp : IDisposable
{
    /// <summary>Debian's name of the package with the library.</summary>
    public const string Package = "libslirp0";

    /// <summary>Largest packet, in both directions: IF_MTU_MAX of the library.</summary>
    public const int MaximumPacket = 65521;

    private readonly ISlirpGuest _guest;
    private readonly SlirpCallbacks* _callbacks;
    private readonly long[] _timers = [long.MaxValue];
    private GCHandle _self;
    private PollList? _list;
    private Exception? _failure;
    private nint _slirp;

    /// <summary>Opens the network.</summary>
    /// <param name="guest">Where frames for the guest go.</param>
    /// <param name="bootFile">File that DHCP names to guests that boot from the network; TFTP gives it and the other files of its folder. Null for none.</param>
    /// <exception cref="InvalidOperationException">The library is missing or refuses.</exception>
    public Slirp(ISlirpGuest guest, string? bootFile = null)
    {
        if (!IsAvailable)
            throw new InvalidOperationException($"{SlirpCalls.Library} is missing; install Debian's {Package}");
        _guest = guest;
        _self = GCHandle.Alloc(this);
        _callbacks = (SlirpCallbacks*)NativeMemory.AllocZeroed((nuint)sizeof(SlirpCallbacks));
        *_callbacks = new SlirpCallbacks
        {
            SendPacket = &OnSend,
            GuestError = &OnGuestError,
            GetNanoseconds = &OnGetTime,
            FreeTimer = &OnFreeTimer,
            ModifyTimer = &OnModifyTimer,
            RegisterDescriptor = &OnDescriptor,
            UnregisterDescriptor = &OnDescriptor,
            Notify = &OnNotify,
            NewTimerOpaque = &OnNewTimer,
        };
        SlirpConfiguration configuration = new()
        {
            Version = SlirpCalls.ConfigurationVersion,
            HasIpv4 = 1,
            Network = Address("10.0.2.0"),
            NetworkMask = Address("255.255.255.0"),
            Host = Address("10.0.2.2"),
            DhcpStart = Address("10.0.2.15"),
            NameServer = Address("10.0.2.3"),
            HasIpv6 = 1,
            Prefix6 = AddressOf6("fec0::"),
            PrefixLength6 = 64,
            Host6 = AddressOf6("fec0::2"),
            NameServer6 = AddressOf6("fec0::3"),
            Mtu = MaximumPacket,
            Mru = MaximumPacket,
        };
        // The library copies what it is given.
        if (bootFile is not null)
        {
            configuration.TftpPath = Marshal.StringToCoTaskMemUTF8(Path.GetDirectoryName(Path.GetFullPath(bootFile)));
            configuration.BootFile = Marshal.StringToCoTaskMemUTF8(Path.GetFileName(bootFile));
        }

        _slirp = SlirpCalls.New(&configuration, _callbacks, GCHandle.ToIntPtr(_self));
        Marshal.FreeCoTaskMem(configuration.TftpPath);
        Marshal.FreeCoTaskMem(configuration.BootFile);
        if (_slirp != 0)
            return;
        Dispose();
        throw new InvalidOperationException($"{SlirpCalls.Library} refuses the network's configuration");
    }

    /// <summary>True when the host has the library.</summary>
    public static bool IsAvailable { get; } = NativeLibrary.TryLoad(SlirpCalls.Library, out _);

    /// <summary>Takes a frame of the guest's.</summary>
    public void Input(ReadOnlySpan<byte> frame)
    {
        fixed (byte* bytes = frame)
            SlirpCalls.Input(_slirp, bytes, frame.Length);
        ThrowIfFailed();
    }

    /// <summary>Adds what the network waits for to a list.</summary>
    /// <returns>Milliseconds after which <see cref="Poll"/> is to be called in any case; -1 for no limit.</returns>
    public int Fill(PollList list)
    {
        ArgumentNullException.ThrowIfNull(list);
        uint timeout = uint.MaxValue;
        _list = list;
        SlirpCalls.Fill(_slirp, &timeout, &OnAddPoll, GCHandle.ToIntPtr(_self));
        long timer = _timers[0] == long.MaxValue ? long.MaxValue : Math.Max(0, _timers[0] - Milliseconds);
        long shortest = Math.Min(timer, timeout);
        return shortest <= int.MaxValue ? (int)shortest : -1;
    }

    /// <summary>Works on what was seen of the list that <see cref="Fill"/> has filled.</summary>
    public void Poll(PollList list)
    {
        _list = list;
        SlirpCalls.Poll(_slirp, 0, &OnGetEvents, GCHandle.ToIntPtr(_self));
        for (int id = 0; id < _timers.Length; id++)
        {
            if (_timers[id] > Milliseconds)
                continue;
            _timers[id] = long.MaxValue;
            SlirpCalls.HandleTimer(_slirp, id, 0);
        }

        ThrowIfFailed();
    }

    /// <summary>Leads a port of the host to one of the guest.</summary>
    /// <param name="isUdp">True for UDP, false for TCP.</param>
    /// <param name="host">The host's address, an IPv4 one.</param>
    /// <param name="hostPort">Its port, 1 to 65535.</param>
    /// <param name="guestPort">The guest's port, 1 to 65535.</param>
    /// <exception cref="HostException">The port can't be had.</exception>
    public void AddForward(bool isUdp, IPAddress host, int hostPort, int guestPort)
    {
        ArgumentNullException.ThrowIfNull(host);
        _ = HostError.Check(
            SlirpCalls.AddHostForward(_slirp, isUdp ? 1 : 0, Address(host.ToString()), hostPort, 0, guestPort), "bind", $"of {host}:{hostPort}/{(isUdp ? "udp" : "tcp")}");
    }

    /// <summary>Closes the network and all its sockets.</summary>
    public void Dispose()
    {
        if (!_self.IsAllocated)
            return;
        if (_slirp != 0)
            SlirpCalls.CleanUp(_slirp);
        _slirp = 0;
        _self.Free();
        NativeMemory.Free(_callbacks);
    }

    private static long Milliseconds => Stopwatch.GetTimestamp() / (Stopwatch.Frequency / 1000);

    // Addresses are kept in network byte order, so their bytes are taken as they come.
    private static uint Address(string text) => MemoryMarshal.Read<uint>(IPAddress.Parse(text).GetAddressBytes());

    private static Address6 AddressOf6(string text) => MemoryMarshal.Read<Address6>(IPAddress.Parse(text).GetAddressBytes());

    private static Slirp Of(nint opaque) => (Slirp)GCHandle.FromIntPtr(opaque).Target!;

    // No exception may pass through the library's frames.
    private void ThrowIfFailed()
    {
        if (_failure is Exception failure)
            throw new InvalidOperationException(failure.Message, failure);
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static nint OnSend(byte* frame, nuint length, nint opaque)
    {
        Slirp slirp = Of(opaque);
        try
        {
            slirp._guest.Receive(new Span<byte>(frame, checked((int)length)));
        }
        catch (Exception e)
        {
            slirp._failure ??= e;
        }

        return (nint)length;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnGuestError(nint message, nint opaque)
    {
        // A guest that misbehaves on its network harms itself.
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static long OnGetTime(nint opaque) => Milliseconds * 1_000_000;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static nint OnNewTimer(int id, nint callbackOpaque, nint opaque) => id + 1;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnFreeTimer(nint timer, nint opaque) => SetTimer(timer, long.MaxValue, opaque);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnModifyTimer(nint timer, long expires, nint opaque) => SetTimer(timer, expires, opaque);

    private static void SetTimer(nint timer, long expires, nint opaque)
    {
        long[] timers = Of(opaque)._timers;
        if (timer >= 1 && timer <= timers.Length)
            timers[timer - 1] = expires;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnDescriptor(int descriptor, nint opaque)
    {
        // Descriptors are listed anew for each wait.
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnNotify(nint opaque)
    {
        // Everything happens on one thread, which looks again in any case.
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int OnAddPoll(int descriptor, int events, nint opaque)
    {
        PollEvents wanted = ((events & SlirpCalls.PollIn) != 0 ? PollEvents.In : 0)
            | ((events & SlirpCalls.PollOut) != 0 ? PollEvents.Out : 0)
            | ((events & SlirpCalls.PollPriority) != 0 ? PollEvents.Priority : 0);
        return Of(opaque)._list!.Add(descriptor, wanted);
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int OnGetEvents(int index, nint opaque)
    {
        PollEvents seen = Of(opaque)._list![index];
        return ((seen & PollEvents.In) != 0 ? SlirpCalls.PollIn : 0)
            | ((seen & PollEvents.Out) != 0 ? SlirpCalls.PollOut : 0)
            | ((seen & PollEvents.Priority) != 0 ? SlirpCalls.PollPriority : 0)
            | ((seen & (PollEvents.Error | PollEvents.Invalid)) != 0 ? SlirpCalls.PollError : 0)
            | ((seen & PollEvents.HangUp) != 0 ? SlirpCalls.PollHangUp : 0);
    }
}
