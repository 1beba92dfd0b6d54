using System.Security.Cryptography;
using Doppel.Vmm;
using Xunit.Abstractions;

namespace Doppel.Guests;

/// <summary>The parallel port under Debian's 32-bit kernel and its own drivers.</summary>
[Collection("Debian")]
public sealed class ParallelTests(Debian32 debian, ITestOutputHelper output) : IClassFixture<Debian32>, IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-lpt-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task What_Linux_prints_reaches_the_file_as_it_was_written()
    {
        const string Work = """
            dmesg | grep -i -E 'parport|lp0'
            dd if=/dev/urandom of=/tmp/out bs=1k count=24 2>/dev/null
            cat /tmp/out > /dev/lp0
            echo "printed $(sha256sum < /tmp/out)"
            echo "done with it"
            """;
        string printed = Path.Combine(_folder, "printed");
        await using var guest = VirtualMachine.Create(new MachineSpec
        {
            Kernel = debian.Kernel,
            Initrd = debian.WriteInitrd(Work, "parport_pc", "lp"),
            CommandLine = "console=ttyS0 panic=-1 quiet",
            Memory = 128UL << 20,
            Parallel = printed,
        });
        guest.Start();
        string console = await guest.Console.ReadUntilAsync("done with it", Patience);
        output.WriteLine(console);
        // As ACPI announces it, with bidirectional lines and EPP's registers.
        Assert.Contains("PC-style at 0x378, irq 7", console, StringComparison.Ordinal);
        Assert.Contains("[PCSPP,TRISTATE,EPP]", console, StringComparison.Ordinal);
        Assert.Equal(VmExitKind.PowerOff, (await guest.WaitAsync().WaitAsync(Patience)).Kind);
        byte[] bytes = await File.ReadAllBytesAsync(printed);
        Assert.Equal(24 << 10, bytes.Length);
        Assert.Contains($"printed {Convert.ToHexStringLower(SHA256.HashData(bytes))}", console, StringComparison.Ordinal);
    }
}
