using Doppel.Machine.Cpu.Statistics;
using Doppel.Vmm;
using Doppel.Vmm.Lockstep;

namespace Doppel.Guests;

/// <summary>32-bit code: a 32-bit kernel with its programs, and the same programs under a 64-bit kernel.</summary>
[Collection("Debian")]
public sealed class Debian32Tests(Debian32 debian) : IClassFixture<Debian32>
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    private const string CommandLine = "console=ttyS0 panic=-1 quiet";

    // Shell loops, pipes, processes, compression, floating point.
    private const string Work = """
        echo "machine $(uname -m)"
        i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; echo "counted $i"
        dd if=/dev/zero bs=64k count=32 2>/dev/null | sha256sum
        seq 1 3000 | gzip -9 | gunzip | md5sum
        for n in 1 2 3 4 5 6 7 8; do /bin/true; done; echo "forked $n"
        awk 'BEGIN { for (n = 0; n < 500; n++) s += n / 7; printf "sum %.6f\n", s }'
        """;

    [Fact]
    public async Task A_32_bit_kernel_boots_works_and_powers_off()
    {
        EngineStatistics statistics = await RunAsync(debian.Kernel, "i686");
        Assert.True(statistics.InstructionsTranslated > 50000, $"only {statistics.InstructionsTranslated} instructions were translated");
        Assert.True(statistics.Entries * 100 < statistics.Instructions, $"{statistics.Entries} entries for {statistics.Instructions} instructions");
    }

    [Fact]
    public async Task Programs_of_32_bits_run_under_a_64_bit_kernel()
    {
        var image = new DebianImage();
        await image.InitializeAsync();
        EngineStatistics statistics = await RunAsync(image.Image.KernelPath, "x86_64");
        Assert.True(statistics.Entries * 100 < statistics.Instructions, $"{statistics.Entries} entries for {statistics.Instructions} instructions");
    }

    [Fact]
    public async Task A_32_bit_kernel_unpacks_itself_the_same_on_both_engines() => await CompareAsync(300_000_000);

    [Fact]
    [Trait("Category", "Slow")]
    public async Task A_32_bit_kernel_boots_the_same_on_both_engines() => await CompareAsync(null);

    private async Task CompareAsync(ulong? instructions)
    {
        var run = new LockstepRun(new LockstepOptions { Spec = Spec(debian.Kernel), Instructions = instructions });
        LockstepResult result = await Task.Run(() => run.Run());
        Assert.True(result.Difference is null, result.Difference?.ToString());
        if (instructions is null)
            Assert.Contains("forked 8", result.Console, StringComparison.Ordinal);
    }

    private async Task<EngineStatistics> RunAsync(string kernel, string machine)
    {
        await using var guest = VirtualMachine.Create(Spec(kernel) with { Engine = EngineNames.Translator });
        guest.Start();
        string console = await guest.Console.ReadUntilAsync("sum 17821.428571", Patience);
        VmExit exit = await guest.WaitAsync().WaitAsync(Patience);
        Assert.Equal(VmExitKind.PowerOff, exit.Kind);
        Assert.Contains($"machine {machine}", console, StringComparison.Ordinal);
        Assert.Contains("counted 2000", console, StringComparison.Ordinal);
        // sha256 of 2 MiB of zeros, and md5 of the numbers with newlines: from coreutils.
        Assert.Contains("5647f05ec18958947d32874eeb788fa396a05d0bab7c1b71f112ceb7e9b31eee", console, StringComparison.Ordinal);
        Assert.Contains("ee9762749fc5338b6c9b0948d14219c7", console, StringComparison.Ordinal);
        Assert.Contains("forked 8", console, StringComparison.Ordinal);
        return guest.GetStatistics().Total;
    }

    private MachineSpec Spec(string kernel) => new()
    {
        Kernel = kernel,
        Initrd = debian.WriteInitrd(Work),
        CommandLine = CommandLine,
        Memory = 128UL << 20,
    };
}
