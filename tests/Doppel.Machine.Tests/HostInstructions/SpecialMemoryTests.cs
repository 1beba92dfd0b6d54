using System.Runtime.Intrinsics;
using Doppel.Machine.Cpu;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Machine.Tests.HostInstructions;

public sealed unsafe class SpecialMemoryTests : IDisposable
{
    private const ulong Data = HostInstructionFixture.Data;
    private readonly HostInstructionFixture _f = new();

    public void Dispose() => _f.Dispose();

    [Fact]
    public void Masked_byte_store_touches_only_selected_bytes_and_their_pages()
    {
        var data = Vector128.Create((byte)1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
        _f.SetXmm(1, data);
        byte[] mask = [0x80, 0, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        _f.SetXmm(2, Vector128.Create(mask));
        _f.Run(c => c.maskmovdqu(xmm1, xmm2), LongModeGuest.AbsentPage - 4);
        Assert.Equal([1, 0, 3, 0], _f.Bytes(LongModeGuest.AbsentPage - 4, 4).ToArray());
        mask[15] = 0x80;
        _f.SetXmm(2, Vector128.Create(mask));
        Assert.Equal(ExceptionVector.PageFault, _f.Fault(c => c.maskmovdqu(xmm1, xmm2), LongModeGuest.ReadOnlyPage - 4).Vector);
        _f.Run(c => c.vmaskmovdqu(xmm1, xmm2), Data);
        Assert.Equal(16, _f.Bytes(Data, 16)[15]);
        *(ulong*)(_f.Area + 32) = 0x1122334455667788;
        *(ulong*)(_f.Area + 48) = 0x80;
        _f.Run(c => c.maskmovq(mm0, mm1), Data + 32);
        Assert.Equal(0x88UL, _f.Memory<ulong>(Data + 32, 1)[0]);
        Assert.Equal(0xFF, _f.Area[4]);
    }

    [Fact]
    public void Masked_moves_skip_the_elements_that_are_off()
    {
        _f.SetYmm(1, Vector256.Create(-1, 0, -1, 0, 0, 0, 0, 0));
        _f.SetYmm(2, Vector256.Create(10, 20, 30, 40, 50, 60, 70, 80));
        _f.Run(c => c.vmaskmovps(__ymmword_ptr[rax], ymm1, ymm2), LongModeGuest.AbsentPage - 12);
        Assert.Equal([10, 0, 30], _f.Memory<int>(LongModeGuest.AbsentPage - 12, 3).ToArray());
        _f.Run(c => c.vpmaskmovd(ymm3, ymm1, __ymmword_ptr[rax]), LongModeGuest.AbsentPage - 12);
        Assert.Equal(Vector256.Create(10, 0, 30, 0, 0, 0, 0, 0), _f.Ymm<int>(3));
        _f.SetYmm(1, Vector256.Create(-1, 0, 0, -1, 0, 0, 0, 0));
        Assert.Equal((ExceptionVector.PageFault, 2u, LongModeGuest.AbsentPage), _f.Fault(c => c.vmaskmovps(__ymmword_ptr[rax], ymm1, ymm2), LongModeGuest.AbsentPage - 12));
        Assert.Equal((ExceptionVector.PageFault, 0u, LongModeGuest.AbsentPage), _f.Fault(c => c.vmaskmovps(ymm3, ymm1, __ymmword_ptr[rax]), LongModeGuest.AbsentPage - 12));
        _f.SetYmm(4, Vector256.Create(0L, -1, 0, -1));
        _f.SetYmm(5, Vector256.Create(1L, 2, 3, 4));
        _f.Run(c => c.vpmaskmovq(__xmmword_ptr[rax], xmm4, xmm5), Data);
        Assert.Equal([0L, 2, 0, 0], _f.Memory<long>(Data, 4).ToArray());
    }

    [Fact]
    public void A_gather_reads_by_index_and_clears_its_mask()
    {
        for (int i = 0; i < 64; i++)
            _f.Memory<int>(Data, 64)[i] = i * 100;
        _f.State->Gpr[6] = Data + 40;
        _f.SetYmm(1, Vector256.Create(0, 1, -2, 3, 4, 5, 6, -10));
        _f.SetYmm(2, Vector256.Create(-1, 0, -1, -1, -1, -1, -1, -1));
        _f.SetYmm(3, Vector256.Create(7));
        _f.Run(c => c.vpgatherdd(ymm3, __ymmword_ptr[rsi + (ymm1 * 4)], ymm2));
        Assert.Equal(Vector256.Create(1000, 7, 800, 1300, 1400, 1500, 1600, 0), _f.Ymm<int>(3));
        Assert.Equal(Vector256<int>.Zero, _f.Ymm<int>(2));
        _f.SetYmm(1, Vector256.Create(1L, -1, 5, 6));
        _f.SetYmm(2, Vector256.Create(-1L));
        _f.SetYmm(3, Vector256.Create(9L));
        _f.Run(c => c.vgatherqpd(xmm3, __xmmword_ptr[rsi + (xmm1 * 8) + 8], xmm2));
        Assert.Equal(Vector256.Create(1400L | (1500L << 32), 1000L | (1100L << 32), 0, 0), _f.Ymm<long>(3));
        _f.SetYmm(1, Vector256.Create(1L, 2, 5, 6));
        _f.SetYmm(2, Vector256.Create(-1));
        _f.SetYmm(3, Vector256.Create(9));
        _f.Run(c => c.vgatherqps(xmm3, __xmmword_ptr[rsi + (xmm1 * 4)], xmm2));
        Assert.Equal(Vector256.Create(1100, 1200, 0, 0, 0, 0, 0, 0), _f.Ymm<int>(3));
    }

    [Fact]
    public void A_gather_that_faults_keeps_what_it_has_done()
    {
        _f.Memory<int>(Data, 1)[0] = 5;
        _f.State->Gpr[0] = Data;
        _f.SetXmm(1, Vector128.Create(0, 0, (int)(LongModeGuest.AbsentPage - Data), 0));
        _f.SetXmm(2, Vector128.Create(-1));
        _f.SetXmm(3, Vector128.Create(7));
        (ExceptionVector Vector, uint Error, ulong Address) fault = _f.Fault(c => c.vpgatherdd(xmm3, __xmmword_ptr[rax + xmm1], xmm2), checkExtended: false);
        Assert.Equal((ExceptionVector.PageFault, 0u, LongModeGuest.AbsentPage), fault);
        Assert.Equal(Vector128.Create(5, 5, 7, 7), _f.Xmm<int>(3));
        Assert.Equal(Vector128.Create(0, 0, -1, -1), _f.Xmm<int>(2));
    }

    [Fact]
    public void Cache_hints_do_nothing_and_flushes_check_the_address()
    {
        _f.Run(c => c.prefetcht0(__byte_ptr[rax]), LongModeGuest.AbsentPage);
        _f.Run(c => c.prefetchw(__byte_ptr[rax]), 0x8000_0000_0000_0000);
        Assert.Equal(ExceptionVector.PageFault, _f.Fault(c => c.clflush(__byte_ptr[rax]), LongModeGuest.AbsentPage).Vector);
        _f.Run(c => c.clflushopt(__byte_ptr[rax]), LongModeGuest.ReadOnlyPage);
        _f.Run(c => c.mfence());
    }

    [Fact]
    public void Equal_instructions_share_one_preparation()
    {
        int first = _f.Executor.Prepare(HostInstructionFixture.Assemble(c => c.addps(xmm1, __xmmword_ptr[rax])));
        long size = _f.Executor.HostCodeSize;
        Assert.Equal(first, _f.Executor.Prepare(HostInstructionFixture.Assemble(c => c.addps(xmm1, __xmmword_ptr[rsi + (rdi * 8) + 1000]))));
        Assert.Equal(size, _f.Executor.HostCodeSize);
        Assert.NotEqual(first, _f.Executor.Prepare(HostInstructionFixture.Assemble(c => c.addps(xmm2, __xmmword_ptr[rax]))));
        Assert.Equal(16, _f.Executor[first].MemorySize);
        Assert.True(_f.Executor[first].ReadsMemory);
        _f.Executor.Clear();
        Assert.Equal(0, _f.Executor.HostCodeSize);
        _f.Run(c => c.addps(xmm1, xmm2));
    }
}
