using System.Diagnostics;
using System.Net.Sockets;
using Doppel.Engines.Kvm;

namespace Doppel.Cli.Commands.Machines;

/// <summary>
/// Does in a worker what a guest would that has taken it over, and says what came of it: so that anybody can see what a worker
/// is kept from. Nothing but a variable of the daemon's environment asks for it.
/// </summary>
internal static class ConfinementProbe
{
    /// <summary>The variable: what to try, separated by semicolons: read:PATH, write:PATH, list:PATH, start:PROGRAM, connect:SOCKET, signal:PROCESS or kvm:DEVICE.</summary>
    internal const string Variable = "DOPPEL_PROBE_CONFINEMENT";

    /// <summary>Tries each, and writes a line to a file: the try, "allowed" or "refused", and why.</summary>
    /// <exception cref="CliException">Always: a worker that was used for this runs no machine.</exception>
    internal static void Run(string tries, string resultFile)
    {
        var results = new List<string>();
        foreach (string each in tries.Split(';', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] parts = each.Split(':', 2);
            string result;
            try
            {
                Try(parts[0], parts[1]);
                // Threads of the process that were there before are no better off.
                Task.Run(() => Try(parts[0], parts[1])).GetAwaiter().GetResult();
                result = "allowed";
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or SocketException or InvalidOperationException or System.ComponentModel.Win32Exception)
            {
                result = $"refused: {e.Message}";
            }

            results.Add($"{each} {result}");
        }

        File.WriteAllLines(resultFile, results);
        throw new CliException(ExitCode.Host, $"what was to be tried is in {resultFile}");
    }

    private static void Try(string what, string target)
    {
        switch (what)
        {
            case "read":
                _ = File.ReadAllBytes(target);
                break;
            case "write":
                using (new FileStream(target, FileMode.OpenOrCreate, FileAccess.Write))
                {
                    // Having it open is enough.
                }

                break;
            case "list":
                _ = Directory.GetFileSystemEntries(target);
                break;
            case "start":
                Process.Start(new ProcessStartInfo(target) { UseShellExecute = false })!.Dispose();
                break;
            case "connect":
                using (var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
                    socket.Connect(new UnixDomainSocketEndPoint(target));
                break;
            case "signal":
                using (var process = Process.GetProcessById(int.Parse(target, System.Globalization.CultureInfo.InvariantCulture)))
                    process.Kill();
                break;
            case "kvm":
                // Makes a VM with a vCPU.
                _ = KvmMachine.FindTscFrequency(target);
                break;
            default:
                throw new InvalidOperationException($"{what} is nothing that can be tried");
        }
    }
}
