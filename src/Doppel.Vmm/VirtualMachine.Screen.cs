using System.Net;
using System.Net.Sockets;
using Doppel.Devices.Display;
using Doppel.Devices.Display.Rfb;
using Doppel.Devices.Input;

namespace Doppel.Vmm;

/// <content>Seeing and steering the machine.</content>
public sealed partial class VirtualMachine
{
    private RfbServer? _vnc;

    /// <summary>What the machine's screen shows; null when it has no display adapter. It is the same over resets.</summary>
    public GuestDisplay? Display => Spec.DisplayAdapter == DisplayAdapterKind.None ? null : _connections.Display;

    /// <summary>The machine's keyboard and pointer. It is the same over resets.</summary>
    public GuestInput Input => _connections.Input!;

    /// <summary>Where VNC clients find the display; null when they don't.</summary>
    public IPEndPoint? VncEndPoint => _vnc?.EndPoint;

    /// <summary>By which a user knows the VNC server's certificate: SHA-256 in hexadecimal digits; null without encryption.</summary>
    public string? VncFingerprint => _vnc?.Fingerprint;

    // Clients may come before the guest runs; they leave when it has ended.
    private void ServeVnc()
    {
        if (Spec.Vnc is not VncSpec spec)
            return;
        try
        {
            _vnc = RfbServer.Start(_connections.Display!, Input, spec.ToOptions(Spec.Name));
        }
        catch (IOException e)
        {
            throw new SpecException("vnc", $"--display vnc: {e.Message}{(e.InnerException is SocketException ? "; another display, or vnc alone for the first that is free, would be right" : "")}");
        }

        RfbServer server = _vnc;
        _ = _exit.Task.ContinueWith(_ => server.DisposeAsync().AsTask(), TaskScheduler.Default);
    }
}
