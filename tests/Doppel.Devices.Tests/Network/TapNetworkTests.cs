using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Doppel.Devices.Network;
using Doppel.Host.Network;

namespace Doppel.Devices.Tests.Network;

/// <summary>A tap interface, for those who may make one.</summary>
public sealed class TapNetworkTests : IDisposable
{
    private readonly string _name = $"dtap{Environment.ProcessId % 100_000}";
    private TapNetwork? _network;

    public void Dispose() => _network?.Dispose();

    [TapFact]
    public void The_host_answers_and_sends_to_it()
    {
        _network = new TapNetwork(_name);
        var guest = new RecordingAdapter(_network);
        Run("addr", "add", "192.168.231.1/24", "dev", _name);
        Run("neigh", "add", "192.168.231.2", "lladdr", "02:00:00:00:00:01", "dev", _name, "nud", "permanent");
        Run("link", "set", _name, "up");
        byte[] own = [2, 0, 0, 0, 0, 1];
        guest.Send([.. Enumerable.Repeat((byte)0xFF, 6), .. own, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, .. own, 192, 168, 231, 2, 0, 0, 0, 0, 0, 0, 192, 168, 231, 1]);
        byte[] answer = guest.Next(frame => frame[12] == 8 && frame[13] == 6 && frame[21] == 2).Frame;
        Assert.Equal([192, 168, 231, 1], answer[28..32]);

        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        _ = socket.SendTo(new byte[100], new IPEndPoint(IPAddress.Parse("192.168.231.2"), 7));
        (FrameOffload offload, byte[] datagram) = guest.Next(frame => frame[12] == 8 && frame[13] == 0 && frame[23] == 17);
        Assert.Equal(142, datagram.Length);
        if (offload.NeedsChecksum)
            InternetChecksum.Complete(offload, datagram);
        Assert.Equal(new byte[100], Frames.Check(datagram));
    }

    [TapFact]
    public void An_interface_that_is_in_use_is_refused()
    {
        _network = new TapNetwork(_name);
        IOException error = Assert.ThrowsAny<IOException>(() => new TapNetwork(_name));
        Assert.Contains(_name, error.Message, StringComparison.Ordinal);
    }

    private static void Run(params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo("ip", arguments) { RedirectStandardError = true })!;
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"ip {string.Join(' ', arguments)}: {errors}");
    }

    private sealed class TapFactAttribute : FactAttribute
    {
        public TapFactAttribute()
        {
            if (!CanMakeTaps())
                Skip = "this user may not make tap interfaces here, or ip (iproute2) is missing";
        }

        private static bool CanMakeTaps()
        {
            try
            {
                new TapDevice("dtap-probe", FrameOffload.Length).Dispose();
                using Process process = Process.Start(new ProcessStartInfo("ip", ["link"]) { RedirectStandardOutput = true })!;
                _ = process.StandardOutput.ReadToEnd();
                process.WaitForExit();
                return process.ExitCode == 0;
            }
            catch (Exception e) when (e is IOException or System.ComponentModel.Win32Exception)
            {
                return false;
            }
        }
    }
}
