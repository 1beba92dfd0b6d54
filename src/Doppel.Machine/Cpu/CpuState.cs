using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu;

/// <summary>
/// Everything that a vCPU is, as one unmanaged struct of fixed layout. All engines work on it; it lies in
/// shared memory so that another process, a snapshot or a debugger can see it. Its address never changes
/// while the VM lives. Only the vCPU's own thread writes it, except <see cref="PendingEvents"/>.
/// </summary>
/// <remarks>
/// The status flags are kept in a form that is cheap to produce: ZF is <see cref="FlagZero"/> == 0, SF the sign
/// of <see cref="FlagSignParity"/> and PF the parity of its low byte, CF, AF and OF stand in their RFLAGS places
/// in <see cref="FlagCarryOverflow"/>. <see cref="Flags"/> is the architectural view; nothing else is saved.
/// </remarks>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct CpuState
{
    /// <summary>RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.</summary>
    public fixed ulong Gpr[16];

    /// <summary>Linear address of the page (minus CS base: an offset) that the interpreter executes from.</summary>
    public ulong CodePage;

    /// <summary>The software TLB table of the current address space and privilege (see SoftTlb).</summary>
    public void* Tlb;

    /// <summary>Events that an engine must look at between instructions; bits of <see cref="Cpu.PendingEvents"/>. Set with Interlocked by any thread.</summary>
    public int PendingEvents;

    /// <summary>
    /// 1 when <see cref="Cpu.PendingEvents.Interrupt"/> was taken out of <see cref="PendingEvents"/> because RFLAGS.IF is
    /// clear, so that code which runs with interrupts off need not look at it again and again. It comes back when IF is set.
    /// Only the vCPU's thread touches it.
    /// </summary>
    public int HeldInterrupt;

    /// <summary>Instructions retired since reset; a repeated string instruction counts once, when it ends.</summary>
    public ulong InstructionsRetired;

    /// <summary>Tags of the upper and the lower half of the linear addresses (see <see cref="Mmu.CodeTags"/>).</summary>
    public fixed ulong CodeTags[2];

    /// <summary>
    /// Words that belong to the engine, as <see cref="Engine"/>, near the start: with the general registers and the fields
    /// between, they are the words that translated code reaches with displacements of one byte.
    /// </summary>
    public fixed ulong EngineNear[8];

    /// <summary>
    /// <see cref="VirtualCpu.QuietMask"/> while no event is pending, 0 while one is: what emitted code masks with anyway then
    /// takes it out of its way without a look at <see cref="PendingEvents"/>. May stay 0 a while after the last event.
    /// </summary>
    public ulong EventMask;

    /// <summary>Instruction pointer. While an engine runs, it may be stale except where the engine says otherwise.</summary>
    public ulong Rip;

    /// <summary>Always zero: stands for an absent base, index or segment base.</summary>
    public ulong Zero;

    /// <summary>ZF is set exactly when this is zero.</summary>
    public ulong FlagZero;

    /// <summary>SF is bit 63; PF is the parity of the low byte.</summary>
    public ulong FlagSignParity;

    /// <summary>CF, AF and OF in their RFLAGS positions; other bits zero.</summary>
    public ulong FlagCarryOverflow;

    /// <summary>The other bits of RFLAGS; bit 1 set.</summary>
    public ulong FlagSystem;

    /// <summary>Host address of guest-physical address 0.</summary>
    public byte* Ram;

    /// <summary>One byte a guest-physical page (see PageFlags).</summary>
    public byte* PageFlags;

    /// <summary>Current privilege level, 0 to 3. Equal to SS.DPL; 3 in virtual-8086 mode, 0 in real mode.</summary>
    public int Cpl;

    /// <summary>Interrupts and (after MOV SS) debug traps are held off for one instruction; see <see cref="Cpu.InterruptShadow"/>.</summary>
    public InterruptShadow Shadow;

    /// <summary>Running, halted, waiting for SIPI or shut down.</summary>
    public ActivityState Activity;

    /// <summary>ES, CS, SS, DS, FS, GS, LDTR, TR, in the order of <see cref="Segment"/>.</summary>
    public SegmentRegister Es, Cs, Ss, Ds, Fs, Gs, Ldtr, Tr;

    /// <summary>Global and interrupt descriptor table registers.</summary>
    public DescriptorTableRegister Gdtr, Idtr;

    /// <summary>Control registers. CR8 is the local APIC's task priority and lives there.</summary>
    public ulong Cr0, Cr2, Cr3, Cr4, Xcr0;

    /// <summary>Extended feature enable register, with LMA.</summary>
    public ulong Efer;

    /// <summary>Syscall MSRs.</summary>
    public ulong Star, Lstar, Cstar, SyscallMask, KernelGsBase;

    /// <summary>Sysenter MSRs.</summary>
    public ulong SysenterCs, SysenterEsp, SysenterEip;

    /// <summary>IA32_TSC_AUX, IA32_PAT, IA32_MISC_ENABLE, IA32_XSS, IA32_SPEC_CTRL, IA32_DEBUGCTL, IA32_MCG_STATUS.</summary>
    public ulong TscAux, Pat, MiscEnable, Xss, SpecCtrl, DebugCtl, McgStatus;

    /// <summary>Added to the clock's TSC to give the guest's TSC; IA32_TSC_ADJUST.</summary>
    public ulong TscOffset, TscAdjust;

    /// <summary>IA32_MTRR_DEF_TYPE.</summary>
    public ulong MtrrDefType;

    /// <summary>IA32_MTRR_PHYSBASE0, PHYSMASK0, PHYSBASE1 ... for eight variable ranges.</summary>
    public fixed ulong MtrrVariable[16];

    /// <summary>IA32_MTRR_FIX64K, FIX16K x 2, FIX4K x 8.</summary>
    public fixed ulong MtrrFixed[11];

    /// <summary>DR0 to DR3, (4 and 5 unused), DR6, DR7.</summary>
    public fixed ulong Dr[8];

    /// <summary>The four PDPTE registers of PAE paging, loaded by MOV CR3 and by mode changes (Intel SDM vol. 3, 4.4.1).</summary>
    public fixed ulong Pdpte[4];

    /// <summary>Linear address for which MONITOR is armed; ulong.MaxValue when it is not.</summary>
    public ulong MonitorAddress;

    /// <summary>
    /// The tables of the current address space by mode of access (<see cref="Mmu.TlbMode"/>): a change of mode is
    /// <see cref="Tlb"/> = TlbModes[mode]. Always ready for use.
    /// </summary>
    public fixed ulong TlbModes[4];

    /// <summary>The address spaces whose translations are cached, by <see cref="Mmu.TlbSlot.IndexOf"/>.</summary>
    public Mmu.TlbSlot* TlbSlots;

    /// <summary>What page walks in emitted code go by.</summary>
    public Mmu.PageWalkControls Walk;

    /// <summary>The tag that was given last.</summary>
    public ulong LastCodeTag;

    /// <summary>By half as <see cref="CodeTags"/>: where code of large pages is marked, a bit for each 64th region of 4 MiB.</summary>
    public fixed ulong CodeHasLarge[2];

    /// <summary>Not zero when code of the upper half is marked that is not global.</summary>
    public ulong CodeHasLocalUpper;

    /// <summary>Words that belong to the engine which runs the vCPU; nothing that must be saved.</summary>
    public fixed ulong Engine[128];

    /// <summary>IA32_MC0_CTL to IA32_MC3_CTL.</summary>
    public fixed ulong MachineCheckControl[4];

    /// <summary>IA32_MC0_ADDR to IA32_MC3_ADDR.</summary>
    public fixed ulong MachineCheckAddress[4];

    /// <summary>IA32_MC0_MISC to IA32_MC3_MISC.</summary>
    public fixed ulong MachineCheckMisc[4];

    /// <summary>External interrupts and NMIs delivered; statistics, not saved. Whoever delivers one counts it.</summary>
    public ulong InterruptsDelivered;

    /// <summary>Exceptions delivered; statistics, not saved.</summary>
    public ulong ExceptionsDelivered;

    /// <summary>Reserved, so that fields can be added without moving <see cref="Xsave"/>.</summary>
    public fixed ulong Reserved[2];

    /// <summary>
    /// x87, SSE and AVX state in the standard (not compacted) XSAVE format: legacy region 0-511 (MXCSR at 24,
    /// ST/MM at 32, XMM at 160), header 512-575, upper halves of YMM at 576. Reached through
    /// <see cref="XsaveArea"/>, which is 64-byte aligned when the state is.
    /// </summary>
    public fixed byte Xsave[1024 + 64];

    /// <summary>The aligned extended-state area inside <see cref="Xsave"/>.</summary>
    public byte* XsaveArea => (byte*)(((nuint)Unsafe.AsPointer(ref Xsave[0]) + 63) & ~(nuint)63);

    /// <summary>The 16-byte XMM register, low half of the YMM register with the same number.</summary>
    public byte* Xmm(int register) => XsaveArea + 160 + (16 * register);

    /// <summary>The upper 16 bytes of a YMM register.</summary>
    public byte* YmmHigh(int register) => XsaveArea + 576 + (16 * register);

    /// <summary>MXCSR.</summary>
    public ref uint Mxcsr => ref *(uint*)(XsaveArea + 24);

    /// <summary>A segment register by its index.</summary>
    public SegmentRegister* SegmentAt(Segment segment) => (SegmentRegister*)Unsafe.AsPointer(ref Es) + (int)segment;

    /// <summary>RFLAGS as the architecture defines it.</summary>
    public ulong Flags
    {
        readonly get
        {
            ulong flags = FlagSystem | FlagCarryOverflow;
            if (FlagZero == 0)
                flags |= CpuFlags.Zf;
            flags |= (FlagSignParity >> 56) & CpuFlags.Sf;
            if ((BitOperations.PopCount(FlagSignParity & 0xFF) & 1) == 0)
                flags |= CpuFlags.Pf;
            return flags;
        }

        set
        {
            FlagSystem = (value & CpuFlags.All & ~CpuFlags.Status) | CpuFlags.Fixed;
            StatusFlags = value;
        }
    }

    /// <summary>Sets CF, PF, AF, ZF, SF and OF from an RFLAGS value; leaves the others alone.</summary>
    public ulong StatusFlags
    {
        set
        {
            FlagZero = ~value & CpuFlags.Zf;
            FlagSignParity = ((value & CpuFlags.Sf) << 56) | ((value & CpuFlags.Pf) != 0 ? 0u : 1u);
            FlagCarryOverflow = value & (CpuFlags.Cf | CpuFlags.Af | CpuFlags.Of);
        }
    }

    /// <summary>True when something must be looked at before the next instruction.</summary>
    public readonly bool HasWork => (PendingEvents | (int)Activity | (HeldInterrupt & (int)(FlagSystem >> 9))) != 0;

    /// <summary>True in real mode (CR0.PE clear).</summary>
    public readonly bool IsRealMode => (Cr0 & 1) == 0;

    /// <summary>True in virtual-8086 mode.</summary>
    public readonly bool IsVirtual8086 => (FlagSystem & CpuFlags.Vm) != 0;

    /// <summary>True when EFER.LMA is set (64-bit or compatibility mode).</summary>
    public readonly bool IsLongMode => (Efer & Cpu.Efer.Lma) != 0;

    /// <summary>True when 64-bit code executes (LMA and CS.L).</summary>
    public readonly bool Is64Bit => IsLongMode && (Cs.Attributes & SegmentAttributes.Long) != 0;
}
