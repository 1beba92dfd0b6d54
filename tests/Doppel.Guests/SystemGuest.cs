using System.Globalization;
using Doppel.Vmm;
using Doppel.Vmm.Machines;
using Doppel.Vmm.Seeds;

namespace Doppel.Guests;

/// <summary>A whole Debian in which the test is logged in as root on the console.</summary>
internal sealed class SystemGuest(VirtualMachine machine) : IAsyncDisposable
{
    internal static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);
    private const string Mark = "--- status ";

    internal VirtualMachine Machine => machine;

    public ValueTask DisposeAsync() => machine.DisposeAsync();

    /// <summary>Boots a kept machine with settings, and logs in.</summary>
    internal static async Task<SystemGuest> BootAsync(KeptMachine kept, GuestSettings settings, Func<MachineSpec, MachineSpec>? change = null)
    {
        NoCloudSeed.Write(kept.SeedPath, settings, kept.Description.Id);
        var spec = MachineSpec.ForMachine(kept);
        spec = spec with
        {
            CommandLine = $"{spec.CommandLine} {NoCloudSeed.CommandLine(settings)}",
            Disks = [.. spec.Disks, new DiskSpec { Path = kept.SeedPath, IsReadOnly = true, Interface = DiskInterface.Nvme }],
        };
        var guest = new SystemGuest(VirtualMachine.Create(change?.Invoke(spec) ?? spec));
        guest.Machine.Start();
        await guest.LogInAsync(settings.HostName);
        return guest;
    }

    /// <summary>Waits for the login prompt and logs in.</summary>
    internal async Task LogInAsync(string hostName)
    {
        _ = await machine.Console.ReadUntilAsync($"{hostName} login: ", Patience);
        machine.Console.WriteLine("root");
        _ = await machine.Console.ReadUntilAsync("# ", Patience);
        // A shell without prompt and echo: what comes is what commands write. The kernel keeps to itself.
        machine.Console.WriteLine("dmesg -n 1; exec env PS1= TERM=dumb sh -c 'stty -echo cols 1000; echo rea''dy; exec sh'");
        _ = await machine.Console.ReadUntilAsync("ready\r\n", Patience);
    }

    /// <summary>Runs a command that must succeed.</summary>
    internal async Task<string> RunAsync(string command)
    {
        (string output, int status) = await TryAsync(command);
        Assert.True(status == 0, $"{command}: exit code {status}: {output}");
        return output;
    }

    /// <summary>Runs a command.</summary>
    internal async Task<(string Output, int Status)> TryAsync(string command)
    {
        // Without input: what is typed next is not the command's.
        machine.Console.WriteLine($"{{ {command}; }} </dev/null\necho \"{Mark}$?\"");
        string output = await machine.Console.ReadUntilAsync(Mark, Patience);
        string status = await machine.Console.ReadUntilAsync("\n", Patience);
        return (output[..^Mark.Length].Replace("\r", "", StringComparison.Ordinal).Trim('\n'), int.Parse(status, NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture));
    }

    /// <summary>Presses the power button and waits for the end.</summary>
    internal async Task ShutDownAsync()
    {
        Assert.True(machine.PressPowerButton());
        Assert.Equal(VmExitKind.PowerOff, (await machine.WaitAsync().WaitAsync(Patience)).Kind);
    }
}
