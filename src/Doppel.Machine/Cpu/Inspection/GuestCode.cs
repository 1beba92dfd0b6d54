using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Inspection;

/// <summary>Reads and disassembles guest code without a trace in the guest: no fault, no accessed bit.</summary>
public static unsafe class GuestCode
{
    /// <summary>Disassembles from RIP on, as far as the code's page goes.</summary>
    /// <param name="cpu">Its engine does not run.</param>
    /// <param name="maximum">Most instructions.</param>
    /// <returns>Lines with address, bytes and text; empty when the code cannot be read.</returns>
    public static IReadOnlyList<string> Disassemble(VirtualCpu cpu, int maximum)
    {
        CpuState* s = cpu.State;
        bool is64 = s->Is64Bit;
        ulong linear = is64 ? s->Rip : (uint)(s->Cs.Base + s->Rip);
        if (!TryGetPhysical(cpu, linear, out ulong physical))
            return [];
        ReadOnlySpan<byte> page = cpu.Physical.Memory.GetPage(physical);
        if (page.IsEmpty)
            return [];
        int bits = is64 ? 64 : (s->Cs.Attributes & SegmentAttributes.Big) != 0 ? 32 : 16;
        return Disassemble(page[(int)(physical & 0xFFF)..].ToArray(), s->Rip, bits, maximum);
    }

    /// <summary>Disassembles bytes.</summary>
    /// <param name="code">The bytes.</param>
    /// <param name="address">Address of the first.</param>
    /// <param name="bits">16, 32 or 64.</param>
    /// <param name="maximum">Most instructions.</param>
    public static IReadOnlyList<string> Disassemble(byte[] code, ulong address, int bits, int maximum)
    {
        var decoder = Iced.Intel.Decoder.Create(bits, new ByteArrayCodeReader(code), address);
        var formatter = new NasmFormatter();
        var output = new StringOutput();
        var lines = new List<string>();
        int position = 0;
        while (position < code.Length && lines.Count < maximum)
        {
            Instruction instruction = decoder.Decode();
            formatter.Format(instruction, output);
            string bytes = Convert.ToHexString(code, position, Math.Min(instruction.Length, code.Length - position));
            lines.Add($"{instruction.IP:x16}  {bytes,-22} {output.ToStringAndReset()}");
            position += Math.Max(instruction.Length, 1);
        }

        return lines;
    }

    /// <summary>The guest-physical address of a linear one, by a look at the page tables that changes nothing.</summary>
    public static bool TryGetPhysical(VirtualCpu cpu, ulong linear, out ulong physical) => PageWalker.TryProbe(cpu, linear, out physical);
}
