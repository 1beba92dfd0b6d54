using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Tests.Firmware;

/// <summary>ROMs of our own at the reset vector: what a BIOS does to the chip set, seen by both engines, each instruction translated at once.</summary>
public sealed class RomTests : IDisposable
{
    private const int DebugPort = 0xE9;
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-rom-").FullName;

    public static TheoryData<string> Engines => [EngineNames.Interpreter, EngineNames.Default];

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [MemberData(nameof(Engines))]
    public async Task With_A20_closed_addresses_wrap_at_one_mebibyte(string engine)
    {
        string said = await RunAsync(engine, c =>
        {
            // The keyboard controller's output port holds the line open after a reset: D1h, and its bit 1 clear.
            c.mov(al, 0xD1);
            c.@out(0x64, al);
            c.mov(al, 0xDD);
            c.@out(0x60, al);
            c.xor(ax, ax);
            c.mov(ds, ax);
            c.dec(ax);
            c.mov(es, ax);
            SetA20(c, true);
            c.mov(__byte_ptr[0x500], (byte)'L');
            c.mov(__byte_ptr.es[0x510], (byte)'H');
            Say(c, __byte_ptr.es[0x510]);
            SetA20(c, false);
            Say(c, __byte_ptr.es[0x510]);
            c.mov(__byte_ptr.es[0x510], (byte)'W');
            Say(c, __byte_ptr[0x500]);
            SetA20(c, true);
            Say(c, __byte_ptr.es[0x510]);
            Say(c, __byte_ptr[0x500]);
        });
        Assert.Equal("HLWHW", said);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public async Task Code_runs_on_in_RAM_that_takes_the_place_of_its_ROM(string engine)
    {
        string said = await RunAsync(engine, c =>
        {
            c.mov(ax, 0xF000);
            c.mov(ds, ax);
            c.mov(es, ax);
            Call(c);
            c.inc(__byte_ptr[0x8001]);
            Call(c);
            // The ROM is read while the RAM behind it is written.
            SetMap(c, 0x20);
            c.xor(si, si);
            c.xor(di, di);
            c.mov(cx, 0x8000);
            c.cld();
            c.rep.movsw();
            SetMap(c, 0x30);
            c.mov(__byte_ptr[0x8001], (byte)'B');
            Call(c);
            c.inc(__byte_ptr[0x8001]);
            Call(c);
            SetMap(c, 0x00);
            Call(c);
            SetMap(c, 0x10);
            c.inc(__byte_ptr[0x8001]);
            Call(c);
        }, rom => ((ReadOnlySpan<byte>)[0xB0, (byte)'A', 0xE6, DebugPort, 0xC3]).CopyTo(rom.AsSpan(0x8000)));
        Assert.Equal("AABCAC", said);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public async Task A_coprocessor_error_is_interrupt_13(string engine)
    {
        string said = await RunAsync(engine, c =>
        {
            c.xor(ax, ax);
            c.mov(ds, ax);
            c.mov(__word_ptr[4 * 0x75], 0x9000);
            c.mov(__word_ptr[(4 * 0x75) + 2], cs);
            foreach ((int port, int value) in ((int, int)[])[(0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0xA0, 0x11), (0xA1, 0x70), (0xA1, 0x02), (0xA1, 0x01), (0x21, 0xFB), (0xA1, 0xDF)])
            {
                c.mov(al, (byte)value);
                c.@out((byte)port, al);
            }

            c.fninit();
            c.mov(__word_ptr[0x600], 0x037B);
            c.fldcw(__word_ptr[0x600]);
            c.sti();
            c.fld1();
            c.fldz();
            c.fdivp(st1, st0);
            c.wait();
            c.nop();
            c.mov(al, (byte)'.');
            c.@out(DebugPort, al);
        }, rom =>
        {
            // F000:9000: mov al, 'F'; out E9h, al; xor al, al; out F0h, al; fnclex; mov al, 20h; out A0h, al; out 20h, al; iret.
            ((ReadOnlySpan<byte>)[0xB0, (byte)'F', 0xE6, DebugPort, 0x30, 0xC0, 0xE6, 0xF0, 0xDB, 0xE2, 0xB0, 0x20, 0xE6, 0xA0, 0xE6, 0x20, 0xCF]).CopyTo(rom.AsSpan(0x9000));
        });
        Assert.Equal("F.", said);
    }

    private static void Say(Assembler c, AssemblerMemoryOperand from)
    {
        c.mov(al, from);
        c.@out(DebugPort, al);
    }

    // F000:8000: mov al, 'A'; out E9h, al; ret.
    private static void Call(Assembler c)
    {
        c.mov(ax, 0x8000);
        c.call(ax);
    }

    private static void SetA20(Assembler c, bool open)
    {
        c.mov(al, (byte)(open ? 2 : 0));
        c.@out(0x92, al);
    }

    // The host bridge's register 59h: the segment from F0000h on.
    private static void SetMap(Assembler c, int value)
    {
        c.mov(eax, 0x80000058u);
        c.mov(dx, 0xCF8);
        c.@out(dx, eax);
        c.mov(dx, 0xCFD);
        c.mov(al, (byte)value);
        c.@out(dx, al);
    }

    // The program begins at F000:0100 with a stack, and ends by a reset.
    private async Task<string> RunAsync(string engine, Action<Assembler> write, Action<byte[]>? change = null)
    {
        var c = new Assembler(16);
        c.cli();
        c.xor(ax, ax);
        c.mov(ss, ax);
        c.mov(sp, 0x7000);
        write(c);
        c.mov(dx, 0xCF9);
        c.mov(al, 6);
        c.@out(dx, al);
        c.hlt();
        using var code = new MemoryStream();
        _ = c.Assemble(new StreamCodeWriter(code), 0x100);
        var rom = new byte[0x10000];
        code.ToArray().CopyTo(rom, 0x100);
        ((ReadOnlySpan<byte>)[0xEA, 0x00, 0x01, 0x00, 0xF0]).CopyTo(rom.AsSpan(0xFFF0));
        change?.Invoke(rom);
        string path = Path.Combine(_folder, "rom.bin");
        await File.WriteAllBytesAsync(path, rom);
        var said = new List<byte>();
        var spec = new MachineSpec
        {
            Kernel = "",
            Firmware = FirmwareKind.Bios,
            FirmwareFile = path,
            Memory = 2 << 20,
            Engine = engine,
            Clock = ClockKind.Instructions,
            RebootOnReset = false,
        };
        await using VirtualMachine machine = VirtualMachine.Create(spec, new MachineConnections { DebugPort = said.Add });
        machine.Start();
        VmExit exit = await machine.WaitAsync().WaitAsync(TimeSpan.FromMinutes(1));
        Assert.Equal(VmExitKind.Reset, exit.Kind);
        return System.Text.Encoding.ASCII.GetString([.. said]);
    }
}
