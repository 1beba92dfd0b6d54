using System.Text;
using Doppel.Vmm.Sound;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Tests.Firmware;

/// <summary>Parallel port and speaker as a program on a BIOS uses them.</summary>
public sealed class BoardPortsTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-board-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task What_a_program_prints_by_the_BIOS_is_added_to_the_file()
    {
        const string Text = "doppel prints\r\n\f";
        string printed = Path.Combine(_folder, "printed"), diskette = Path.Combine(_folder, "diskette.img");
        await File.WriteAllTextAsync(printed, "before\n");
        BootSector.Write(diskette, c =>
        {
            // Only on the port that the BIOS has found.
            Iced.Intel.Label done = c.CreateLabel();
            c.cmp(__word_ptr[0x408], 0x378);
            c.jne(done);
            c.mov(ah, 1);
            c.xor(dx, dx);
            c.@int(0x17);
            foreach (byte each in Encoding.ASCII.GetBytes(Text))
            {
                c.mov(ax, (ushort)each);
                c.xor(dx, dx);
                c.@int(0x17);
                // A time-out.
                c.test(ah, 1);
                c.jne(done);
            }

            c.Label(ref done);
            BootSector.PowerOff(c);
        });
        await using VirtualMachine machine = VirtualMachine.Create(Spec(diskette) with { Parallel = printed });
        machine.Start();
        Assert.Equal(VmExitKind.PowerOff, (await machine.WaitAsync().WaitAsync(Patience)).Kind);
        Assert.Equal("before\n" + Text, await File.ReadAllTextAsync(printed));
    }

    [Fact]
    public async Task A_machine_without_the_port_has_none_for_the_BIOS()
    {
        string diskette = Path.Combine(_folder, "diskette.img");
        var said = new List<byte>();
        BootSector.Write(diskette, c =>
        {
            c.mov(ax, __word_ptr[0x408]);
            c.or(al, ah);
            c.@out(0xE9, al);
            BootSector.PowerOff(c);
        });
        await using VirtualMachine machine = VirtualMachine.Create(Spec(diskette), new MachineConnections { DebugPort = said.Add });
        machine.Start();
        Assert.Equal(VmExitKind.PowerOff, (await machine.WaitAsync().WaitAsync(Patience)).Kind);
        Assert.Equal([(byte)0], said);
    }

    [Fact]
    public async Task A_beep_is_a_tone_with_frequency_and_duration()
    {
        string diskette = Path.Combine(_folder, "diskette.img");
        BootSector.Write(diskette, c =>
        {
            foreach ((int port, int value) in ((int, int)[])[(0x43, 0xB6), (0x42, 1193 & 0xFF), (0x42, 1193 >> 8), (0x61, 3)])
            {
                c.mov(al, (byte)value);
                c.@out((byte)port, al);
            }

            // The BIOS waits 100 ms.
            c.mov(ah, 0x86);
            c.mov(cx, 1);
            c.mov(dx, 0x86A0);
            c.@int(0x15);
            c.mov(al, 0);
            c.@out(0x61, al);
            BootSector.PowerOff(c);
        });
        await using VirtualMachine machine = VirtualMachine.Create(Spec(diskette));
        Assert.Equal(0, (await machine.WaitForTonesAsync(-1, CancellationToken.None)).Sequence);
        Task<HeardTones> heard = machine.WaitForTonesAsync(0, CancellationToken.None);
        Assert.False(heard.IsCompleted);
        machine.Start();
        HeardTones tones = await heard.WaitAsync(Patience);
        HeardTone tone = Assert.Single(tones.Tones);
        Assert.Equal((1, 1000.2), (tones.Sequence, tone.Hertz));
        Assert.True(tone.Seconds >= 0.09, $"{tone}");
        _ = await machine.WaitAsync().WaitAsync(Patience);
    }

    [Fact]
    public void A_file_that_can_not_be_written_is_named()
    {
        string diskette = Path.Combine(_folder, "diskette.img");
        BootSector.Write(diskette, BootSector.PowerOff);
        string nowhere = Path.Combine(_folder, "no", "folder");
        Assert.Contains(nowhere, Assert.Throws<SpecException>(() => VirtualMachine.Create(Spec(diskette) with { Parallel = nowhere })).Message, StringComparison.Ordinal);
        Assert.Equal("parallel", Assert.Throws<SpecException>(() => (Spec(diskette) with { Parallel = _folder }).Validate()).Field);
    }

    private static MachineSpec Spec(string diskette) => new() { Kernel = "", Firmware = FirmwareKind.Bios, Memory = 16 << 20, BootOrder = [BootDevice.Floppy], Disks = [DiskSpec.ForFloppy(diskette)] };
}
