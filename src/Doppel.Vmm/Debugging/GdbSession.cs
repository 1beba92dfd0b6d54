using System.Globalization;
using System.Text;
using Doppel.Machine.Cpu.Debugging;

namespace Doppel.Vmm.Debugging;

/// <summary>
/// One debugger's conversation: answers the packets of GDB's remote serial protocol (GDB manual, appendix E) on behalf of
/// a target that stands still. Anything malformed gets an error reply; anything unknown, the empty one. A thread of GDB
/// is a vCPU, numbered from 1.
/// </summary>
public sealed class GdbSession
{
    private const string Ok = "OK";
    private const string Malformed = "E01";
    private const string NoMemory = "E14";
    private const string Refused = "E22";
    private const int SignalInterrupt = 2;
    private const int SignalTrap = 5;

    private readonly IDebugTarget _target;
    private readonly GdbRegisters _registers;
    private readonly GdbMonitor _monitor;
    private int _cpu;
    private int? _continueCpu;
    private bool _isPhysical;
    private bool _knowsSoftwareStops;
    private bool _knowsHardwareStops;
    private string _lastStop;

    /// <summary>Begins a conversation about a target that stands still.</summary>
    public GdbSession(IDebugTarget target)
    {
        ArgumentNullException.ThrowIfNull(target);
        _target = target;
        _registers = new GdbRegisters(target.HasAvx);
        _monitor = new GdbMonitor(target, _registers);
        _lastStop = StopText(SignalTrap, "");
    }

    /// <summary>True once the debugger has asked for packets without acknowledgement.</summary>
    public bool IsWithoutAcknowledgement { get; private set; }

    /// <summary>The registers as numbered for this debugger.</summary>
    public GdbRegisters Registers => _registers;

    /// <summary>Answers one packet.</summary>
    /// <param name="packet">Its payload.</param>
    public async Task<GdbReply> HandleAsync(string packet)
    {
        ArgumentNullException.ThrowIfNull(packet);
        if (packet.Length == 0)
            return new GdbReply("");
        string rest = packet[1..];
        switch (packet[0])
        {
            case '?':
                return new GdbReply(_lastStop);
            case 'c' or 's':
                return Resume(packet[0], rest);
            case 'C' or 'S':
                // The signal means nothing to a machine.
                int address = rest.IndexOf(';', StringComparison.Ordinal);
                return Resume(char.ToLowerInvariant(packet[0]), address < 0 ? "" : rest[(address + 1)..]);
            case 'D':
                _target.Detach();
                return new GdbReply(Ok) { Next = GdbNext.Detached };
            case 'k':
                _target.Kill();
                return new GdbReply(null) { Next = GdbNext.Killed };
            case 'g':
                return new GdbReply(ReadAllRegisters());
            case 'G':
                return new GdbReply(WriteAllRegisters(rest));
            case 'p':
                return new GdbReply(ReadRegister(rest));
            case 'P':
                return new GdbReply(WriteRegister(rest));
            case 'm':
                return new GdbReply(ReadMemory(rest, isBinary: false));
            case 'x':
                return new GdbReply(ReadMemory(rest, isBinary: true));
            case 'M' or 'X':
                return new GdbReply(WriteMemory(rest, isBinary: packet[0] == 'X'));
            case 'Z' or 'z':
                return new GdbReply(ChangeBreakpoint(rest, packet[0] == 'Z'));
            case 'H':
                return new GdbReply(SelectCpu(rest));
            case 'T':
                return new GdbReply(TryParseThread(rest, out int? thread) && thread is not null ? Ok : Malformed);
            case 'v':
                return HandleLong(packet);
            case 'q':
                return new GdbReply(await QueryAsync(packet).ConfigureAwait(false));
            case 'Q':
                return new GdbReply(Set(packet));
            default:
                return new GdbReply("");
        }
    }

    /// <summary>The stop reply for a stop of the target's; null stands for one that the debugger asked for.</summary>
    public string ReportStop(DebugStop? stop)
    {
        if (stop is null)
            return _lastStop = StopText(SignalInterrupt, "");
        _cpu = stop.Cpu;
        string reason = stop.Breakpoint?.Kind switch
        {
            BreakpointKind.Software => _knowsSoftwareStops ? "swbreak:;" : "",
            BreakpointKind.Hardware => _knowsHardwareStops ? "hwbreak:;" : "",
            BreakpointKind.Write => $"watch:{stop.Address:x};",
            BreakpointKind.Read => $"rwatch:{stop.Address:x};",
            BreakpointKind.Access => $"awatch:{stop.Address:x};",
            _ => "",
        };
        return _lastStop = StopText(SignalTrap, reason);
    }

    private string StopText(int signal, string reason)
    {
        var text = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"T{signal:x2}thread:{_cpu + 1:x2};{reason}"));
        foreach (string name in (string[])["rip", "rsp", "rbp"])
        {
            int number = _registers.NumberOf(name);
            text.Append(CultureInfo.InvariantCulture, $"{number:x2}:{RegisterText(number)};");
        }

        return text.ToString();
    }

    private GdbReply Resume(char action, string address)
    {
        if (address.Length != 0)
        {
            if (!GdbPacket.TryParseNumber(address, out ulong rip))
                return new GdbReply(Malformed);
            _ = _target.TryWriteRegister(_continueCpu ?? _cpu, new CpuRegister(CpuRegisterKind.InstructionPointer), BitConverter.GetBytes(rip));
        }

        var actions = new CpuAction[_target.CpuCount];
        if (actions.Length == 0)
            return new GdbReply(Refused);
        if (action == 's')
            actions[Math.Min(_continueCpu ?? _cpu, actions.Length - 1)] = CpuAction.Step;
        else if (_continueCpu is int only)
            Array.Fill(actions, CpuAction.Hold);
        if (action == 'c' && _continueCpu is int one && one < actions.Length)
            actions[one] = CpuAction.Continue;
        return Go(actions);
    }

    private GdbReply Go(CpuAction[] actions)
    {
        _target.Resume(actions);
        return new GdbReply(null) { Next = GdbNext.Running };
    }

    private GdbReply HandleLong(string packet)
    {
        if (packet == "vCont?")
            return new GdbReply("vCont;c;C;s;S");
        if (packet == "vMustReplyEmpty")
            return new GdbReply("");
        if (packet == "vKill" || packet.StartsWith("vKill;", StringComparison.Ordinal))
        {
            _target.Kill();
            return new GdbReply(Ok) { Next = GdbNext.Killed };
        }

        if (packet == "vCtrlC")
            return new GdbReply(Ok);
        return packet.StartsWith("vCont;", StringComparison.Ordinal) ? Continue(packet[6..]) : new GdbReply("");
    }

    private GdbReply Continue(string list)
    {
        var actions = new CpuAction?[_target.CpuCount];
        foreach (string item in list.Split(';'))
        {
            string[] parts = item.Split(':');
            int? thread = null;
            if (parts.Length > 2 || parts[0].Length == 0 || (parts.Length == 2 && !TryParseThread(parts[1], out thread)))
                return new GdbReply(Malformed);
            CpuAction? action = parts[0][0] switch
            {
                'c' or 'C' => CpuAction.Continue,
                's' or 'S' => CpuAction.Step,
                _ => null,
            };
            if (action is null)
                return new GdbReply(Malformed);
            // The leftmost action that names a thread is the one that holds for it.
            for (int i = 0; i < actions.Length; i++)
            {
                if (thread is null || thread == i)
                    actions[i] ??= action;
            }
        }

        return Go([.. actions.Select(a => a ?? CpuAction.Hold)]);
    }

    private string SelectCpu(string text)
    {
        if (text.Length < 2 || text[0] is not ('g' or 'c') || !TryParseThread(text[1..], out int? thread))
            return Malformed;
        if (text[0] == 'c')
            _continueCpu = thread;
        else if (thread is int cpu)
            _cpu = cpu;
        return Ok;
    }

    // 0 is any thread and -1 all of them: null.
    private bool TryParseThread(string text, out int? thread)
    {
        thread = null;
        if (text is "0" or "-1")
            return true;
        if (!GdbPacket.TryParseNumber(text, out ulong number) || number > (ulong)_target.CpuCount)
            return false;
        thread = number == 0 ? null : (int)number - 1;
        return true;
    }

    private string RegisterText(int number)
    {
        CpuRegister register = _registers.All[number].Register;
        Span<byte> value = stackalloc byte[register.Size];
        _target.ReadRegister(_cpu, register, value);
        return GdbPacket.ToHex(value);
    }

    private string ReadAllRegisters()
    {
        var text = new StringBuilder();
        for (int i = 0; i < _registers.All.Count; i++)
            text.Append(RegisterText(i));
        return text.ToString();
    }

    private string WriteAllRegisters(string text)
    {
        if (!GdbPacket.TryParseHex(text, out byte[] values) || values.Length > _registers.All.Sum(r => r.Register.Size))
            return Malformed;
        int offset = 0;
        bool isWhole = true;
        foreach (GdbRegister register in _registers.All)
        {
            if (offset + register.Register.Size > values.Length)
                break;
            isWhole &= _target.TryWriteRegister(_cpu, register.Register, values.AsSpan(offset, register.Register.Size));
            offset += register.Register.Size;
        }

        return isWhole ? Ok : Refused;
    }

    private string ReadRegister(string text) =>
        GdbPacket.TryParseNumber(text, out ulong number) && number < (ulong)_registers.All.Count ? RegisterText((int)number) : Malformed;

    private string WriteRegister(string text)
    {
        string[] parts = text.Split('=');
        if (parts.Length != 2 || !GdbPacket.TryParseNumber(parts[0], out ulong number) || number >= (ulong)_registers.All.Count
            || !GdbPacket.TryParseHex(parts[1], out byte[] value))
        {
            return Malformed;
        }

        CpuRegister register = _registers.All[(int)number].Register;
        if (value.Length != register.Size)
            return Malformed;
        return _target.TryWriteRegister(_cpu, register, value) ? Ok : Refused;
    }

    private static bool TryParseRange(string text, out ulong address, out int length)
    {
        length = 0;
        int comma = text.IndexOf(',', StringComparison.Ordinal);
        address = 0;
        if (comma < 0 || !GdbPacket.TryParseNumber(text.AsSpan(0, comma), out address)
            || !GdbPacket.TryParseNumber(text.AsSpan(comma + 1), out ulong count) || count > GdbParser.MaximumPayload)
        {
            return false;
        }

        length = (int)count;
        return true;
    }

    private string ReadMemory(string text, bool isBinary)
    {
        if (!TryParseRange(text, out ulong address, out int length))
            return Malformed;
        byte[] bytes = new byte[Math.Min(length, (GdbParser.MaximumPayload / 2) - 8)];
        int count = _target.ReadMemory(_cpu, address, bytes, _isPhysical);
        if (count == 0 && length != 0)
            return NoMemory;
        return isBinary ? "b" + Encoding.Latin1.GetString(bytes, 0, count) : GdbPacket.ToHex(bytes.AsSpan(0, count));
    }

    private string WriteMemory(string text, bool isBinary)
    {
        int colon = text.IndexOf(':', StringComparison.Ordinal);
        if (colon < 0 || !TryParseRange(text[..colon], out ulong address, out int length))
            return Malformed;
        byte[] bytes = Encoding.Latin1.GetBytes(text[(colon + 1)..]);
        if ((!isBinary && !GdbPacket.TryParseHex(text.AsSpan(colon + 1), out bytes)) || bytes.Length != length)
            return Malformed;
        return _target.WriteMemory(_cpu, address, bytes, _isPhysical) == length ? Ok : NoMemory;
    }

    private string ChangeBreakpoint(string text, bool add)
    {
        if (text.Length < 3 || text[1] != ',')
            return Malformed;
        BreakpointKind? kind = text[0] switch
        {
            '0' => BreakpointKind.Software,
            '1' => BreakpointKind.Hardware,
            '2' => BreakpointKind.Write,
            '3' => BreakpointKind.Read,
            '4' => BreakpointKind.Access,
            _ => null,
        };
        if (kind is null)
            return "";
        // Conditions may follow; they are GDB's own affair, since they are not offered.
        int end = text.IndexOf(';', StringComparison.Ordinal);
        if (!TryParseRange(text[2..(end < 0 ? text.Length : end)], out ulong address, out int length))
            return Malformed;
        var breakpoint = new Breakpoint(kind.Value, address, length);
        if (breakpoint.IsCode)
            breakpoint = breakpoint with { Length = 1 };
        else if (length is < 1 or > BreakpointSet.MaximumLength)
            return Refused;
        if (add)
            _target.Add(breakpoint);
        else
            _target.Remove(breakpoint);
        return Ok;
    }

    private async Task<string> QueryAsync(string packet)
    {
        int end = packet.AsSpan().IndexOfAny(':', ',', ';');
        string name = end < 0 ? packet : packet[..end];
        string rest = end < 0 ? "" : packet[(end + 1)..];
        switch (name)
        {
            case "qSupported":
                string[] features = rest.Split(';');
                _knowsSoftwareStops = features.Contains("swbreak+");
                _knowsHardwareStops = features.Contains("hwbreak+");
                return string.Create(CultureInfo.InvariantCulture, $"PacketSize={GdbParser.MaximumPayload:x};qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;binary-upload+");
            case "qXfer":
                return Transfer(rest);
            case "qC":
                return string.Create(CultureInfo.InvariantCulture, $"QC{_cpu + 1:x2}");
            case "qAttached":
                return "1";
            case "qfThreadInfo":
                return "m" + string.Join(',', Enumerable.Range(1, _target.CpuCount).Select(i => i.ToString("x2", CultureInfo.InvariantCulture)));
            case "qsThreadInfo":
                return "l";
            case "qThreadExtraInfo":
                return TryParseThread(rest, out int? thread) && thread is int cpu ? HexText(Shorten(_target.Describe(cpu))) : Malformed;
            case "qRcmd":
                return GdbPacket.TryParseHex(rest, out byte[] command) ? HexText(await _monitor.RunAsync(Encoding.UTF8.GetString(command), _cpu).ConfigureAwait(false)) : Malformed;
            case "qqemu.sstepbits":
                return "ENABLE=1,NOIRQ=2,NOTIMER=4";
            case "qqemu.sstep":
                return _target.StepsIntoInterrupts ? "0x1" : "0x7";
            case "qqemu.PhyMemMode":
                return _isPhysical ? "1" : "0";
            default:
                return "";
        }
    }

    private string Set(string packet)
    {
        switch (packet)
        {
            case "QStartNoAckMode":
                IsWithoutAcknowledgement = true;
                return Ok;
            case "Qqemu.PhyMemMode:0" or "Qqemu.PhyMemMode:1":
                _isPhysical = packet[^1] == '1';
                return Ok;
            case not null when packet.StartsWith("Qqemu.sstep=", StringComparison.Ordinal):
                string text = packet[12..];
                if (!GdbPacket.TryParseNumber(text.StartsWith("0x", StringComparison.Ordinal) ? text[2..] : text, out ulong bits))
                    return Malformed;
                _target.StepsIntoInterrupts = (bits & 2) == 0;
                return Ok;
            default:
                return "";
        }
    }

    private string Transfer(string text)
    {
        string[] parts = text.Split(':');
        if (parts.Length < 2 || parts[0] != "features" || parts[1] != "read")
            return "";
        if (parts.Length != 4 || !TryParseRange(parts[3], out ulong offset, out int length))
            return Malformed;
        if (parts[2] != "target.xml")
            return "E00";
        string description = _registers.Description;
        if (offset >= (ulong)description.Length)
            return "l";
        // Escaping may double the length.
        int count = Math.Min(Math.Min(length, (GdbParser.MaximumPayload / 2) - 8), description.Length - (int)offset);
        return ((int)offset + count == description.Length ? "l" : "m") + description[(int)offset..((int)offset + count)];
    }

    // "info threads" shows where the thread is by itself.
    private static string Shorten(string description) => string.Join(',', description.Split(',').Take(3));

    private static string HexText(string text)
    {
        const int Most = (GdbParser.MaximumPayload / 2) - 8;
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        return bytes.Length == 0 ? Ok : GdbPacket.ToHex(bytes.AsSpan(0, Math.Min(bytes.Length, Most)));
    }
}
