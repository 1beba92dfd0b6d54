using System.Globalization;
using System.Text;
using Doppel.Machine.Cpu.Debugging;

namespace Doppel.Vmm.Debugging;

/// <summary>The commands behind GDB's <c>monitor</c>, named as QEMU names them.</summary>
internal sealed class GdbMonitor(IDebugTarget target, GdbRegisters registers)
{
    private const string Help =
        """
        help                     lists these commands
        info registers           all registers of the current vCPU but vectors
        info cpus                where the vCPUs are
        xp /COUNTxSIZE ADDRESS   physical memory in hexadecimal; SIZE is b, h, w or g
        gva2gpa ADDRESS          the physical address of a virtual one
        sstep on|off             stepi stays out of interrupt handlers [on]
        reset, system_reset      resets the machine; it waits at its first instruction
        quit                     ends the machine

        """;

    /// <summary>Runs a command.</summary>
    /// <returns>What it says, with line ends.</returns>
    internal async Task<string> RunAsync(string line, int cpu)
    {
        string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        switch (words)
        {
            case [] or ["help", ..]:
                return Help;
            case ["info", "registers"]:
                return Registers(cpu);
            case ["info", "cpus"]:
                return string.Concat(Enumerable.Range(0, target.CpuCount).Select(i => $"{(i == cpu ? '*' : ' ')} {target.Describe(i)}\n"));
            case ["xp", ..]:
                return PhysicalMemory(words[1..], cpu);
            case ["gva2gpa", string address]:
                return !TryParseAddress(address, out ulong linear) ? Unclear("gva2gpa", address, "an address such as 0xffffffff81000000")
                    : target.Translate(cpu, linear) is ulong physical ? $"gpa: 0x{physical:x}\n" : "unmapped\n";
            case ["sstep"]:
                return $"sstep {(target.StepsIntoInterrupts ? "off" : "on")}\n";
            case ["sstep", "on" or "off"]:
                target.StepsIntoInterrupts = words[1] == "off";
                return $"sstep {words[1]}\n";
            case ["reset" or "system_reset"]:
                await target.ResetAsync().ConfigureAwait(false);
                return "the machine is reset; \"maint flush register-cache\" makes GDB read its registers again\n";
            case ["quit"]:
                target.Kill();
                return "the machine ends\n";
            default:
                return $"\"{line}\": a command of \"monitor help\" would be right\n";
        }
    }

    private string Registers(int cpu)
    {
        var text = new StringBuilder(target.Describe(cpu)).Append('\n');
        int column = 0;
        foreach (GdbRegister register in registers.All)
        {
            if (register.Register.Kind is CpuRegisterKind.Xmm or CpuRegisterKind.YmmHigh)
                continue;
            byte[] value = new byte[register.Register.Size];
            target.ReadRegister(cpu, register.Register, value);
            Array.Reverse(value);
            text.Append(CultureInfo.InvariantCulture, $"{register.Name,-10}{GdbPacket.ToHex(value),-21}");
            if (++column % 4 == 0)
                text.Append('\n');
        }

        return text.Append('\n').ToString();
    }

    private string PhysicalMemory(string[] words, int cpu)
    {
        const string Right = "xp /8xg 0x1000, for example";
        int count = 1;
        int size = 4;
        if (words.Length == 2 && words[0].StartsWith('/'))
        {
            string format = words[0][1..];
            string digits = string.Concat(format.TakeWhile(char.IsAsciiDigit));
            if (digits.Length != 0 && (!int.TryParse(digits, CultureInfo.InvariantCulture, out count) || count is < 1 or > 512))
                return Unclear("xp", words[0], "1 to 512 units");
            foreach (char c in format[digits.Length..])
            {
                int? unit = c switch { 'b' => 1, 'h' => 2, 'w' => 4, 'g' => 8, 'x' => size, _ => null };
                if (unit is null)
                    return Unclear("xp", words[0], Right);
                size = unit.Value;
            }

            words = words[1..];
        }

        if (words.Length != 1 || !TryParseAddress(words[0], out ulong address))
            return Unclear("xp", string.Join(' ', words), Right);
        var text = new StringBuilder();
        byte[] value = new byte[size];
        int perLine = 16 / size;
        for (int i = 0; i < count; i++)
        {
            ulong place = address + (uint)(i * size);
            if (i % perLine == 0)
                text.Append(CultureInfo.InvariantCulture, $"{(i == 0 ? "" : "\n")}{place:x16}:");
            if (target.ReadMemory(cpu, place, value, isPhysical: true) != size)
            {
                text.Append(" no memory");
                break;
            }

            Array.Reverse(value);
            text.Append(" 0x").Append(GdbPacket.ToHex(value));
        }

        return text.Append('\n').ToString();
    }

    private static bool TryParseAddress(string text, out ulong address) => text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
        ? GdbPacket.TryParseNumber(text.AsSpan(2), out address)
        : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out address);

    private static string Unclear(string command, string given, string right) => $"{command} {given}: {right} would be right\n";
}
