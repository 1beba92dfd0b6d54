using System.Runtime.Intrinsics;
using Doppel.Machine.Cpu;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Machine.Tests.HostInstructions;

public sealed unsafe class FaultTests : IDisposable
{
    private const ulong Data = HostInstructionFixture.Data;
    private readonly HostInstructionFixture _f = new();

    public void Dispose() => _f.Dispose();

    [Fact]
    public void Control_bits_decide_between_invalid_and_not_available()
    {
        _f.State->Cr0 |= Cr0.Ts;
        Assert.Equal(ExceptionVector.DeviceNotAvailable, _f.Fault(c => c.addps(xmm0, xmm1)).Vector);
        Assert.Equal(ExceptionVector.DeviceNotAvailable, _f.Fault(c => c.vaddps(ymm0, ymm1, ymm2)).Vector);
        Assert.Equal(ExceptionVector.DeviceNotAvailable, _f.Fault(c => c.paddb(mm0, mm1)).Vector);
        Assert.Equal(ExceptionVector.DeviceNotAvailable, _f.Fault(c => c.fld1()).Vector);
        Assert.Equal(ExceptionVector.DeviceNotAvailable, _f.Fault(c => c.wait()).Vector);
        _f.State->Cr0 &= ~Cr0.Mp;
        _f.Run(c => c.wait());
        _f.Run(c => c.andn(eax, eax, eax));
        _f.Run(c => c.crc32(eax, ecx));
        _f.Run(c => c.movnti(__dword_ptr[rax], ecx), Data);
        _f.State->Cr0 = (_f.State->Cr0 & ~Cr0.Ts) | Cr0.Em;
        Assert.Equal(ExceptionVector.InvalidOpcode, _f.Fault(c => c.addps(xmm0, xmm1)).Vector);
        Assert.Equal(ExceptionVector.InvalidOpcode, _f.Fault(c => c.paddb(mm0, mm1)).Vector);
        Assert.Equal(ExceptionVector.DeviceNotAvailable, _f.Fault(c => c.fld1()).Vector);
        _f.Run(c => c.vaddps(ymm0, ymm1, ymm2));
        _f.State->Cr0 &= ~Cr0.Em;
        _f.State->Cr4 &= ~Cr4.Osfxsr;
        Assert.Equal(ExceptionVector.InvalidOpcode, _f.Fault(c => c.movups(xmm0, __xmmword_ptr[rax]), Data).Vector);
        _f.Run(c => c.paddb(mm0, mm1));
        _f.State->Cr4 = (_f.State->Cr4 | Cr4.Osfxsr) & ~Cr4.Osxsave;
        Assert.Equal(ExceptionVector.InvalidOpcode, _f.Fault(c => c.vmovups(xmm0, __xmmword_ptr[rax]), Data).Vector);
        _f.State->Cr4 |= Cr4.Osxsave;
        _f.State->Xcr0 = 3;
        Assert.Equal(ExceptionVector.InvalidOpcode, _f.Fault(c => c.vpxor(xmm0, xmm0, xmm0)).Vector);
        _f.Run(c => c.andn(eax, eax, eax));
        _f.State->Flags |= CpuFlags.Vm;
        Assert.Equal(ExceptionVector.InvalidOpcode, _f.Fault(c => c.andn(eax, eax, eax)).Vector);
    }

    [Fact]
    public void Legacy_sse_wants_aligned_operands_except_in_the_unaligned_moves()
    {
        Assert.Equal((ExceptionVector.GeneralProtection, 0u, 0UL), _f.Fault(c => c.addps(xmm0, __xmmword_ptr[rax]), Data + 8));
        Assert.Equal(ExceptionVector.GeneralProtection, _f.Fault(c => c.movaps(xmm0, __xmmword_ptr[rax]), Data + 1).Vector);
        Assert.Equal(ExceptionVector.GeneralProtection, _f.Fault(c => c.movdqa(__xmmword_ptr[rax], xmm0), Data + 1).Vector);
        Assert.Equal(ExceptionVector.GeneralProtection, _f.Fault(c => c.movntps(__xmmword_ptr[rax], xmm0), Data + 1).Vector);
        Assert.Equal(ExceptionVector.GeneralProtection, _f.Fault(c => c.vmovdqa(ymm0, __ymmword_ptr[rax]), Data + 16).Vector);
        Assert.Equal(ExceptionVector.GeneralProtection, _f.Fault(c => c.vmovntdq(__ymmword_ptr[rax], ymm0), Data + 16).Vector);
        _f.Run(c => c.vmovdqa(xmm0, __xmmword_ptr[rax]), Data + 16);
        _f.Run(c => c.vaddps(ymm0, ymm0, __ymmword_ptr[rax]), Data + 1);
        _f.Run(c => c.movdqu(__xmmword_ptr[rax], xmm0), Data + 1);
        _f.Run(c => c.lddqu(xmm0, __xmmword_ptr[rax]), Data + 1);
        _f.Run(c => c.addsd(xmm0, __qword_ptr[rax]), Data + 1);
    }

    [Theory]
    [InlineData(0, 1u, 0x1u)]
    [InlineData(1, 2u, 0x2u)]
    [InlineData(2, 4u, 0x4u)]
    [InlineData(3, 8u, 0x28u)]
    [InlineData(4, 16u, 0x30u)]
    [InlineData(5, 32u, 0x20u)]
    public void An_unmasked_simd_exception_leaves_the_destination_and_sets_its_flags(int exception, uint bit, uint flags)
    {
        (double A, double B) operands = exception switch
        {
            0 => (double.PositiveInfinity, 0.0),
            1 => (double.Epsilon, 1.0),
            2 => (1.0, 0.0),
            3 => (double.MaxValue, double.MaxValue),
            4 => (1e-300, 1.1e-300),
            _ => (1.1, 1.3),
        };
        var before = Vector128.Create(operands.A, 77);
        _f.SetXmm(3, before);
        _f.SetXmm(4, Vector128.Create(operands.B, 1));
        _f.State->Mxcsr = 0x1F80 & ~(bit << 7);
        Assert.Equal(ExceptionVector.Simd, Execute().Vector);
        Assert.Equal(before, _f.Xmm<double>(3));
        Assert.Equal(flags, _f.State->Mxcsr & 0x3F);
        _f.State->Cr4 &= ~Cr4.Osxmmexcpt;
        Assert.Equal(ExceptionVector.InvalidOpcode, Execute().Vector);

        (ExceptionVector Vector, uint Error, ulong Address) Execute() => exception == 2
            ? _f.Fault(c => c.divsd(xmm3, xmm4), checkExtended: false)
            : _f.Fault(c => c.mulsd(xmm3, xmm4), checkExtended: false);
    }

    [Fact]
    public void An_exact_tiny_result_is_an_underflow_only_when_that_is_unmasked()
    {
        _f.SetXmm(0, Vector128.Create(2.2250738585072014e-308));
        _f.SetXmm(1, Vector128.Create(0.5));
        _f.State->Mxcsr = 0x1F80;
        _f.Run(c => c.vmulsd(xmm2, xmm0, xmm1));
        Assert.Equal(0u, _f.State->Mxcsr & 0x3F);
        _f.State->Mxcsr = 0x1F80 & ~0x800u;
        Assert.Equal(ExceptionVector.Simd, _f.Fault(c => c.vmulsd(xmm2, xmm0, xmm1), checkExtended: false).Vector);
        Assert.Equal(0x10u, _f.State->Mxcsr & 0x10);
    }

    [Fact]
    public void Reserved_bits_of_mxcsr_are_refused()
    {
        _f.Memory<uint>(Data, 1)[0] = 0x11F80;
        Assert.Equal(ExceptionVector.GeneralProtection, _f.Fault(c => c.ldmxcsr(__dword_ptr[rax]), Data).Vector);
        _f.Memory<uint>(Data, 1)[0] = 0xFFFF;
        _f.Run(c => c.ldmxcsr(__dword_ptr[rax]), Data);
        _f.Run(c => c.stmxcsr(__dword_ptr[rax]), Data + 4);
        Assert.Equal(0xFFFFu, _f.Memory<uint>(Data + 4, 1)[0]);
    }

    [Fact]
    public void A_store_across_two_pages_writes_all_or_nothing()
    {
        _f.SetYmm(1, Vector256.Create(0x55).AsInt32());
        (ExceptionVector Vector, uint Error, ulong Address) absent = _f.Fault(c => c.vmovups(__ymmword_ptr[rax], ymm1), LongModeGuest.AbsentPage - 8);
        Assert.Equal((ExceptionVector.PageFault, 2u, LongModeGuest.AbsentPage), absent);
        (ExceptionVector Vector, uint Error, ulong Address) readOnly = _f.Fault(c => c.movups(__xmmword_ptr[rax], xmm1), LongModeGuest.ReadOnlyPage - 8);
        Assert.Equal((ExceptionVector.PageFault, 3u, LongModeGuest.ReadOnlyPage), readOnly);
        Assert.Equal(ExceptionVector.PageFault, _f.Fault(c => c.movhps(__qword_ptr[rax], xmm1), LongModeGuest.ReadOnlyPage - 4).Vector);
        Assert.Equal(ExceptionVector.PageFault, _f.Fault(c => c.vextracti128(__xmmword_ptr[rax], ymm1, 1), LongModeGuest.ReadOnlyPage - 4).Vector);
        Assert.Equal(ExceptionVector.PageFault, _f.Fault(c => c.vcvtps2ph(__qword_ptr[rax], xmm1, 0), LongModeGuest.ReadOnlyPage - 4).Vector);
        _f.Run(c => c.movups(__xmmword_ptr[rax], xmm1), LongModeGuest.ReadOnlyPage - 16);
        Assert.Equal(_f.Xmm<byte>(1), Vector128.Create<byte>(_f.Bytes(LongModeGuest.ReadOnlyPage - 16, 16)));
    }

    [Fact]
    public void A_load_across_two_pages_takes_from_both()
    {
        for (int i = 0; i < 32; i++)
            _f.Bytes(Data + 0xFF0, 32)[i] = (byte)i;
        _f.Run(c => c.vmovdqu(ymm0, __ymmword_ptr[rax]), Data + 0xFF0);
        Assert.Equal(Vector256.Create(_f.Bytes(Data + 0xFF0, 32)), _f.Ymm<byte>(0));
        _f.Run(c => c.vpaddb(ymm1, ymm0, __ymmword_ptr[rax]), Data + 0xFF0);
        Assert.Equal((byte)62, _f.Ymm<byte>(1)[31]);
        Assert.Equal(ExceptionVector.PageFault, _f.Fault(c => c.vpaddb(ymm1, ymm0, __ymmword_ptr[rax]), LongModeGuest.AbsentPage - 1).Vector);
    }

    [Fact]
    public void A_non_canonical_operand_is_a_stack_fault_only_through_the_stack_segment()
    {
        const ulong Address = 0x8000_0000_0000_0000;
        Assert.Equal(ExceptionVector.GeneralProtection, _f.Fault(c => c.movups(xmm0, __xmmword_ptr[rax]), Address).Vector);
        Assert.Equal(ExceptionVector.StackFault, _f.Fault(c => c.movups(xmm0, __xmmword_ptr[rbp]), Address).Vector);
        Assert.Equal(ExceptionVector.StackFault, _f.Fault(c => c.fld(__qword_ptr[rsp]), Address).Vector);
    }

    [Fact]
    public void Misaligned_operands_raise_AC_in_user_mode_with_alignment_checks()
    {
        _f.State->Cr0 |= Cr0.Am;
        _f.State->Cpl = 3;
        _f.State->Flags |= CpuFlags.Ac;
        ulong* tables = (ulong*)(_f.Guest.Ram + 0x1000);
        tables[0] |= 4;
        tables[512] |= 4;
        tables[1024 + (int)(Data >> 21)] |= 4;
        _f.Guest.Cpu.ModeChanged();
        Assert.Equal(ExceptionVector.AlignmentCheck, _f.Fault(c => c.movups(xmm0, __xmmword_ptr[rax]), Data + 4).Vector);
        Assert.Equal(ExceptionVector.AlignmentCheck, _f.Fault(c => c.movq(xmm0, __qword_ptr[rax]), Data + 4).Vector);
        Assert.Equal(ExceptionVector.AlignmentCheck, _f.Fault(c => c.fld(__tbyte_ptr[rax]), Data + 4).Vector);
        _f.Run(c => c.movups(xmm0, __xmmword_ptr[rax]), Data + 16);
        _f.Run(c => c.fnstenv(__[rax]), Data + 4);
    }
}
