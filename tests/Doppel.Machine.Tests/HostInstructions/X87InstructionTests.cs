using System.Runtime.Intrinsics;
using Doppel.Machine.Cpu;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Machine.Tests.HostInstructions;

public sealed unsafe class X87InstructionTests : IDisposable
{
    private const ulong Data = HostInstructionFixture.Data;
    private readonly HostInstructionFixture _f = new();

    public void Dispose() => _f.Dispose();

    [Fact]
    public void Loads_computes_and_stores_with_the_hosts_precision()
    {
        _f.Run(c => c.fninit());
        _f.Memory<double>(Data, 1)[0] = 2.0;
        _f.Run(c => c.fld(__qword_ptr[rax]), Data);
        _f.Run(c => c.fsqrt());
        _f.Run(c => c.fstp(__tbyte_ptr[rax]), Data + 16);
        Assert.Equal(0xB504F333F9DE6484UL, _f.Memory<ulong>(Data + 16, 1)[0]);
        Assert.Equal(0x3FFF, _f.Memory<ushort>(Data + 24, 1)[0]);
        Assert.Equal(0, _f.Memory<ushort>(Data + 26, 1)[0]);
        Assert.Equal(0x20, _f.StatusWord & 0x20);
        Assert.Equal(0, _f.Area[4]);
    }

    [Fact]
    public void The_register_stack_and_its_tags_follow_pushes_and_pops()
    {
        _f.Run(c => c.fninit());
        _f.Run(c => c.fld1());
        _f.Run(c => c.fldpi());
        Assert.Equal(6 << 11, _f.StatusWord & 0x3800);
        Assert.Equal(0xC0, _f.Area[4]);
        _f.Run(c => c.fxch(st0, st1));
        _f.Run(c => c.faddp(st1, st0));
        _f.Run(c => c.fstp(__qword_ptr[rax]), Data);
        Assert.Equal(Math.PI + 1, _f.Memory<double>(Data, 1)[0]);
        Assert.Equal(0, _f.Area[4]);
    }

    [Fact]
    public void Registers_stay_where_they_are_when_the_top_of_the_stack_changes()
    {
        _f.Run(c => c.fninit());
        _f.Run(c => c.fldpi());
        _f.Run(c => c.fld1());
        _f.Run(c => c.fninit());
        Assert.Equal(0x3FFF, *(ushort*)(_f.Area + 32 + (6 * 16) + 8));
        Assert.Equal(0x4000, *(ushort*)(_f.Area + 32 + (7 * 16) + 8));
        _f.StatusWord = 3 << 11;
        *(ulong*)(_f.Area + 32 + (5 * 16)) = 0x55;
        *(ulong*)(_f.Area + 32 + (6 * 16)) = 0x80;
        _f.Run(c => c.maskmovq(mm0, mm1), Data);
        Assert.Equal(0x55UL, _f.Memory<ulong>(Data, 1)[0]);
        Assert.Equal(0x55UL, *(ulong*)(_f.Area + 32));
        Assert.Equal(0, _f.StatusWord);
    }

    [Fact]
    public void An_unmasked_exception_waits_for_the_next_waiting_instruction()
    {
        _f.Run(c => c.fninit());
        _f.ControlWord = 0x37B;
        _f.Run(c => c.fld1());
        _f.Run(c => c.fldz());
        _f.Run(c => c.fdivp(st1, st0));
        Assert.Equal(0x8084, _f.StatusWord & 0x80FF);
        Assert.Equal(2 - 2 + 6, (_f.StatusWord >> 11) & 7);
        Assert.Equal(ExceptionVector.X87, _f.Fault(c => c.fld1()).Vector);
        Assert.Equal(ExceptionVector.X87, _f.Fault(c => c.wait()).Vector);
        Assert.Equal(ExceptionVector.X87, _f.Fault(c => c.paddb(mm0, mm1)).Vector);
        Assert.Equal(ExceptionVector.X87, _f.Fault(c => c.fldcw(__word_ptr[rax]), Data).Vector);
        _f.Run(c => c.fnstsw(ax));
        Assert.Equal(0x8084UL, _f.State->Gpr[0] & 0x80FF);
        _f.Run(c => c.fnclex());
        Assert.Equal(0, _f.StatusWord & 0x80FF);
        _f.Run(c => c.fld1());
    }

    [Fact]
    public void A_pending_exception_counts_even_if_the_restored_status_lacks_its_summary()
    {
        _f.Run(c => c.fninit());
        _f.ControlWord = 0x37E;
        _f.StatusWord = 1;
        Assert.Equal(ExceptionVector.X87, _f.Fault(c => c.fld1()).Vector);
        Assert.Equal(ExceptionVector.X87, _f.Fault(c => c.emms()).Vector);
        _f.StatusWord = 0x8080;
        _f.Run(c => c.fld1());
    }

    [Fact]
    public void With_NE_clear_the_pending_exception_raises_FERR_and_the_instruction_goes_on()
    {
        int raised = 0;
        _f.Guest.Cpu.FerrRaised += () => raised++;
        _f.State->Cr0 &= ~Cr0.Ne;
        _f.Run(c => c.fninit());
        _f.ControlWord = 0x37B;
        _f.Run(c => c.fld1());
        _f.Run(c => c.fldz());
        _f.Run(c => c.fdivp(st1, st0));
        Assert.Equal(0, raised);
        _f.Run(c => c.fldpi());
        Assert.Equal(1, raised);
        Assert.Equal(0x37B, _f.ControlWord);
        Assert.Equal(0x8084, _f.StatusWord & 0x80FF);
        Assert.Equal(0x4000, *(ushort*)(_f.Area + 32 + 8));
    }

    [Fact]
    public void A_store_with_an_unmasked_exception_does_not_write()
    {
        _f.Run(c => c.fninit());
        _f.Memory<double>(Data, 1)[0] = 1e30;
        _f.Memory<int>(Data + 8, 1)[0] = 1234;
        _f.Run(c => c.fld(__qword_ptr[rax]), Data);
        _f.ControlWord = 0x37E;
        _f.Run(c => c.fistp(__dword_ptr[rax]), Data + 8);
        Assert.Equal(1234, _f.Memory<int>(Data + 8, 1)[0]);
        Assert.Equal(0x8081, _f.StatusWord & 0x80FF);
        Assert.Equal(0x80, _f.Area[4]);
        _f.Run(c => c.fnclex());
        _f.ControlWord = 0x37F;
        _f.Run(c => c.fistp(__dword_ptr[rax]), Data + 8);
        Assert.Equal(int.MinValue, _f.Memory<int>(Data + 8, 1)[0]);
    }

    [Fact]
    public void A_store_that_faults_pops_nothing()
    {
        _f.Run(c => c.fninit());
        _f.Run(c => c.fldpi());
        (ExceptionVector vector, uint error, ulong address) = _f.Fault(c => c.fstp(__tbyte_ptr[rax]), LongModeGuest.AbsentPage - 4);
        Assert.Equal((ExceptionVector.PageFault, 2u, LongModeGuest.AbsentPage), (vector, error, address));
        Assert.Equal(0x80, _f.Area[4]);
    }

    [Fact]
    public void Comparisons_and_conditional_moves_use_the_guests_flags()
    {
        _f.Run(c => c.fninit());
        _f.Run(c => c.fld1());
        _f.Run(c => c.fldz());
        _f.State->Flags = CpuFlags.Fixed | CpuFlags.Df;
        _f.Run(c => c.fcomi(st0, st1));
        Assert.Equal(CpuFlags.Fixed | CpuFlags.Df | CpuFlags.Cf, _f.State->Flags);
        _f.Run(c => c.fcmovb(st0, st1));
        Assert.Equal(0x3FFF, *(ushort*)(_f.Area + 32 + 8));
    }

    [Fact]
    public void Last_instruction_pointers_are_the_guests()
    {
        _f.Run(c => c.fninit());
        _f.State->Rip = 0x12345678;
        _f.Run(c => c.fld(__dword_ptr[rbx + 4]), Data);
        Assert.Equal(0x12345678UL, *(ulong*)(_f.Area + 8));
        Assert.Equal(Data, *(ulong*)(_f.Area + 16));
        Assert.Equal(0x143, *(ushort*)(_f.Area + 6));
        _f.State->Rip = 0x12345680;
        _f.Run(c => c.fadd(st0, st3));
        Assert.Equal(0x0C3, *(ushort*)(_f.Area + 6));
        Assert.Equal(Data, *(ulong*)(_f.Area + 16));
        _f.State->Rip = 0x1;
        _f.Run(c => c.fnstcw(__word_ptr[rax]), Data);
        Assert.Equal(0x12345680UL, *(ulong*)(_f.Area + 8));
    }

    [Fact]
    public void The_protected_mode_environment_round_trips()
    {
        _f.Run(c => c.fninit());
        _f.State->Cs.Attributes &= ~SegmentAttributes.Long;
        _f.State->Cs.Attributes |= SegmentAttributes.Big;
        _f.State->Rip = 0x1000;
        _f.Run(c => c.fldz());
        _f.Run(c => c.fld1());
        _f.Run(HostInstructionFixture.Decode("D900", 32), Data);
        *(ulong*)(_f.Area + 32) = 1;
        _f.Run(HostInstructionFixture.Decode("D93500004000", 32), Data + 0x100);
        uint[] image = _f.Memory<uint>(Data + 0x100, 7).ToArray();
        Assert.Equal([0xFFFF037F, 0xFFFF0000 | _f.StatusWord, 0xFFFF0000 | 0b01_00_10_11_11_11_11_11, 0x1000, 0x10 | (0x100 << 16), (uint)Data, 0xFFFF0018], image);
        Assert.Equal(0x37F, _f.ControlWord);
        ushort status = _f.StatusWord;
        _f.Run(HostInstructionFixture.Decode("DD3500004000", 32), Data + 0x200);
        Assert.Equal(0, _f.StatusWord);
        Assert.Equal(0, _f.Area[4]);
        new Span<byte>(_f.Area + 32, 128).Clear();
        _f.Run(HostInstructionFixture.Decode("DD2500004000", 32), Data + 0x200);
        Assert.Equal(status, _f.StatusWord);
        Assert.Equal(0xE0, _f.Area[4]);
        Assert.Equal(0x3FFF, *(ushort*)(_f.Area + 32 + 16 + 8));
        Assert.Equal(0x100, *(ushort*)(_f.Area + 6));
        Assert.Equal(Data, *(uint*)(_f.Area + 16));
    }

    [Fact]
    public void The_real_mode_environment_packs_linear_addresses()
    {
        _f.Run(c => c.fninit());
        _f.State->Cr0 &= ~(Cr0.Pe | Cr0.Pg);
        _f.State->Efer = 0;
        _f.State->Cs = new SegmentRegister { Selector = 0x1234, Base = 0x12340, Limit = 0xFFFF, Attributes = _f.State->Cs.Attributes & ~SegmentAttributes.Long };
        _f.State->Ds = new SegmentRegister { Selector = 0x2345, Base = 0x23450, Limit = 0xFFFF, Attributes = _f.State->Ds.Attributes };
        _f.State->Rip = 0x100;
        _f.Guest.Cpu.Tlb.FlushAll();
        _f.Guest.Cpu.ModeChanged();
        _f.Run(HostInstructionFixture.Decode("D907", 16), 0x23450 + 0x10);
        _f.Run(HostInstructionFixture.Decode("D937", 16), 0x30000);
        ushort[] image = _f.Memory<ushort>(0x30000, 7).ToArray();
        Assert.Equal([0x37F, _f.StatusWord, (ushort)0x7FFF, 0x2440, 0x1107, 0x3460, 0x2000], image);
        *(ulong*)(_f.Area + 8) = 0;
        _f.Run(HostInstructionFixture.Decode("D927", 16), 0x30000);
        Assert.Equal(0x12440u, *(uint*)(_f.Area + 8));
        Assert.Equal(0x107, *(ushort*)(_f.Area + 6));
    }

    [Fact]
    public void Loading_a_control_word_unmasks_what_is_already_flagged()
    {
        _f.Run(c => c.fninit());
        _f.StatusWord = 0x20;
        _f.Memory<ushort>(Data, 1)[0] = 0xFFFF & ~0x20;
        _f.Run(c => c.fldcw(__word_ptr[rax]), Data);
        Assert.Equal(0x1F5F, _f.ControlWord);
        Assert.Equal(0x80A0, _f.StatusWord);
        _f.Run(c => c.fnstenv(__[rax]), Data + 0x10);
        Assert.Equal(0x20, _f.StatusWord);
        Assert.Equal(0x1F7F, _f.ControlWord);
        Assert.Equal(0x1F5F, _f.Memory<ushort>(Data + 0x10, 1)[0]);
        Assert.Equal(0x80A0, _f.Memory<ushort>(Data + 0x14, 1)[0]);
    }

    [Fact]
    public void Mmx_enters_and_leaves_its_state()
    {
        _f.Run(c => c.fninit());
        _f.Run(c => c.fld1());
        _f.State->Gpr[6] = 0x01020304;
        _f.Run(c => c.movd(mm2, esi));
        Assert.Equal(0xFF, _f.Area[4]);
        Assert.Equal(0, _f.StatusWord & 0x3800);
        Assert.Equal(0x01020304UL, *(ulong*)(_f.Area + 32 + 32));
        Assert.Equal(0xFFFF, *(ushort*)(_f.Area + 32 + 32 + 8));
        _f.Memory<ulong>(Data, 1)[0] = 0xFFFF_FFFF_FFFF_FFFF;
        _f.Run(c => c.paddb(mm2, __qword_ptr[rax]), Data);
        _f.Run(c => c.movntq(__qword_ptr[rax], mm2), Data + 8);
        Assert.Equal(0xFFFFFFFF_00010203UL, _f.Memory<ulong>(Data + 8, 1)[0]);
        _f.Run(c => c.movq2dq(xmm7, mm2));
        Assert.Equal(Vector128.Create(0xFFFFFFFF_00010203UL, 0), _f.Xmm<ulong>(7));
        _f.SetXmm(1, Vector128.Create(1.5f, -7.5f, 0f, 0f));
        _f.Run(c => c.cvttps2pi(mm0, xmm1));
        Assert.Equal(0xFFFFFFF9_00000001UL, *(ulong*)(_f.Area + 32));
        Assert.Equal(0x20u, _f.State->Mxcsr & 0x3F);
        _f.Run(c => c.emms());
        Assert.Equal(0, _f.Area[4]);
    }

    [Fact]
    public void Sse_conversion_to_mmx_obeys_unmasked_exceptions()
    {
        _f.Run(c => c.fninit());
        _f.SetXmm(1, Vector128.Create(1.5f));
        _f.State->Mxcsr = 0x1F80 & ~0x1000u;
        Assert.Equal(ExceptionVector.Simd, _f.Fault(c => c.cvtps2pi(mm0, xmm1), checkExtended: false).Vector);
        Assert.Equal(0, _f.Area[4]);
        Assert.Equal(0x20u, _f.State->Mxcsr & 0x3F);
    }
}
