using System.Diagnostics;
using System.Net.Sockets;
using System.Text.Json;

namespace Doppel.Bench;

/// <summary>Moves a guest between two QEMU processes, over QMP (QEMU QMP reference, "Migration").</summary>
internal static class QemuMigration
{
    /// <summary>Boots the guest, waits until it is loaded, moves it.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="initrd">The initial RAM disk.</param>
    /// <param name="append">The command line.</param>
    /// <param name="memory">Memory of the machine.</param>
    /// <param name="downtime">Milliseconds that are asked for.</param>
    /// <param name="bootTime">Most time for the boot.</param>
    /// <param name="cancel">Ends it.</param>
    public static async Task<Move> MoveAsync(string kernel, string initrd, string append, string memory, int downtime, TimeSpan bootTime, CancellationToken cancel)
    {
        string folder = Directory.CreateTempSubdirectory("doppel-q-").FullName;
        string[] Arguments(string qmp) =>
        [
            "-accel", "tcg", "-m", memory, "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel, "-initrd", initrd, "-append", append,
            "-qmp", $"unix:{Path.Combine(folder, qmp)},server=on,wait=off",
        ];
        string channel = $"unix:{Path.Combine(folder, "channel")}";
        using Process source = Tool.Start("qemu-system-x86_64", Arguments("source"));
        Process? target = null;
        try
        {
            await WaitForLoadAsync(source).WaitAsync(bootTime, cancel);
            await Task.Delay(TimeSpan.FromSeconds(2), cancel);
            target = Tool.Start("qemu-system-x86_64", [.. Arguments("target"), "-incoming", "defer"]);
            using (StreamReader waiting = await QmpAsync(Path.Combine(folder, "target"), cancel))
            {
                _ = await AskAsync(waiting, "qmp_capabilities", null, cancel);
                _ = await AskAsync(waiting, "migrate-incoming", $"{{\"uri\":\"{channel}\"}}", cancel);
            }

            using StreamReader reader = await QmpAsync(Path.Combine(folder, "source"), cancel);
            _ = await AskAsync(reader, "qmp_capabilities", null, cancel);
            _ = await AskAsync(reader, "migrate-set-parameters", $"{{\"downtime-limit\":{downtime},\"max-bandwidth\":{1L << 40}}}", cancel);
            _ = await AskAsync(reader, "migrate", $"{{\"uri\":\"{channel}\"}}", cancel);
            using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(50));
            while (await timer.WaitForNextTickAsync(cancel))
            {
                JsonElement now = await AskAsync(reader, "query-migrate", null, cancel);
                switch (now.GetProperty("status").GetString())
                {
                    case "completed":
                        return new Move(now.GetProperty("downtime").GetDouble(), now.GetProperty("total-time").GetDouble() / 1000, now.GetProperty("ram").GetProperty("transferred").GetDouble(), null);
                    case "failed":
                        throw new BenchException($"QEMU's migration failed: {now}");
                    default:
                        break;
                }
            }

            throw new BenchException("QEMU's migration did not end");
        }
        finally
        {
            Tool.Kill(source);
            if (target is not null)
            {
                Tool.Kill(target);
                target.Dispose();
            }

            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task WaitForLoadAsync(Process machine)
    {
        while (await machine.StandardOutput.ReadLineAsync() is string line)
        {
            if (line.Contains("@bench loaded", StringComparison.Ordinal))
            {
                return;
            }
        }

        throw new BenchException($"QEMU ended: {await machine.StandardError.ReadToEndAsync()}");
    }

    private static async Task<StreamReader> QmpAsync(string path, CancellationToken cancel)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(50));
        for (int i = 0; ; i++)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancel);
                var reader = new StreamReader(new NetworkStream(socket, ownsSocket: true));
                _ = await reader.ReadLineAsync(cancel);
                return reader;
            }
            catch (SocketException e)
            {
                socket.Dispose();
                if (i == 200)
                {
                    throw new BenchException($"QEMU does not listen: {e.Message}");
                }

                _ = await timer.WaitForNextTickAsync(cancel);
            }
        }
    }

    private static async Task<JsonElement> AskAsync(StreamReader reader, string command, string? arguments, CancellationToken cancel)
    {
        string request = arguments is null ? $"{{\"execute\":\"{command}\"}}\n" : $"{{\"execute\":\"{command}\",\"arguments\":{arguments}}}\n";
        await reader.BaseStream.WriteAsync(System.Text.Encoding.ASCII.GetBytes(request), cancel);
        // Events come between.
        while (await reader.ReadLineAsync(cancel) is string line)
        {
            JsonElement answer = JsonDocument.Parse(line).RootElement;
            if (answer.TryGetProperty("return", out JsonElement result))
            {
                return result;
            }

            if (answer.TryGetProperty("error", out JsonElement error))
            {
                throw new BenchException($"QEMU: {command}: {error}");
            }
        }

        throw new BenchException("QEMU has ended");
    }
}
