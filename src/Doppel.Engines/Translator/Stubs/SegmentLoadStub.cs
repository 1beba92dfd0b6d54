using Doppel.Machine.Cpu;
using Iced.Intel;
using static Doppel.Engines.Translator.EmittedStub;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Translator;

/// <summary>
/// MOV and POP to DS, ES, FS and GS of 32-bit code in flat segments at CPL 0, as <see cref="Machine.Cpu.Segments.SegmentLoader"/>
/// has them, for writable data segments of the GDT that are marked accessed: a 32-bit kernel loads four at each of its entries
/// and exits. DS and ES must be flat, as the running block takes them to be; FS and GS may be null. All else leaves by the
/// exit whose number the block has stored, before anything has changed.
/// </summary>
/// <remarks>
/// Entered by a jump with the selector, zero-extended, in <see cref="RegisterMap.Address"/> and where to go on (executable
/// mapping) in <see cref="RegisterMap.Temporary"/>. Uses the scratch registers and no flags.
/// </remarks>
internal sealed unsafe class SegmentLoadStub
{
    // Present, data, expand-up, writable, accessed; the privilege level does not matter here.
    private const int RightsMask = 0x9F;
    private const int Rights = 0x93;
    private const int AttributesMask = 0xF0FF;
    private const byte GranularityBit = 55;
    private const byte LevelShift = 45;

    private readonly byte*[] _entries = new byte*[6];

    /// <summary>Emits the stubs.</summary>
    /// <param name="code">Where, in the writable mapping.</param>
    /// <param name="toExecutable">Distance from the writable to the executable mapping.</param>
    /// <param name="exit">Where what is unusual leaves.</param>
    internal SegmentLoadStub(ref Emitter code, nint toExecutable, byte* exit)
    {
        foreach (Segment segment in new[] { Segment.Es, Segment.Ds, Segment.Fs, Segment.Gs })
            _entries[(int)segment] = Emit(ref code, toExecutable, exit, segment);
    }

    /// <summary>The stub of a segment register, in the writable mapping.</summary>
    internal byte* Entry(Segment segment) => _entries[(int)segment];

    private static byte* Emit(ref Emitter code, nint toExecutable, byte* exit, Segment segment)
    {
        var c = new Assembler(64);
        Label leave = c.CreateLabel(), done = c.CreateLabel(), isNull = c.CreateLabel(), isSmall = c.CreateLabel();
        bool mustBeFlat = segment is Segment.Ds or Segment.Es;
        int register = SegmentSlots.Base(segment);
        c.mov(Slot(StateLayout.RefillReturn), r11);
        Save(c);
        c.test(r10d, 0xFFFC);
        c.jz(mustBeFlat ? leave : isNull);
        c.test(r10d, 4);
        c.jnz(leave);
        // Under AC the table of the TLB is not that of the processor's own accesses.
        c.test(StubCode.Slot32(SystemSlots.FlagSystem), (int)CpuFlags.Ac);
        c.jnz(leave);
        c.mov(ecx, r10d);
        c.or(ecx, 7);
        c.cmp(ecx, StubCode.Slot32(SystemSlots.Gdtr + SystemSlots.TableLimit));
        c.ja(leave);
        c.and(ecx, ~7);
        c.add(rcx, Slot(SystemSlots.Gdtr));
        DescriptorCode.Translate(c, rcx, StateLayout.Tlb, Machine.Cpu.Mmu.TlbLayout.ReadTag, sizeof(ulong), leave);
        c.mov(rax, __qword_ptr[rcx]);

        // At CPL 0 only the selector's own level can be beyond the descriptor's.
        c.mov(rcx, rax);
        c.shr(rcx, 40);
        c.mov(edx, ecx);
        c.and(edx, RightsMask);
        c.cmp(edx, Rights);
        c.jne(leave);
        c.mov(rdx, rax);
        c.shr(rdx, LevelShift);
        c.and(edx, 3);
        c.mov(ebx, r10d);
        c.and(ebx, 3);
        c.cmp(ebx, edx);
        c.ja(leave);

        // ECX: attributes. ESI: limit. EDI: base.
        c.and(ecx, AttributesMask);
        c.mov(rsi, rax);
        c.shr(rsi, 32);
        c.and(esi, 0xF0000);
        c.movzx(edx, ax);
        c.or(esi, edx);
        c.bt(rax, GranularityBit);
        c.jnc(isSmall);
        c.shl(esi, 12);
        c.or(esi, 0xFFF);
        c.Label(ref isSmall);
        c.mov(rdi, rax);
        c.shr(rdi, 16);
        c.and(edi, 0xFFFFFF);
        c.mov(rdx, rax);
        c.shr(rdx, 56);
        c.shl(edx, 24);
        c.or(edi, edx);
        if (mustBeFlat)
        {
            c.test(edi, edi);
            c.jnz(leave);
            c.cmp(esi, -1);
            c.jne(leave);
        }

        WriteSegment(c, register);
        c.mov(eax, esi);
        c.not(eax);
        WriteReach(c, segment);
        if (!mustBeFlat)
        {
            c.jmp(done);
            c.Label(ref isNull);
            c.xor(esi, esi);
            c.xor(edi, edi);
            c.mov(ecx, (uint)SegmentAttributes.Unusable);
            WriteSegment(c, register);
            c.mov(rax, 1L << 32);
            WriteReach(c, segment);
        }

        c.Label(ref done);
        Restore(c);
        c.jmp(Slot(StateLayout.RefillReturn));
        c.Label(ref leave);
        Restore(c);
        c.jmp((ulong)(exit + toExecutable));
        return Assemble(ref code, toExecutable, c);
    }

    private static void WriteSegment(Assembler c, int register)
    {
        c.mov(Slot(register), rdi);
        c.mov(StubCode.Slot32(register + SystemSlots.Limit), esi);
        c.mov(StubCode.Slot32(register + SystemSlots.Attributes), ecx);
        c.mov(Slot(register + SystemSlots.Selector), r10);
    }

    private static void WriteReach(Assembler c, Segment segment)
    {
        c.mov(Slot(SegmentSlots.ReadReach(segment)), rax);
        c.mov(Slot(SegmentSlots.WriteReach(segment)), rax);
    }
}
