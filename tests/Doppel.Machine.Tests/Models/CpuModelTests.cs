using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;
using Doppel.Machine.Tests.System;
using Iced.Intel;

namespace Doppel.Machine.Tests.Models;

public sealed class CpuModelTests
{
    [Fact]
    public void An_unknown_name_is_answered_with_the_known_ones()
    {
        CpuModelException error = Assert.Throws<CpuModelException>(() => CpuModels.Find("pentium"));
        Assert.Equal("CPU model 'pentium' is unknown; known models: x86-64-v2, x86-64-v2-compat, x86-64-v3, host", error.Message);
        Assert.Same(CpuModels.Version3, CpuModels.Find("X86-64-V3"));
    }

    [Fact]
    public void A_model_that_the_host_cannot_execute_is_refused_with_what_is_missing()
    {
        bool HostHas(CpuFeature feature) => CpuModels.Version2.Has(feature);
        CpuModels.EnsureSupported(CpuModels.Version2, HostHas);
        CpuModelException error = Assert.Throws<CpuModelException>(() => CpuModels.EnsureSupported(CpuModels.Version3, HostHas));
        Assert.StartsWith("CPU model 'x86-64-v3' needs pclmulqdq, fma, movbe, aes, avx, f16c, bmi1, avx2, bmi2, abm, which this host's CPU does not have", error.Message, StringComparison.Ordinal);
        Assert.Contains("models that it can run: x86-64-v2", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_host_model_runs_on_the_host() => CpuModels.EnsureSupported(CpuModels.Find("host"));

    [Fact]
    public void The_named_models_never_change()
    {
        const string Base =
            "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss cx16 pcid x2apic "
            + "tsc_deadline_timer xsave rdrand arat fsgsbase tsc_adjust fdp_excptn_only smep erms invpcid zero_fcs_fds rdseed smap umip fsrm "
            + "ibrs arch_capabilities xsaveopt xsavec xgetbv1 xsaves lahf_lm 3dnowprefetch syscall nx pdpe1gb rdtscp lm constant_tsc";
        const string Version2 = Base + " pni ssse3 sse4_1 sse4_2 popcnt";
        const string Version3 = Version2 + " pclmulqdq fma movbe aes avx f16c bmi1 avx2 bmi2 abm";
        Assert.Equal(Sorted(Version2.Split(' ')), Sorted(Names(CpuModels.Version2)));
        Assert.Equal(Sorted(Version3.Split(' ')), Sorted(Names(CpuModels.Version3)));
        foreach (CpuModel model in new[] { CpuModels.Version2, CpuModels.Version3 })
        {
            Assert.Equal(0x000806F8u, model.Signature);
            Assert.Equal(40, model.PhysicalAddressBits);
            Assert.True(model.Has1GiBPages);
            Assert.False(model.IsAmd);
        }
    }

    [Fact]
    public void The_host_model_takes_user_instructions_from_the_host_and_the_rest_from_the_machine()
    {
        CpuModel poor = CpuModels.ForHost(_ => false);
        Assert.True(poor.Has(CpuFeature.Smap));
        Assert.False(poor.Has(CpuFeature.Sse42));
        CpuModel maskedAvx = CpuModels.ForHost(f => f != CpuFeature.Avx);
        Assert.False(maskedAvx.Has(CpuFeature.Avx2));
        Assert.Equal(3UL, maskedAvx.SupportedXcr0);
        CpuModel rich = CpuModels.ForHost(_ => true);
        Assert.True(rich.Has(CpuFeature.Avx2) && rich.Has(CpuFeature.Sha) && rich.Has(CpuFeature.AvxVnni));
        Assert.Equal(7UL, rich.SupportedXcr0);
    }

    [Theory]
    [InlineData("C5FD6F00", false, true)] // VMOVDQA YMM0,[RAX]
    [InlineData("C4E279180000000000", false, true)] // VBROADCASTSS
    [InlineData("C4E2F0F2C0", false, true)] // ANDN
    [InlineData("C4E27BF7C0", false, true)] // SHRX
    [InlineData("C4E2F998C0", false, true)] // VFMADD132PD
    [InlineData("660F38DCC1", false, true)] // AESENC
    [InlineData("660F3A44C100", false, true)] // PCLMULQDQ
    [InlineData("0F38F000", false, true)] // MOVBE
    [InlineData("660F38F6C0", false, false)] // ADCX
    [InlineData("0F38C8C1", false, false)] // SHA1NEXTE
    [InlineData("62F17C481000", false, false)] // VMOVUPS ZMM0,[RAX]
    [InlineData("0F01D5", false, false)] // XEND
    [InlineData("0F01C8", false, false)] // MONITOR
    [InlineData("0FAA", false, false)] // RSM
    [InlineData("0F01C1", false, false)] // VMCALL
    [InlineData("0F01D9", false, false)] // VMMCALL
    [InlineData("660FAE38", false, false)] // CLFLUSHOPT
    [InlineData("F30FC7F8", false, false)] // RDPID
    [InlineData("0F01EE", false, false)] // RDPKRU
    [InlineData("F20F78C00102", false, false)] // INSERTQ
    [InlineData("0F0FC19E", false, false)] // PFADD
    [InlineData("F30FB8C0", true, true)] // POPCNT
    [InlineData("F20F38F1C0", true, true)] // CRC32
    [InlineData("0FC7F0", true, true)] // RDRAND
    [InlineData("0FC7F8", true, true)] // RDSEED
    [InlineData("480FC708", true, true)] // CMPXCHG16B
    [InlineData("660F388200", true, true)] // INVPCID
    [InlineData("0FC720", true, true)] // XSAVEC
    [InlineData("0F01CA", true, true)] // CLAC
    [InlineData("F30FAEC0", true, true)] // RDFSBASE
    [InlineData("0F01F9", true, true)] // RDTSCP
    [InlineData("0F05", true, true)] // SYSCALL
    [InlineData("D9E8", true, true)] // FLD1
    [InlineData("DAC1", true, true)] // FCMOVB
    [InlineData("9F", true, true)] // LAHF
    public void Instructions_exist_where_their_feature_does(string hex, bool inVersion2, bool inVersion3)
    {
        Assert.Equal(inVersion2, Allows(CpuModels.Version2, hex));
        Assert.Equal(inVersion3, Allows(CpuModels.Version3, hex));
    }

    [Theory]
    [InlineData("F30FBCC1", Mnemonic.Bsf, Mnemonic.Tzcnt)]
    [InlineData("F30FBDC1", Mnemonic.Bsr, Mnemonic.Lzcnt)]
    public void Without_their_feature_tzcnt_and_lzcnt_are_bsf_and_bsr(string hex, Mnemonic without, Mnemonic with)
    {
        Assert.Equal(without, Decode(CpuModels.Version2, hex).Mnemonic);
        Assert.Equal(with, Decode(CpuModels.Version3, hex).Mnemonic);
        Assert.True(Allows(CpuModels.Version2, hex));
        Assert.True(Allows(CpuModels.Version3, hex));
    }

    [Theory]
    [InlineData("F30F1EFA")] // ENDBR64
    [InlineData("F3480F1EC8")] // RDSSPQ
    [InlineData("0F1F4000")] // NOP
    [InlineData("0F0D08")] // PREFETCHW
    [InlineData("0F1808")] // PREFETCHT0
    [InlineData("F30F1A00")] // BNDCL
    [InlineData("0F1C00")] // CLDEMOTE
    public void Hints_of_features_that_do_not_exist_do_nothing(string hex)
    {
        Instruction instruction = Decode(CpuModels.Version2, hex);
        Assert.True(instruction.Mnemonic is Mnemonic.Nop or Mnemonic.Reservednop, instruction.ToString());
        Assert.True(CpuModels.Version2.Allows(instruction));
    }

    [Theory]
    [InlineData("x86-64-v2", 7UL, 0)] // BSF leaves the destination alone and CF out of it.
    [InlineData("x86-64-v3", 64UL, 1)]
    public unsafe void The_interpreter_reads_instructions_as_the_model_does(string name, ulong result, int carry)
    {
        using TestCpu test = new TestCpu(CpuModels.Find(name)).InLongMode();
        byte[] code = Convert.FromHexString("F3480FBCC1" + "F30F1EFA" + "F3480F1EC8" + "F4");
        Assert.True(test.Memory.TryWrite(0x8000, code));
        test.State->Gpr[0] = 7;
        test.State->Gpr[1] = 0;
        test.State->Rip = 0x8000;
        using var engine = new Interpreter(test.Cpu);
        Assert.Equal(ExitReason.Halt, engine.Run(10));
        Assert.Equal(0x8000UL + (uint)code.Length, test.State->Rip);
        Assert.Equal(result, test.State->Gpr[0]);
        Assert.Equal(carry, (int)(test.State->Flags & CpuFlags.Cf));
    }

    [Fact]
    public void The_gate_can_be_made_of_the_decoders_features()
    {
        FeatureGate gate = FeatureGate.For(CpuidFeature.SSE, CpuidFeature.AVX);
        Assert.True(gate.Allows(Code.VEX_Vmovaps_xmm_xmmm128));
        Assert.True(gate.Allows(Code.Movaps_xmm_xmmm128));
        Assert.True(gate.Allows(Code.Add_rm32_r32));
        Assert.False(gate.Allows(Code.VEX_Vpaddd_ymm_ymm_ymmm256));
        Assert.True(CpuModels.Version2.Offers(CpuidFeature.SSE4_2));
        Assert.False(CpuModels.Version2.Offers(CpuidFeature.AVX512F));
    }

    [Fact]
    public void No_measure_against_speculation_is_asked_of_the_guest()
    {
        // RDCL_NO, IBRS_ALL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, three for MMIO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
        foreach (int bit in new[] { 0, 1, 4, 5, 6, 8, 13, 14, 15, 20, 24, 26, 27, 62 })
            Assert.NotEqual(0UL, ArchCapabilities.Value & (1UL << bit));
        // RSBA, TSX_CTRL, FB_CLEAR and RRSBA would ask for something.
        foreach (int bit in new[] { 2, 7, 17, 19 })
            Assert.Equal(0UL, ArchCapabilities.Value & (1UL << bit));
    }

    private static IEnumerable<string> Names(CpuModel model) => model.Features.Select(f => CpuFeatureCatalog.Of(f).Name);

    private static string Sorted(IEnumerable<string> names) => string.Join(' ', names.Order(StringComparer.Ordinal));

    private static Instruction Decode(CpuModel model, string hex)
    {
        Instruction instruction = Decoder.Create(64, new ByteArrayCodeReader(hex), model.DecoderOptions).Decode();
        Assert.NotEqual(Code.INVALID, instruction.Code);
        return instruction;
    }

    private static bool Allows(CpuModel model, string hex) => model.Allows(Decode(model, hex));
}
