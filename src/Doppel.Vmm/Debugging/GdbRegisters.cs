using System.Text;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Debugging;

namespace Doppel.Vmm.Debugging;

/// <summary>
/// The registers that GDB sees, by its numbers, and the target description that tells it (GDB manual, appendix G; the
/// features and names are those that GDB expects of i386:x86-64).
/// </summary>
public sealed class GdbRegisters
{
    private const string Core = "org.gnu.gdb.i386.core";
    private const string Sse = "org.gnu.gdb.i386.sse";
    private const string Avx = "org.gnu.gdb.i386.avx";
    private const string Segments = "org.gnu.gdb.i386.segments";
    private const string System = "org.doppel.x86.system";

    /// <summary>Makes the list for a CPU with or without AVX.</summary>
    public GdbRegisters(bool hasAvx)
    {
        List<GdbRegister> all = [];
        string[] general = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
        int[] numbers = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];
        for (int i = 0; i < 16; i++)
            Add(general[i], CpuRegisterKind.General, numbers[i], i is 6 or 7 ? "data_ptr" : "int64", Core);
        Add("rip", CpuRegisterKind.InstructionPointer, 0, "code_ptr", Core);
        Add("eflags", CpuRegisterKind.Flags, 0, "i386_eflags", Core);
        (string Name, Segment Segment)[] segments =
            [("cs", Segment.Cs), ("ss", Segment.Ss), ("ds", Segment.Ds), ("es", Segment.Es), ("fs", Segment.Fs), ("gs", Segment.Gs)];
        foreach ((string name, Segment segment) in segments)
            Add(name, CpuRegisterKind.Selector, (int)segment, "int32", Core);
        for (int i = 0; i < 8; i++)
            Add($"st{i}", CpuRegisterKind.X87, i, "i387_ext", Core);
        string[] x87 = ["fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"];
        for (int i = 0; i < 8; i++)
            Add(x87[i], CpuRegisterKind.X87Control, i, "int", Core, "float");
        for (int i = 0; i < 16; i++)
            Add($"xmm{i}", CpuRegisterKind.Xmm, i, "vec128", Sse);
        Add("mxcsr", CpuRegisterKind.Mxcsr, 0, "i386_mxcsr", Sse, "vector");
        for (int i = 0; i < 16 && hasAvx; i++)
            Add($"ymm{i}h", CpuRegisterKind.YmmHigh, i, "uint128", Avx);
        Add("fs_base", CpuRegisterKind.SegmentBase, (int)Segment.Fs, "int64", Segments);
        Add("gs_base", CpuRegisterKind.SegmentBase, (int)Segment.Gs, "int64", Segments);
        Add("k_gs_base", CpuRegisterKind.KernelGsBase, 0, "int64", System, "system");
        foreach (int i in (int[])[0, 2, 3, 4, 8])
            Add($"cr{i}", CpuRegisterKind.Control, i, i is 0 or 4 ? $"x64_cr{i}" : "int64", System, "system");
        Add("efer", CpuRegisterKind.Efer, 0, "x64_efer", System, "system");
        foreach ((string name, Segment segment) in segments[..4])
            Add($"{name}_base", CpuRegisterKind.SegmentBase, (int)segment, "int64", System, "system");
        All = all;
        Description = Describe();

        void Add(string name, CpuRegisterKind kind, int index, string type, string feature, string? group = null) =>
            all.Add(new GdbRegister(name, new CpuRegister(kind, index), type, feature, group));
    }

    /// <summary>All registers; the place is GDB's number.</summary>
    public IReadOnlyList<GdbRegister> All { get; }

    /// <summary>The target description, target.xml.</summary>
    public string Description { get; }

    /// <summary>GDB's number of a register.</summary>
    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public int NumberOf(string name)
    {
        for (int i = 0; i < All.Count; i++)
        {
            if (All[i].Name == name)
                return i;
        }

        throw new ArgumentException($"\"{name}\": the name of a register of the target description would be right", nameof(name));
    }

    private string Describe()
    {
        var xml = new StringBuilder("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target>\n<architecture>i386:x86-64</architecture>\n");
        string? feature = null;
        for (int i = 0; i < All.Count; i++)
        {
            GdbRegister register = All[i];
            if (register.Feature != feature)
            {
                if (feature is not null)
                    xml.Append("</feature>\n");
                feature = register.Feature;
                xml.Append($"<feature name=\"{feature}\">\n").Append(Types(feature));
            }

            string group = register.Group is null ? "" : $" group=\"{register.Group}\"";
            xml.Append($"<reg name=\"{register.Name}\" bitsize=\"{register.Register.Size * 8}\" type=\"{register.Type}\" regnum=\"{i}\"{group}/>\n");
        }

        return xml.Append("</feature>\n</target>\n").ToString();
    }

    private static string Types(string feature) => feature switch
    {
        Core => Flags("i386_eflags", 4, (0, "CF"), (1, ""), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (8, "TF"), (9, "IF"), (10, "DF"), (11, "OF"), (14, "NT"), (16, "RF"), (17, "VM"), (18, "AC"), (19, "VIF"), (20, "VIP"), (21, "ID")),
        Sse => """
            <vector id="v4f" type="ieee_single" count="4"/>
            <vector id="v2d" type="ieee_double" count="2"/>
            <vector id="v16i8" type="int8" count="16"/>
            <vector id="v8i16" type="int16" count="8"/>
            <vector id="v4i32" type="int32" count="4"/>
            <vector id="v2i64" type="int64" count="2"/>
            <union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/><field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>

            """ + Flags("i386_mxcsr", 4, (0, "IE"), (1, "DE"), (2, "ZE"), (3, "OE"), (4, "UE"), (5, "PE"), (6, "DAZ"), (7, "IM"), (8, "DM"), (9, "ZM"), (10, "OM"), (11, "UM"), (12, "PM"), (15, "FZ")),
        System => Flags("x64_cr0", 8, (0, "PE"), (1, "MP"), (2, "EM"), (3, "TS"), (4, "ET"), (5, "NE"), (16, "WP"), (18, "AM"), (29, "NW"), (30, "CD"), (31, "PG"))
            + Flags("x64_cr4", 8, (0, "VME"), (1, "PVI"), (2, "TSD"), (3, "DE"), (4, "PSE"), (5, "PAE"), (6, "MCE"), (7, "PGE"), (8, "PCE"), (9, "OSFXSR"), (10, "OSXMMEXCPT"), (11, "UMIP"), (12, "LA57"), (16, "FSGSBASE"), (17, "PCIDE"), (18, "OSXSAVE"), (20, "SMEP"), (21, "SMAP"), (22, "PKE"))
            + Flags("x64_efer", 8, (0, "SCE"), (8, "LME"), (10, "LMA"), (11, "NXE"), (14, "FFXSR")),
        _ => "",
    };

    private static string Flags(string id, int size, params (int Bit, string Name)[] bits)
    {
        var text = new StringBuilder($"<flags id=\"{id}\" size=\"{size}\">");
        foreach ((int bit, string name) in bits)
            text.Append($"<field name=\"{name}\" start=\"{bit}\" end=\"{bit}\"/>");
        return text.Append("</flags>\n").ToString();
    }
}
