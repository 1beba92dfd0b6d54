using System.Globalization;
using Doppel.Devices.Display;
using Doppel.Devices.Input;
using Doppel.Vmm;
using Doppel.Vmm.Snapshots;
using Doppel.Vmm.Tests.Firmware;
using Xunit.Abstractions;

namespace Doppel.Guests;

/// <summary>Display adapters and input devices that have drivers of their own in Debian's 32-bit kernel.</summary>
[Collection("Debian")]
public sealed class AdapterTests(Debian32 debian, ITestOutputHelper output) : IClassFixture<Debian32>, IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-adapter-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(DisplayAdapterKind.Virtio, "virtio_pci,virtio-gpu", "virtio_gpudrmfb", 1024, 768)]
    [InlineData(DisplayAdapterKind.Vmware, "vmwgfx", "vmwgfxdrmfb", 1280, 800)]
    [InlineData(DisplayAdapterKind.Std, "bochs", "bochs-drmdrmfb", 1024, 768)]
    public async Task A_driver_draws_also_in_a_machine_that_was_saved(DisplayAdapterKind adapter, string drivers, string name, int width, int height)
    {
        // Below the first rows, in which the console has its cursor; many rows at once, for of a single one Debian's kernel draws a part.
        const string Work = """
            i=0; while [ ! -e /dev/fb0 ] && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.1; done
            set -- $(tr ',' ' ' < /sys/class/graphics/fb0/virtual_size)
            echo "frame buffer $(cat /sys/class/graphics/fb0/name) $1 by $2, $(cat /sys/class/graphics/fb0/bits_per_pixel) bits, $(cat /sys/class/graphics/fb0/stride) a row"
            stride=$(cat /sys/class/graphics/fb0/stride)
            part=$((stride * 100))
            fill() { yes "$1" | tr -d '\n' | head -c $part | tr 'abcd' '\000\063\146\231' >/tmp/part; dd if=/tmp/part of=/dev/fb0 bs=$part seek=$2 2>/dev/null; }
            fill dcba 1
            fill abcd 3
            dmesg | grep -i -E 'drm|fb0|vmw' | tail -20
            echo "drawn"
            read line
            fill cccc 2
            echo "drawn again: $line"
            read line
            """;
        var spec = new MachineSpec
        {
            Kernel = debian.Kernel,
            Initrd = debian.WriteInitrd(Work, [.. drivers.Split(',')]),
            CommandLine = "console=ttyS0 panic=-1 quiet",
            Memory = 256UL << 20,
            Display = adapter,
            Engine = EngineNames.Translator,
        };
        string console;
        SaveResult saved;
        await using (var guest = VirtualMachine.Create(spec))
        {
            guest.Start();
            console = await guest.Console.ReadUntilAsync("drawn", Patience);
            output.WriteLine(console);
            Assert.Contains($"frame buffer {name} {width.ToString(CultureInfo.InvariantCulture)} by {height.ToString(CultureInfo.InvariantCulture)}, 32 bits", console, StringComparison.Ordinal);
            // As XRGB, its lowest byte first: what 'dcba' and 'abcd' become.
            await GuestScreen.WaitForPictureAsync(guest, picture => picture.Width == width && picture.Height == height && Has(picture, 100, 0x336699) && Has(picture, 300, 0x663300), Patience);
            saved = await guest.SaveAsync(new SnapshotStore(Path.Combine(_folder, "snapshots")), new SaveOptions());
        }

        using SnapshotReader snapshot = SnapshotReader.Open(saved.Folder);
        await using VirtualMachine restored = VirtualMachine.Restore(snapshot);
        Assert.True(Has(restored.Display!.TakePicture(), 100, 0x336699) && Has(restored.Display.TakePicture(), 300, 0x663300));
        restored.Start();
        restored.Console.WriteLine("after");
        _ = await restored.Console.ReadUntilAsync("drawn again: after", Patience);
        await GuestScreen.WaitForPictureAsync(restored, picture => Has(picture, 100, 0x336699) && Has(picture, 200, 0x666666) && Has(picture, 300, 0x663300), Patience);
        restored.Console.WriteLine("");
        Assert.Equal(VmExitKind.PowerOff, (await restored.WaitAsync().WaitAsync(Patience)).Kind);
    }

    [Fact]
    public async Task Keys_and_places_come_by_the_event_devices_of_virtio()
    {
        // A time of eight bytes, type, code and value; two keys down and up, each with its report, and two places of the pointer.
        const string Work = """
            keyboard= tablet=
            for d in /sys/class/input/event*; do
              case "$(cat $d/device/name)" in
                "Doppel Virtio Keyboard") keyboard=/dev/input/$(basename $d);;
                "Doppel Virtio Tablet") tablet=/dev/input/$(basename $d);;
              esac
            done
            grep -H . /sys/class/input/event*/device/name
            exec 3<$keyboard 4<$tablet
            echo "listens"
            head -c 128 <&3 | hexdump -v -e '"key " 16/1 "%02x" "\n"'
            head -c 128 <&4 | hexdump -v -e '"place " 16/1 "%02x" "\n"'
            echo "heard"
            """;
        var spec = new MachineSpec
        {
            Kernel = debian.Kernel,
            Initrd = debian.WriteInitrd(Work, "virtio_pci", "virtio_input", "evdev"),
            CommandLine = "console=ttyS0 panic=-1 quiet",
            Memory = 128UL << 20,
            Display = DisplayAdapterKind.Std,
            Keyboard = KeyboardKind.Virtio,
            Pointer = PointerKind.Virtio,
        };
        await using var guest = VirtualMachine.Create(spec);
        guest.Start();
        output.WriteLine(await guest.Console.ReadUntilAsync("listens", Patience));
        foreach (KeyCode key in (KeyCode[])[KeyCode.LeftShift, new KeyCode(0x1E)])
            guest.Input.SetKey(key, isDown: true);
        foreach (KeyCode key in (KeyCode[])[new KeyCode(0x1E), KeyCode.LeftShift])
            guest.Input.SetKey(key, isDown: false);
        guest.Input.PointTo(512, 767, 1024, 768, 0, PointerButtons.None);
        guest.Input.PointTo(512, 767, 1024, 768, 0, PointerButtons.Left);
        guest.Input.PointTo(1023, 767, 1024, 768, 0, PointerButtons.None);
        string console = await guest.Console.ReadUntilAsync("heard", Patience);
        output.WriteLine(console);
        string[] lines = console.Replace("\r", "", StringComparison.Ordinal).Split('\n');
        const string Report = "0000000000000000";
        // EV_KEY: KEY_LEFTSHIFT is 42, KEY_A 30.
        Assert.Equal(
            ["01002a0001000000", Report, "01001e0001000000", Report, "01001e0000000000", Report, "01002a0000000000", Report],
            lines.Where(line => line.StartsWith("key ", StringComparison.Ordinal)).Select(line => line[20..]));
        // EV_ABS: the middle is 16399 of 32767; EV_KEY: BTN_LEFT is 110h.
        Assert.Equal(
            ["030000000f400000", "03000100ff7f0000", Report, "0100100101000000", Report, "03000000ff7f0000", "0100100100000000", Report],
            lines.Where(line => line.StartsWith("place ", StringComparison.Ordinal)).Select(line => line[22..]));
        Assert.Equal(VmExitKind.PowerOff, (await guest.WaitAsync().WaitAsync(Patience)).Kind);
    }

    private static bool Has(PixelSurface picture, int row, uint color)
    {
        if (row + 100 > picture.Height)
            return false;
        for (int y = row; y < row + 100; y++)
        {
            foreach (uint pixel in picture.Row(y))
            {
                if ((pixel & 0xFFFFFF) != color)
                    return false;
            }
        }

        return true;
    }
}
