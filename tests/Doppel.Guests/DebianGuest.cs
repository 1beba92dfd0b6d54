using Doppel.Vmm;
using Doppel.Vmm.Images;

namespace Doppel.Guests;

/// <summary>A Debian guest that types commands and reads answers.</summary>
internal sealed class DebianGuest(VirtualMachine machine) : IAsyncDisposable
{
    internal const string Prompt = "root@doppel:~# ";
    internal static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    internal VirtualMachine Machine => machine;

    public ValueTask DisposeAsync() => machine.DisposeAsync();

    /// <summary>Boots to the shell.</summary>
    internal static async Task<DebianGuest> BootAsync(GuestImage image, Func<MachineSpec, MachineSpec>? change = null)
    {
        MachineSpec spec = TestedMachine.Describe(image);
        var guest = new DebianGuest(VirtualMachine.Create(change?.Invoke(spec) ?? spec));
        guest.Machine.Start();
        await guest.PrepareAsync();
        return guest;
    }

    /// <summary>Waits for the shell; makes its lines so long that no command is broken.</summary>
    internal async Task PrepareAsync()
    {
        _ = await machine.Console.ReadUntilAsync(Prompt, Patience);
        _ = await RunAsync("stty cols 1000");
    }

    /// <summary>Types a command and returns what it writes.</summary>
    internal async Task<string> RunAsync(string command)
    {
        machine.Console.WriteLine(command);
        _ = await machine.Console.ReadUntilAsync("\n", Patience);
        string answer = await machine.Console.ReadUntilAsync(Prompt, Patience);
        return answer[..^Prompt.Length].Replace("\r", "", StringComparison.Ordinal).TrimEnd('\n');
    }
}
