using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Doppel.Machine.Cpu;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Machine.Tests.HostInstructions;

public sealed unsafe class VectorInstructionTests : IDisposable
{
    private const ulong Data = HostInstructionFixture.Data;
    private readonly HostInstructionFixture _f = new();

    public void Dispose() => _f.Dispose();

    [Fact]
    public void Sse_arithmetic_matches_the_host_in_registers_and_memory()
    {
        var a = Vector128.Create(1.5f, -2.25f, float.MaxValue, 1e-30f);
        var b = Vector128.Create(3f, 7f, float.MaxValue, 1e-20f);
        _f.SetXmm(1, a);
        _f.SetXmm(15, b);
        _f.Run(c => c.mulps(xmm1, xmm15));
        Assert.Equal(Sse.Multiply(a, b).AsByte(), _f.Xmm<byte>(1));
        b.AsByte().CopyTo(_f.Bytes(Data, 16));
        _f.SetXmm(9, a);
        _f.Run(c => c.divps(xmm9, __xmmword_ptr[rbx]), Data);
        Assert.Equal(Sse.Divide(a, b).AsByte(), _f.Xmm<byte>(9));
    }

    [Fact]
    public void Mxcsr_flags_accumulate_and_rounding_and_flush_to_zero_are_obeyed()
    {
        _f.SetXmm(0, Vector128.Create(1.0));
        _f.SetXmm(1, Vector128.Create(3.0));
        _f.State->Mxcsr = 0x1F80 | 1;
        _f.Run(c => c.divsd(xmm0, xmm1));
        Assert.Equal(0x1F80u | 0x21, _f.State->Mxcsr);
        double nearest = _f.Xmm<double>(0)[0];
        _f.SetXmm(0, Vector128.Create(1.0));
        _f.State->Mxcsr = 0x1F80 | 0x4000;
        _f.Run(c => c.divsd(xmm0, xmm1));
        Assert.Equal(Math.BitIncrement(nearest), _f.Xmm<double>(0)[0]);
        _f.SetXmm(0, Vector128.Create(double.Epsilon * 4));
        _f.SetXmm(1, Vector128.Create(0.3));
        _f.State->Mxcsr = 0x1F80 | 0x8000;
        _f.Run(c => c.mulsd(xmm0, xmm1));
        Assert.Equal(0.0, _f.Xmm<double>(0)[0]);
        Assert.Equal(1.0 / 3.0, nearest);
    }

    [Fact]
    public void Scalar_operations_keep_the_rest_of_the_register()
    {
        _f.SetYmm(2, Vector256.Create(1.0, 2.0, 3.0, 4.0));
        _f.SetXmm(3, Vector128.Create(16.0, 0.0));
        _f.Run(c => c.sqrtsd(xmm2, xmm3));
        Assert.Equal(Vector256.Create(4.0, 2.0, 3.0, 4.0), _f.Ymm<double>(2));
        _f.Run(c => c.movss(xmm2, xmm3));
        Assert.Equal(3.0, _f.Ymm<double>(2)[2]);
        _f.Run(c => c.vsqrtsd(xmm2, xmm2, xmm3));
        Assert.Equal(Vector256.Create(4.0, 2.0, 0.0, 0.0), _f.Ymm<double>(2));
    }

    [Fact]
    public void Integer_vectors_match_the_host()
    {
        var a = Vector128.Create((byte)1, 200, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255);
        var b = Vector128.Create((byte)15, 100, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 200);
        _f.SetXmm(4, a);
        _f.SetXmm(5, b);
        _f.Run(c => c.paddusb(xmm4, xmm5));
        Assert.Equal(Sse2.AddSaturate(a, b), _f.Xmm<byte>(4));
        _f.SetXmm(4, a);
        _f.Run(c => c.pshufb(xmm4, xmm5));
        Assert.Equal(Ssse3.Shuffle(a, b), _f.Xmm<byte>(4));
        _f.Run(c => c.pmovmskb(r13d, xmm5));
        Assert.Equal((ulong)(uint)Sse2.MoveMask(b), _f.State->Gpr[13]);
        _f.SetXmm(0, b);
        _f.SetXmm(1, a);
        _f.SetXmm(2, b);
        _f.Run(c => c.pblendvb(xmm1, xmm2));
        Assert.Equal(Sse41.BlendVariable(a, b, b), _f.Xmm<byte>(1));
    }

    [Fact]
    public void Avx_operates_on_all_32_bytes_and_vex_128_zeroes_the_upper_half()
    {
        var a = Vector256.Create(1L, -2, 3, long.MaxValue);
        var b = Vector256.Create(10L, 20, 30, 1);
        _f.SetYmm(8, a);
        _f.SetYmm(14, b);
        _f.Run(c => c.vpaddq(ymm1, ymm8, ymm14));
        Assert.Equal(Avx2.Add(a, b), _f.Ymm<long>(1));
        b.AsByte().CopyTo(_f.Bytes(Data + 3, 32));
        _f.Run(c => c.vpsubq(ymm1, ymm8, __ymmword_ptr[rsi + 3]), Data + 3);
        Assert.Equal(Avx2.Subtract(a, b), _f.Ymm<long>(1));
        _f.Run(c => c.vpaddq(xmm1, xmm8, xmm14));
        Assert.Equal(Vector256.Create(11L, 18, 0, 0), _f.Ymm<long>(1));
    }

    [Fact]
    public void Moves_done_without_a_stub_do_what_hardware_does()
    {
        var value = Vector256.Create(1UL, 2, 3, 4);
        _f.SetYmm(3, value);
        _f.Run(c => c.vmovdqu(__ymmword_ptr[rax], ymm3), Data + 5);
        Assert.Equal(value, Vector256.Create<ulong>(_f.Memory<ulong>(Data + 5, 4)));
        _f.Run(c => c.movups(xmm4, __xmmword_ptr[rax]), Data + 13);
        Assert.Equal(Vector128.Create(2UL, 3), _f.Xmm<ulong>(4));
        _f.Run(c => c.vmovups(ymm5, __ymmword_ptr[rax]), Data + 5);
        Assert.Equal(value, _f.Ymm<ulong>(5));
        _f.Run(c => c.vmovaps(xmm5, xmm3));
        Assert.Equal(Vector256.Create(1UL, 2, 0, 0), _f.Ymm<ulong>(5));
        _f.Run(c => c.vmovaps(ymm6, ymm3));
        Assert.Equal(value, _f.Ymm<ulong>(6));
        _f.Run(c => c.movaps(xmm6, xmm4));
        Assert.Equal(Vector256.Create(2UL, 3, 3, 4), _f.Ymm<ulong>(6));
        _f.Run(c => c.movq(xmm6, __qword_ptr[rax]), Data + 5);
        Assert.Equal(Vector256.Create(1UL, 0, 3, 4), _f.Ymm<ulong>(6));
        _f.Run(c => c.movd(__dword_ptr[rax], xmm4), Data + 0x100);
        _f.Run(c => c.movq(__qword_ptr[rax], xmm3), Data + 0x104);
        Assert.Equal([2u, 1u, 0u], _f.Memory<uint>(Data + 0x100, 3).ToArray());
        _f.Run(c => c.pxor(xmm6, xmm6));
        Assert.Equal(Vector256.Create(0UL, 0, 3, 4), _f.Ymm<ulong>(6));
        _f.Run(c => c.vpxor(xmm6, xmm6, xmm6));
        Assert.Equal(Vector256<ulong>.Zero, _f.Ymm<ulong>(6));
        _f.Run(c => c.vzeroupper());
        Assert.Equal(Vector256.Create(1UL, 2, 0, 0), _f.Ymm<ulong>(3));
        _f.Run(c => c.vzeroall());
        Assert.Equal(Vector256<ulong>.Zero, _f.Ymm<ulong>(3));
    }

    [Fact]
    public void General_registers_pass_in_and_out_even_rsp()
    {
        for (int i = 0; i < 16; i++)
            _f.State->Gpr[i] = 0x1111_1111_0000_0001UL * (ulong)(i + 1);
        ulong pointer = _f.State->Gpr[4];
        _f.Run(c => c.movq(xmm0, rsp));
        Assert.Equal(Vector128.Create(pointer, 0), _f.Xmm<ulong>(0));
        _f.SetXmm(1, Vector128.Create(42.9));
        _f.Run(c => c.cvttsd2si(rsp, xmm1));
        Assert.Equal(42UL, _f.State->Gpr[4]);
        foreach (AssemblerRegister64 register in new[] { rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r11, r12, r13, r15 })
        {
            int number = ((Register)register).GetNumber();
            _f.State->Gpr[number] = 7;
            _f.Run(c => c.cvtsi2sd(xmm2, register));
            Assert.Equal(7.0, _f.Xmm<double>(2)[0]);
            _f.Run(c => c.pextrq(register, xmm0, 0));
            Assert.Equal(pointer, _f.State->Gpr[number]);
        }

        _f.Run(c => c.pinsrw(xmm0, esp, 1));
        Assert.Equal((ushort)42, _f.Xmm<ushort>(0)[1]);
    }

    [Fact]
    public void Comparisons_set_the_status_flags_only()
    {
        _f.State->Flags = CpuFlags.Fixed | CpuFlags.If | CpuFlags.Df | CpuFlags.Of;
        _f.SetXmm(0, Vector128.Create(1.0));
        _f.SetXmm(1, Vector128.Create(double.NaN));
        _f.Run(c => c.ucomisd(xmm0, xmm1));
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If | CpuFlags.Df | CpuFlags.Zf | CpuFlags.Pf | CpuFlags.Cf, _f.State->Flags);
        _f.Run(c => c.ptest(xmm0, xmm0));
        Assert.Equal(CpuFlags.Fixed | CpuFlags.If | CpuFlags.Df | CpuFlags.Cf, _f.State->Flags);
    }

    [Fact]
    public void String_comparison_returns_index_mask_and_flags()
    {
        "hello world, hi!"u8.CopyTo(_f.Bytes(Data + 1, 16));
        _f.SetXmm(3, Vector128.Create("aeiou\0\0\0\0\0\0\0\0\0\0\0"u8.ToArray()));
        _f.Run(c => c.pcmpistri(xmm3, __xmmword_ptr[rdi], 0), Data + 1);
        Assert.Equal(1UL, _f.State->Gpr[1]);
        Assert.Equal(CpuFlags.Cf | CpuFlags.Sf, _f.State->Flags & CpuFlags.Status);
        _f.State->Gpr[0] = 5;
        _f.State->Gpr[2] = 16;
        _f.Run(c => c.pcmpestrm(xmm3, __xmmword_ptr[rdi], 0), Data + 1);
        Assert.Equal(0b0100_0000_1001_0010UL, _f.Xmm<ulong>(0)[0]);
    }

    [Fact]
    public void Crypto_and_carryless_extensions_match_the_host()
    {
        var a = Vector128.Create(0x0123456789ABCDEFUL, 0xFEDCBA9876543210UL);
        var b = Vector128.Create(0xDEADBEEFCAFEBABEUL, 0x1122334455667788UL);
        _f.SetXmm(1, a);
        _f.SetXmm(2, b);
        _f.Run(c => c.aesenc(xmm1, xmm2));
        Assert.Equal(Aes.Encrypt(a.AsByte(), b.AsByte()), _f.Xmm<byte>(1));
        _f.SetXmm(1, a);
        _f.Run(c => c.pclmulqdq(xmm1, xmm2, 0x11));
        Assert.Equal(Pclmulqdq.CarrylessMultiply(a, b, 0x11), _f.Xmm<ulong>(1));
        _f.SetXmm(0, b);
        _f.SetXmm(1, a);
        _f.Run(c => c.sha256rnds2(xmm1, xmm2));
        Assert.NotEqual(a, _f.Xmm<ulong>(1));
    }

    [Fact]
    public void F16c_and_fma_match_the_host()
    {
        _f.SetXmm(1, Vector128.Create(1.5f, -2f, 65504f, 1e-6f));
        _f.Run(c => c.vcvtps2ph(__qword_ptr[rax], xmm1, 0), Data);
        Half[] expected = [(Half)1.5f, (Half)(-2f), (Half)65504f, (Half)1e-6f];
        Assert.Equal(expected, _f.Memory<Half>(Data, 4).ToArray());
        _f.SetYmm(2, Vector256.Create(1.1));
        _f.SetYmm(3, Vector256.Create(2.3));
        _f.SetYmm(4, Vector256.Create(-7.7));
        _f.Run(c => c.vfmadd231pd(ymm2, ymm3, ymm4));
        Assert.Equal(Vector256.Create(Math.FusedMultiplyAdd(2.3, -7.7, 1.1)), _f.Ymm<double>(2));
    }

    [Fact]
    public void Bit_manipulation_takes_and_gives_registers_and_flags()
    {
        _f.State->Gpr[0] = 0xFF00FF;
        _f.State->Gpr[3] = 0x0F0F0F0F;
        _f.Run(c => c.andn(rcx, rbx, rax));
        Assert.Equal(0xF000F0UL, _f.State->Gpr[1]);
        _f.State->Gpr[2] = ulong.MaxValue;
        _f.State->Gpr[5] = 3;
        _f.Run(c => c.mulx(rsi, rdi, rbp));
        Assert.Equal(2UL, _f.State->Gpr[6]);
        Assert.Equal(ulong.MaxValue - 2, _f.State->Gpr[7]);
        _f.State->Flags = CpuFlags.Fixed | CpuFlags.Cf | CpuFlags.Zf | CpuFlags.Of;
        _f.State->Gpr[0] = ulong.MaxValue;
        _f.State->Gpr[1] = 0;
        _f.Run(c => c.adcx(rax, rcx));
        Assert.Equal(0UL, _f.State->Gpr[0]);
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Cf | CpuFlags.Zf | CpuFlags.Of, _f.State->Flags);
        _f.State->Gpr[0] = 0;
        _f.State->Gpr[3] = 0x4200;
        _f.Run(HostInstructionFixture.Decode("F20F38F0C7", 32));
        Assert.Equal(Sse42.Crc32(0, (byte)0x42), (uint)_f.State->Gpr[0]);
        _f.State->Gpr[4] = 0;
        _f.Run(HostInstructionFixture.Decode("F20F38F0E7", 32));
        Assert.Equal(Sse42.Crc32(0, (byte)0x42), (uint)_f.State->Gpr[4]);
        _f.Memory<uint>(Data, 1)[0] = 0x80;
        _f.Run(c => c.tzcnt(esp, __dword_ptr[r9]), Data);
        Assert.Equal(7UL, _f.State->Gpr[4]);
        _f.State->Gpr[4] = 0xF0F0;
        _f.Run(c => c.pext(r8, rsp, rsp));
        Assert.Equal(0xFFUL, _f.State->Gpr[8]);
    }
}
