using Doppel.Engines.Kvm;
using Doppel.Machine.Cpu.Models;
using Doppel.Vmm;
using Doppel.Vmm.Images;

namespace Doppel.Nested;

/// <summary>Doppel's default guest, at whose console commands are typed.</summary>
internal sealed class NestedGuest(VirtualMachine machine) : IAsyncDisposable
{
    // Emulated twice, a boot takes tens of seconds.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(4);
    private const string Prompt = "root@doppel:~# ";

    internal VirtualMachine Machine => machine;

    public ValueTask DisposeAsync() => machine.DisposeAsync();

    /// <summary>The default guest on an engine, such that any engine may go on with it.</summary>
    internal static MachineSpec Describe(GuestImage image, string engine, int cpus) => MachineSpec.ForImage(image) with
    {
        Engine = engine,
        Cpus = cpus,
        Memory = 256UL << 20,
        CpuModel = CpuModels.Version2Compat.Name,
        TscFrequency = KvmMachine.FindTscFrequency(),
        RebootOnReset = false,
    };

    /// <summary>Boots to the shell.</summary>
    internal static async Task<NestedGuest> BootAsync(MachineSpec spec)
    {
        var guest = new NestedGuest(VirtualMachine.Create(spec));
        try
        {
            guest.Machine.Start();
            await guest.WaitForPromptAsync();
            // Nor are the kernel's messages part of an answer.
            _ = await guest.RunAsync("stty cols 1000; dmesg -n 1");
            return guest;
        }
        catch
        {
            await guest.DisposeAsync();
            throw;
        }
    }

    internal async Task WaitForPromptAsync() => _ = await ReadUntilAsync(Prompt);

    /// <summary>Types a command and returns what it writes.</summary>
    internal async Task<string> RunAsync(string command)
    {
        machine.Console.WriteLine(command);
        _ = await ReadUntilAsync("\n");
        string answer = await ReadUntilAsync(Prompt);
        return answer[..^Prompt.Length].Replace("\r", "", StringComparison.Ordinal).TrimEnd('\n');
    }

    /// <summary>Types a command and checks what it writes.</summary>
    internal async Task ExpectAsync(string command, string answer)
    {
        string given = await RunAsync(command);
        if (given != answer)
            throw new NestedException($"\"{command}\" wrote \"{given}\"; \"{answer}\" is right");
    }

    internal async Task<string> ReadUntilAsync(string text)
    {
        Task<VmExit> end = machine.WaitAsync();
        Task<string> read = machine.Console.ReadUntilAsync(text, Patience);
        if (await Task.WhenAny(end, read) == end && !read.IsCompletedSuccessfully)
            throw new NestedException($"the machine ended before \"{text}\" came: {(await end).Message}; the console said: {Tail()}");
        try
        {
            return await read;
        }
        catch (TimeoutException)
        {
            string where = string.Join("; ", (await machine.LocateCpusAsync()).Select(location => location.ToString()));
            throw new NestedException($"\"{text}\" did not come in {Patience.TotalSeconds} s; vCPUs: {where}; the console said: {Tail()}");
        }
    }

    private string Tail()
    {
        string text = machine.Console.Transcript;
        return text[Math.Max(0, text.Length - 600)..];
    }
}
