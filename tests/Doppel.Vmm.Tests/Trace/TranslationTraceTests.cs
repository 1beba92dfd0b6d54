using System.Text.RegularExpressions;
using Doppel.Devices.Console;
using Doppel.Vmm.Tests.Debugging;
using Doppel.Vmm.Trace;

namespace Doppel.Vmm.Tests.Trace;

public sealed class TranslationTraceTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-trace-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task Translated_blocks_are_shown_with_their_host_code()
    {
        LoopGuest guest = LoopGuest.Create();
        string[] lines = await RunAsync(guest, EngineNames.Translator);
        int at = Array.FindIndex(lines, line => line.StartsWith($"0 tran 0008:{guest.Loop:x16} 0x{guest.Loop:x} instructions=", StringComparison.Ordinal));
        Assert.True(at >= 0, string.Join('\n', lines.Take(20)));
        Assert.Matches(new Regex($"^0 code {guest.Loop:x16} 48ffc0 +inc rax +\\| [0-9a-f]{{16}} "), lines[at + 1]);
        Assert.Matches(new Regex($"^0 code {guest.Store:x16} [0-9a-f]+ +mov "), lines[at + 2]);
        Assert.Contains(lines, line => Regex.IsMatch(line, $"^0 code {guest.AfterCall:x16} 0f21f9 +mov rcx, dr7 \\(interpreted\\)"));
        // The host code holds the same INC of RAX, wherever the translator puts it.
        int end = Array.FindIndex(lines, at + 1, line => line.StartsWith("0 tran", StringComparison.Ordinal));
        Assert.Contains(lines[at..(end < 0 ? lines.Length : end)], line => line.EndsWith(" inc rax", StringComparison.Ordinal));
        Assert.DoesNotContain(lines, line => line.Contains("(bad)", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_interpreter_translates_nothing() => Assert.Empty(await RunAsync(LoopGuest.Create(), EngineNames.Interpreter));

    private async Task<string[]> RunAsync(LoopGuest guest, string engine)
    {
        string kernel = Path.Combine(_directory, "kernel");
        File.WriteAllBytes(kernel, guest.Image);
        using var writer = new StringWriter();
        using var trace = new TextTrace(writer, TraceKinds.Translations);
        await using VirtualMachine machine = VirtualMachine.Create(
            new MachineSpec { Kernel = kernel, Engine = engine, Memory = 16 << 20 },
            new MachineConnections { Serial1 = NullConsole.Instance, Trace = trace, TraceKinds = TraceKinds.Translations });
        machine.Start();
        while (machine.GetStatistics().Total.Instructions < 100_000)
            await Task.Yield();
        _ = await machine.StopAsync();
        return writer.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }
}
