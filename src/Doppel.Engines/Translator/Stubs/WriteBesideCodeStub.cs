using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Memory;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Translator;

/// <summary>
/// Lets a write pass whose TLB entry has no tag for writes only because code was taken from its page: of the page's granules
/// (<see cref="GuestMemory.CodeGranules"/>) those that it hits hold none. Programs in assembly language keep variables between their
/// routines; each such write would otherwise leave emitted code. For machines with one vCPU.
/// </summary>
/// <remarks>
/// Entered as <see cref="RefillStub"/> is, where all else goes on, with everything as on entry. A page whose dirty mark was taken goes
/// there too, as the check itself would send it.
/// </remarks>
internal static unsafe class WriteBesideCodeStub
{
    /// <summary>Most bytes of a write.</summary>
    internal const int LongestWrite = 2 * GuestMemory.GranuleSize;

    private const int Wanted = (int)(PageFlags.Ram | PageFlags.Code | PageFlags.Dirty);
    private const int Seen = Wanted | (int)(PageFlags.PageTable | PageFlags.Watched);

    /// <summary>Emits the stub.</summary>
    /// <param name="code">Where, in the writable mapping.</param>
    /// <param name="toExecutable">Distance from the writable to the executable mapping.</param>
    /// <param name="refill">Where other writes go, in the writable mapping.</param>
    internal static byte* Emit(ref Emitter code, nint toExecutable, byte* refill)
    {
        var c = new Assembler(64);
        Label other = c.CreateLabel();
        EmittedStub.Save(c);
        c.mov(rdx, EmittedStub.Slot(SystemSlots.CodeGranules));
        c.test(rdx, rdx);
        c.je(other);
        c.pext(rsi, r10, EmittedStub.Slot(StateLayout.IndexMask));
        c.mov(rbx, EmittedStub.Slot(StateLayout.Tlb));
        c.lea(rsi, __[rbx + (rsi * 8)]);
        // With the tag for reads the page is memory that may be reached without notice, but for its code.
        c.mov(rdi, r10);
        c.and(rdi, -4096);
        c.neg(rdi);
        c.cmp(rdi, __qword_ptr[rsi + TlbLayout.ReadTag]);
        c.jne(other);
        c.mov(r8, __qword_ptr[rsi + TlbLayout.Detail]);
        c.test(r8b, (byte)TlbRights.Write);
        c.je(other);
        c.shr(r8, 12);
        c.mov(rdi, EmittedStub.Slot(StateLayout.PageFlags));
        c.movzx(eax, __byte_ptr[rdi + r8]);
        c.and(eax, Seen);
        c.cmp(eax, Wanted);
        c.jne(other);
        c.imul(r8, r8, GuestMemory.GranuleBytes);
        c.add(rdx, r8);
        c.mov(edi, r10d);
        c.and(edi, GuestMemory.PageSize - 1);
        c.mov(rbx, EmittedStub.Slot(SystemSlots.ExitRecords));
        c.movzx(ebx, __word_ptr[rbx + (rcx * ExitTable.RecordBytes) + ExitTable.SizesOffset]);
        c.mov(eax, ebx);
        c.and(eax, (1 << ExitTable.SizeBits) - 1);
        c.lea(eax, __[rdi + rax - 1]);
        c.cmp(eax, GuestMemory.PageSize);
        c.jae(other);
        // The first granule, the last, and what may be between.
        c.shr(edi, 4);
        c.shr(eax, 4);
        c.bt(__dword_ptr[rdx], edi);
        c.jc(other);
        c.bt(__dword_ptr[rdx], eax);
        c.jc(other);
        c.inc(edi);
        c.cmp(edi, eax);
        c.cmova(edi, eax);
        c.bt(__dword_ptr[rdx], edi);
        c.jc(other);
        c.shr(ebx, ExitTable.SizeBits);
        c.lea(rcx, __[r11 + rbx]);
        c.mov(r11, __qword_ptr[rsi + TlbLayout.Addend]);
        EmittedStub.Restore(c);
        c.jmp(rcx);
        c.Label(ref other);
        EmittedStub.Restore(c);
        c.jmp((ulong)(refill + toExecutable));
        return EmittedStub.Assemble(ref code, toExecutable, c);
    }
}
