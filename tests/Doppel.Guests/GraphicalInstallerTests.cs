using Doppel.Devices.Display;
using Doppel.Devices.Input;
using Doppel.Vmm;
using Doppel.Vmm.Tests.Firmware;

namespace Doppel.Guests;

/// <summary>
/// Debian's graphical installer from a disc: it draws on the linear frame buffer by a driver for the display adapter, and is
/// pointed at by a tablet on USB.
/// </summary>
[Trait("Category", "Slow")]
public sealed class GraphicalInstallerTests : IDisposable
{
    private const string Installer = "/usr/lib/debian-installer/images/12/amd64/gtk/debian-installer/amd64";
    private const int Width = 1024, Height = 768, English = 439, Galician = 554, Continue = 743;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(8);

    private readonly RescueDisc _disc = new(
        "insmod all_video\nset gfxpayload=800x600\nlinux /linux\ninitrd /initrd.gz\nboot", ("linux", Path.Combine(Installer, "linux")), ("initrd.gz", Path.Combine(Installer, "initrd.gz")));

    public void Dispose() => _disc.Dispose();

    [Theory]
    [InlineData(FirmwareKind.Bios)]
    [InlineData(FirmwareKind.Uefi)]
    public async Task It_asks_for_the_language_and_is_answered_by_clicks(FirmwareKind firmware)
    {
        await using VirtualMachine machine = VirtualMachine.Create(new MachineSpec
        {
            Kernel = "",
            Firmware = firmware,
            Display = DisplayAdapterKind.Std,
            Pointer = PointerKind.Tablet,
            Memory = 1024 << 20,
            Disks = [DiskSpec.ForCdrom(_disc.ImagePath, DiskInterface.Ide)],
        });
        machine.Start();
        await GuestScreen.WaitForPictureAsync(machine, picture => IsChosen(picture, English), Patience);
        // The pointer goes where it is told: to a row, which is then the chosen one, and to the button.
        Click(machine.Input, 100, Galician);
        await GuestScreen.WaitForPictureAsync(machine, picture => IsChosen(picture, Galician) && !IsChosen(picture, English), Patience);
        Assert.True(machine.Input.IsAbsolute);
        Click(machine.Input, 962, Continue);
        await GuestScreen.WaitForPictureAsync(machine, picture => !IsChosen(picture, Galician), Patience);
    }

    private static void Click(GuestInput input, int x, int y)
    {
        input.PointTo(x, y, Width, Height, 0, PointerButtons.None);
        input.PointTo(x, y, Width, Height, 0, PointerButtons.Left);
        input.PointTo(x, y, Width, Height, 0, PointerButtons.None);
    }

    private static bool IsChosen(PixelSurface picture, int row)
    {
        if (picture.Width != Width || picture.Height != Height)
            return false;
        // Dark green from side to side, where rows that aren't chosen are white.
        foreach (uint pixel in picture.Row(row)[300..980])
        {
            if ((pixel >> 16 & 0xFF) > 0x40 || (pixel >> 8 & 0xFF) is < 0x70 or > 0xA0)
                return false;
        }

        return true;
    }
}
