using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu.Inspection;

/// <summary>
/// A copy of what the architecture defines of a vCPU, for comparison. Not a saved state: it leaves out what engines keep
/// for themselves, and time.
/// </summary>
public sealed unsafe class CpuSnapshot
{
    private static readonly string[] GeneralNames =
        ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

    private static readonly string[] SegmentNames = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"];

    // The legacy region without what software may use, the header, and the upper halves.
    private static readonly (int Start, int Length)[] ExtendedParts = [(0, 416), (512, 64), (576, 256)];

    private readonly ulong[] _general = new ulong[19];
    private readonly byte[] _system = new byte[SystemLength];
    private readonly byte[] _extended = new byte[ExtendedLength];

    /// <summary>RIP.</summary>
    public ulong Rip => _general[16];

    /// <summary>Instructions retired since reset; not compared.</summary>
    public ulong InstructionsRetired { get; private set; }

    private static int ExtendedLength => ExtendedParts.Sum(p => p.Length);

    // Segments, control registers, MSRs and debug registers lie together; what follows belongs to the engines.
    private static int SystemLength
    {
        get
        {
            CpuState state;
            CpuState* s = &state;
            return (int)((byte*)(&s->MonitorAddress + 1) - (byte*)&s->Es);
        }
    }

    /// <summary>Copies a vCPU's state. Call it while the vCPU's engine does not run.</summary>
    public static CpuSnapshot Take(VirtualCpu cpu)
    {
        var snapshot = new CpuSnapshot();
        snapshot.Update(cpu);
        return snapshot;
    }

    /// <summary>Copies a vCPU's state over this one.</summary>
    public void Update(VirtualCpu cpu)
    {
        CpuState* s = cpu.State;
        new ReadOnlySpan<ulong>(s->Gpr, 16).CopyTo(_general);
        _general[16] = s->Rip;
        _general[17] = s->Flags;
        _general[18] = (uint)s->Cpl | ((ulong)s->Shadow << 8) | ((ulong)s->Activity << 16);
        new ReadOnlySpan<byte>((byte*)&s->Es, _system.Length).CopyTo(_system);
        int at = 0;
        foreach ((int start, int length) in ExtendedParts)
        {
            new ReadOnlySpan<byte>(s->XsaveArea + start, length).CopyTo(_extended.AsSpan(at));
            at += length;
        }

        InstructionsRetired = s->InstructionsRetired;
    }

    /// <summary>Whether everything is equal.</summary>
    public bool Matches(CpuSnapshot other) =>
        _general.AsSpan().SequenceEqual(other._general) &&
        _system.AsSpan().SequenceEqual(other._system) &&
        _extended.AsSpan().SequenceEqual(other._extended);

    /// <summary>All registers with their names, in a fixed order.</summary>
    public IReadOnlyList<RegisterValue> List()
    {
        var list = new List<RegisterValue>();
        for (int i = 0; i < 16; i++)
            list.Add(new RegisterValue(GeneralNames[i], _general[i]));
        list.Add(new RegisterValue("rip", _general[16]));
        list.Add(new RegisterValue("rflags", _general[17]));
        list.Add(new RegisterValue("cpl", _general[18] & 0xFF));
        list.Add(new RegisterValue("shadow", (_general[18] >> 8) & 0xFF));
        list.Add(new RegisterValue("activity", _general[18] >> 16));
        ListSystem(list);
        ListExtended(list);
        return list;
    }

    private void ListSystem(List<RegisterValue> list)
    {
        CpuState copy = default;
        CpuState* s = &copy;
        _system.CopyTo(new Span<byte>((byte*)&s->Es, _system.Length));
        for (int i = 0; i < SegmentNames.Length; i++)
        {
            SegmentRegister* segment = &s->Es + i;
            list.Add(new RegisterValue(SegmentNames[i], segment->Selector));
            list.Add(new RegisterValue(SegmentNames[i] + ".base", segment->Base));
            list.Add(new RegisterValue(SegmentNames[i] + ".limit", segment->Limit));
            list.Add(new RegisterValue(SegmentNames[i] + ".rights", (ulong)segment->Attributes));
        }

        list.Add(new RegisterValue("gdtr.base", s->Gdtr.Base));
        list.Add(new RegisterValue("gdtr.limit", s->Gdtr.Limit));
        list.Add(new RegisterValue("idtr.base", s->Idtr.Base));
        list.Add(new RegisterValue("idtr.limit", s->Idtr.Limit));
        ReadOnlySpan<string> names =
        [
            "cr0", "cr2", "cr3", "cr4", "xcr0", "efer", "star", "lstar", "cstar", "sfmask", "kernelgsbase",
            "sysenter.cs", "sysenter.esp", "sysenter.eip", "tscaux", "pat", "miscenable", "xss", "specctrl", "debugctl", "mcgstatus",
            "tscoffset", "tscadjust", "mtrrdeftype",
        ];
        ulong* value = &s->Cr0;
        foreach (string name in names)
            list.Add(new RegisterValue(name, *value++));
        for (int i = 0; i < 27; i++)
            list.Add(new RegisterValue(i < 16 ? $"mtrrvariable{i}" : $"mtrrfixed{i - 16}", *value++));
        for (int i = 0; i < 8; i++)
            list.Add(new RegisterValue($"dr{i}", *value++));
        for (int i = 0; i < 4; i++)
            list.Add(new RegisterValue($"pdpte{i}", *value++));
        list.Add(new RegisterValue("monitor", *value));
    }

    private void ListExtended(List<RegisterValue> list)
    {
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(_extended);
        ReadOnlySpan<string> control = ["x87.control", "x87.instruction", "x87.data", "mxcsr"];
        for (int i = 0; i < words.Length; i++)
        {
            string name = i switch
            {
                < 4 => control[i],
                < 20 => $"st{(i - 4) / 2}.{(i % 2 == 0 ? "low" : "high")}",
                < 52 => $"xmm{(i - 20) / 2}.{(i % 2 == 0 ? "low" : "high")}",
                < 60 => $"xsave.header{i - 52}",
                _ => $"ymm{(i - 60) / 2}.{(i % 2 == 0 ? "third" : "top")}",
            };
            list.Add(new RegisterValue(name, words[i]));
        }
    }
}
