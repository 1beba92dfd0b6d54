using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Trace;
using Iced.Intel;

namespace Doppel.Vmm.Trace;

/// <summary>
/// Writes a trace as text, one event a line: vCPU, kind, where, what (docs/cli.md, "Traces"). Lines of several threads
/// do not mix. Disposing flushes the writer and leaves it open.
/// </summary>
public sealed class TextTrace : ITraceSink, IDisposable
{
    private const int LongestInstruction = 15;
    private const int GuestColumn = 76;
    private readonly Lock _lock = new();
    private readonly TextWriter _writer;
    private readonly TraceKinds _kinds;
    private readonly NasmFormatter _formatter = new();
    private readonly StringOutput _text = new();
    private readonly byte[] _code = new byte[LongestInstruction];

    /// <summary>Writes the chosen kinds.</summary>
    public TextTrace(TextWriter writer, TraceKinds kinds)
    {
        _writer = writer;
        _kinds = kinds;
        _formatter.Options.HexPrefix = "0x";
        _formatter.Options.HexSuffix = null;
        _formatter.Options.UppercaseHex = false;
        _formatter.Options.SpaceAfterOperandSeparator = true;
    }

    /// <inheritdoc/>
    public bool WantsInstructions => (_kinds & TraceKinds.Instructions) != 0;

    /// <inheritdoc/>
    public bool WantsTranslations => (_kinds & TraceKinds.Translations) != 0;

    /// <summary>Reads kinds by name, separated by commas, for example "exceptions,ports"; "all" names every one.</summary>
    /// <returns>False when a name is unknown; <paramref name="unknown"/> is that name.</returns>
    public static bool TryParseKinds(string text, out TraceKinds kinds, out string? unknown)
    {
        kinds = TraceKinds.None;
        unknown = null;
        foreach (string name in text.Split(',', StringSplitOptions.TrimEntries))
        {
            TraceKinds? kind = name.ToLowerInvariant() switch
            {
                "instructions" => TraceKinds.Instructions,
                "exceptions" => TraceKinds.Exceptions,
                "interrupts" => TraceKinds.Interrupts,
                "ports" => TraceKinds.Ports,
                "mmio" => TraceKinds.Mmio,
                "translation" => TraceKinds.Translations,
                "all" => TraceKinds.Instructions | TraceKinds.Exceptions | TraceKinds.Interrupts | TraceKinds.Ports | TraceKinds.Mmio | TraceKinds.Translations,
                _ => null,
            };
            if (kind is not TraceKinds known)
            {
                unknown = name;
                return false;
            }

            kinds |= known;
        }

        return true;
    }

    /// <inheritdoc/>
    public void Instruction(VirtualCpu cpu)
    {
        if (!WantsInstructions)
            return;
        lock (_lock)
        {
            CpuLocation at = cpu.GetLocation();
            int length = cpu.ReadCode(_code);
            var decoder = Decoder.Create(cpu.GetCodeSize(), new ByteArrayCodeReader(_code, 0, length), at.Rip);
            Instruction instruction = decoder.Decode();
            int shown = instruction.IsInvalid ? length : instruction.Length;
            Write($"{at.Cpu} insn {Where(at)} {Convert.ToHexStringLower(_code.AsSpan(0, shown)),-30} {Format(instruction)}");
        }
    }

    /// <inheritdoc/>
    public void Exception(VirtualCpu cpu, ExceptionVector vector, uint errorCode, ulong address)
    {
        if ((_kinds & TraceKinds.Exceptions) == 0)
            return;
        CpuLocation at = cpu.GetLocation();
        string page = vector == ExceptionVector.PageFault ? $" address=0x{address:x}" : "";
        Write($"{at.Cpu} exc  {Where(at)} {(int)vector} {vector} error=0x{errorCode:x}{page}");
    }

    /// <inheritdoc/>
    public void Interrupt(VirtualCpu cpu, int vector, bool isSoftware)
    {
        if ((_kinds & TraceKinds.Interrupts) == 0)
            return;
        CpuLocation at = cpu.GetLocation();
        Write($"{at.Cpu} intr {Where(at)} 0x{vector:x2} {(isSoftware ? "software" : "external")}");
    }

    /// <inheritdoc/>
    public void Translation(VirtualCpu cpu, TranslatedBlock block)
    {
        if (!WantsTranslations)
            return;
        // One lock for all lines of a block, so that those of two vCPUs do not mix.
        lock (_lock)
        {
            CpuLocation at = cpu.GetLocation();
            Write($"{at.Cpu} tran {at.CodeSelector:x4}:{block.Linear:x16} 0x{block.Physical:x} instructions={block.Instructions} bytes={block.Host.Length}");
            List<string> guest = Disassemble(block.Guest, cpu.GetCodeSize(), block.Linear, Math.Max(block.Instructions, 1), withBytes: true);
            if (block.Instructions == 0)
                guest[0] += " (interpreted)";
            List<string> host = Disassemble(block.Host, 64, block.HostAddress, int.MaxValue, withBytes: false);
            for (int i = 0; i < Math.Max(guest.Count, host.Count); i++)
                Write($"{at.Cpu} code {(i < guest.Count ? guest[i] : "").PadRight(GuestColumn)} | {(i < host.Count ? host[i] : "")}".TrimEnd());
        }
    }

    /// <inheritdoc/>
    public void Io(IoBus bus, string device, ulong address, int size, ulong value, bool isWrite)
    {
        bool isPort = bus.Name == "port";
        if ((_kinds & (isPort ? TraceKinds.Ports : TraceKinds.Mmio)) == 0)
            return;
        Write($"- {(isPort ? "port" : "mmio")} {(isWrite ? "write" : "read")} {device} 0x{address:x} size={size} value=0x{value:x}");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
            _writer.Flush();
    }

    private static string Where(CpuLocation at) => $"{at.CodeSelector:x4}:{at.Rip:x16}";

    // The lock is held: the formatter is shared.
    private List<string> Disassemble(ReadOnlySpan<byte> code, int bitness, ulong address, int instructions, bool withBytes)
    {
        byte[] bytes = code.ToArray();
        var decoder = Decoder.Create(bitness, new ByteArrayCodeReader(bytes), address);
        var lines = new List<string>();
        for (int at = 0; at < bytes.Length && lines.Count < instructions;)
        {
            Instruction instruction = decoder.Decode();
            int length = instruction.IsInvalid ? bytes.Length - at : instruction.Length;
            string hex = withBytes ? $"{Convert.ToHexStringLower(bytes.AsSpan(at, Math.Min(length, LongestInstruction))),-22} " : "";
            lines.Add($"{instruction.IP:x16} {hex}{Format(instruction)}");
            at += length;
        }

        return lines;
    }

    private string Format(in Instruction instruction)
    {
        _text.Reset();
        if (instruction.IsInvalid)
            return "(bad)";
        _formatter.Format(instruction, _text);
        return _text.ToStringAndReset();
    }

    private void Write(string line)
    {
        lock (_lock)
        {
            _writer.Write(line);
            _writer.Write('\n');
        }
    }
}
