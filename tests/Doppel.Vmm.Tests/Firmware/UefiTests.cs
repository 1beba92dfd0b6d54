using Doppel.Devices.Display;
using Doppel.Vmm.Boot;

namespace Doppel.Vmm.Tests.Firmware;

/// <summary>OVMF to its shell, with variables that outlive the machine.</summary>
public sealed class UefiTests : IDisposable
{
    // A vendor of its own: among the specification's variables firmware takes only those that it knows.
    private const string Vendor = "4f6fd8a2-6f53-4a8b-9e0d-3a1f0c5b7e11";

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-uefi-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    [Trait("Category", "Slow")]
    public async Task The_shell_keeps_a_variable_in_flash_for_the_next_run()
    {
        var spec = new MachineSpec { Kernel = "", Firmware = FirmwareKind.Uefi, Memory = 256 << 20, FirmwareVariables = Path.Combine(_folder, "variables") };
        await using (VirtualMachine machine = VirtualMachine.Create(spec))
        {
            await EnterShellAsync(machine);
            machine.Console.WriteLine($"setvar doppel -guid {Vendor} -bs -nv =0x2a");
            _ = await machine.Console.ReadUntilAsync("Shell> ", Patience);
            machine.Console.WriteLine("reset -s");
            Assert.Equal(VmExitKind.PowerOff, (await machine.WaitAsync().WaitAsync(Patience)).Kind);
        }

        await using VirtualMachine next = VirtualMachine.Create(spec);
        await EnterShellAsync(next);
        next.Console.WriteLine($"setvar doppel -guid {Vendor}");
        _ = await next.Console.ReadUntilAsync("2A", Patience);
    }

    [Theory]
    [Trait("Category", "Slow")]
    [InlineData(DisplayAdapterKind.Std)]
    [InlineData(DisplayAdapterKind.Virtio)]
    [InlineData(DisplayAdapterKind.Vmware)]
    public async Task The_shell_is_drawn_on_every_adapter(DisplayAdapterKind adapter)
    {
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec { Kernel = "", Firmware = FirmwareKind.Uefi, Memory = 256 << 20, Display = adapter });
        await EnterShellAsync(machine);
        // Letters on black, and nothing else.
        await GuestScreen.WaitForPictureAsync(machine, picture => (picture.Width, picture.Height) == (1280, 800) && CountLit(picture) is > 3_000 and < 50_000, Patience);
    }

    [Fact]
    public void Variables_of_another_size_are_refused()
    {
        string path = Path.Combine(_folder, "variables");
        File.WriteAllBytes(path, new byte[100]);
        var spec = new MachineSpec { Kernel = "", Firmware = FirmwareKind.Uefi, Memory = 64 << 20, FirmwareVariables = path };
        BootException e = Assert.Throws<BootException>(() => VirtualMachine.Create(spec));
        Assert.Contains("UEFI's variables have 100 bytes; 540672 would be right", e.Message, StringComparison.Ordinal);
    }

    private static int CountLit(PixelSurface picture)
    {
        int lit = 0;
        foreach (uint pixel in picture.Pixels)
            lit += (pixel & 0xFFFFFF) == 0 ? 0 : 1;
        return lit;
    }

    private static async Task EnterShellAsync(VirtualMachine machine)
    {
        machine.Start();
        _ = await machine.Console.ReadUntilAsync("to skip", Patience);
        machine.Console.Write("\u001b");
        _ = await machine.Console.ReadUntilAsync("Shell> ", Patience);
    }
}
