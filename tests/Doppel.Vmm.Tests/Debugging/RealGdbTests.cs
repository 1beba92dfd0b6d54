using System.Diagnostics;
using System.Globalization;

namespace Doppel.Vmm.Tests.Debugging;

/// <summary>The real GDB, which ./test installs, against a machine.</summary>
public sealed class RealGdbTests
{
    [Theory]
    [InlineData(EngineNames.Interpreter)]
    [InlineData(EngineNames.Translator)]
    public async Task Gdb_debugs_a_machine(string engine)
    {
        await using DebuggedMachine machine = DebuggedMachine.Start(engine);
        LoopGuest guest = machine.Guest;
        string said = await RunAsync(
            $"target remote {machine.Socket}",
            $"hbreak *{guest.Loop}",
            "continue",
            "continue",
            "printf \"count %d\\n\", $rax",
            "delete",
            "x/2i $pc",
            "stepi",
            "printf \"stepped to %#lx\\n\", $pc",
            "set $xmm3.v2_int64[1] = 77",
            "printf \"xmm3 %d\\n\", $xmm3.v2_int64[1]",
            "p $cr0",
            "p $efer",
            $"watch *(unsigned long *){LoopGuest.Data}",
            "continue",
            "continue",
            "delete",
            $"tbreak *{guest.Function}",
            "continue",
            "printf \"function %d\\n\", $pc == " + guest.Function.ToString(CultureInfo.InvariantCulture),
            "info threads",
            "monitor info cpus",
            "detach");
        Assert.True(!said.Contains("rror", StringComparison.Ordinal) && !said.Contains("Cannot", StringComparison.Ordinal), said);
        string[] expected =
        [
            "count 1", "inc    %rax", $"stepped to 0x{GdbClient.Number(guest.Store)}", "xmm3 77", "[ PE ET PG ]", "[ LME LMA ]",
            "Hardware watchpoint 2", "New value = 2", "New value = 3", "function 1", "Thread 1", "64-bit mode, CPL 0", "detached",
        ];
        foreach (string line in expected)
            Assert.True(said.Contains(line, StringComparison.Ordinal), $"\"{line}\" is missing in:\n{said}");
    }

    private static async Task<string> RunAsync(params string[] commands)
    {
        var start = new ProcessStartInfo("gdb") { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        string[] fixedArguments = ["-batch", "-nx", "-ex", "set architecture i386:x86-64", "-ex", "set pagination off"];
        foreach (string argument in fixedArguments.Concat(commands.SelectMany(c => (string[])["-ex", c])))
            start.ArgumentList.Add(argument);
        using Process gdb = Process.Start(start)!;
        gdb.StandardInput.Close();
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        Task<string> output = gdb.StandardOutput.ReadToEndAsync(limit.Token);
        Task<string> errors = gdb.StandardError.ReadToEndAsync(limit.Token);
        try
        {
            await gdb.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            gdb.Kill();
            throw;
        }

        return await output + await errors;
    }
}
