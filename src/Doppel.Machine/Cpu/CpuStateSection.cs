using System.Runtime.InteropServices;
using Doppel.Machine.Cpu.System;
using Doppel.Machine.State;

namespace Doppel.Machine.Cpu;

/// <summary>
/// The saved state of one vCPU: every register that its guest could tell apart, and the signals that wait for it. What
/// engines and the software TLB keep is not part of it; both start afresh after a restore. The local APIC has a section
/// of its own, restored after this one.
/// </summary>
/// <param name="cpu">The vCPU. It must not be running during <see cref="Save"/> and <see cref="Restore"/>.</param>
public sealed unsafe class CpuStateSection(VirtualCpu cpu) : IStateful
{
    // The interrupt bit follows the local APIC; kicks and flushes are the host's affair.
    private const PendingEvents Saved = PendingEvents.Nmi | PendingEvents.Smi | PendingEvents.Init | PendingEvents.Sipi | PendingEvents.NextNmi;

    // The events are a byte, in which the interrupt's bit stands for the second NMI.
    private const byte NextNmiBit = (byte)PendingEvents.Interrupt;

    private interface IFields
    {
        void Word(ref ulong value);
        void Half(ref uint value);
        void Short(ref ushort value);
        void Bytes(byte* start, int length);
    }

    /// <inheritdoc/>
    public string SectionName => $"cpu{cpu.Index}";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        CpuState* s = cpu.State;
        var fields = new Writer(writer);
        Visit(s, ref fields);
        writer.Write(s->Flags);
        writer.Write((byte)s->Cpl);
        writer.Write((byte)s->Shadow);
        writer.Write((byte)s->Activity);
        // An INIT may have come where the local APIC is kept.
        cpu.Apic.Refresh();
        PendingEvents events = (PendingEvents)Volatile.Read(ref s->PendingEvents) & Saved;
        writer.Write((byte)((byte)events | (events.HasFlag(PendingEvents.NextNmi) ? NextNmiBit : 0)));
        writer.Write(cpu.PendingDebug);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        if (version != SectionVersion)
            throw new InvalidDataException($"{SectionName}: version {version} is unknown; {SectionVersion} is expected");
        CpuState* s = cpu.State;
        // The copy has the alignment of the state itself, on which the place of the extended state depends.
        var next = (CpuState*)NativeMemory.AlignedAlloc((nuint)sizeof(CpuState), 4096);
        try
        {
            *next = *s;
            var fields = new Reader(reader);
            Visit(next, ref fields);
            ulong flags = reader.ReadUInt64();
            next->Flags = flags;
            next->Cpl = reader.ReadByte();
            next->Shadow = (InterruptShadow)reader.ReadByte();
            next->Activity = (ActivityState)reader.ReadByte();
            byte packed = reader.ReadByte();
            PendingEvents events = (PendingEvents)(packed & ~NextNmiBit) | ((packed & NextNmiBit) != 0 ? PendingEvents.NextNmi : PendingEvents.None);
            ulong pendingDebug = reader.ReadUInt64();
            new CpuStateCheck(cpu, SectionName).Validate(next, flags);
            Require((events & ~Saved) == 0, "pending events", (ulong)events);
            Require((pendingDebug & ~(0xF | DebugRegisters.Bt)) == 0, "pending debug status", pendingDebug);

            // Other threads may signal at any moment: their word is the only one that is not copied.
            long before = (byte*)&s->PendingEvents - (byte*)s;
            long after = sizeof(CpuState) - before - sizeof(int);
            Buffer.MemoryCopy(next, s, before, before);
            Buffer.MemoryCopy(&next->PendingEvents + 1, &s->PendingEvents + 1, after, after);
            cpu.ClearSignal(Saved);
            if (events != PendingEvents.None)
                cpu.Signal(events);
            cpu.PendingDebug = pendingDebug;
        }
        finally
        {
            NativeMemory.AlignedFree(next);
        }

        cpu.Tlb.FlushAll();
        cpu.Tlb.SelectAddressSpace((s->Cr4 & Cr4.Pcide) != 0 ? (int)(s->Cr3 & 0xFFF) : 0, keep: false);
        cpu.ModeChanged();
    }

    private void Require(bool isPossible, string field, ulong value)
    {
        if (!isPossible)
            throw new InvalidDataException($"{SectionName}: {field} is 0x{value:x}, with bits that do not exist");
    }

    /// <summary>All fields but those that have a form of their own, in the order of the section.</summary>
    private static void Visit<T>(CpuState* s, ref T fields)
        where T : struct, IFields
    {
        for (int i = 0; i < 16; i++)
            fields.Word(ref s->Gpr[i]);
        fields.Word(ref s->Rip);
        fields.Word(ref s->InstructionsRetired);
        for (Segment segment = Segment.Es; segment <= Segment.Tr; segment++)
        {
            SegmentRegister* register = s->SegmentAt(segment);
            fields.Short(ref register->Selector);
            fields.Word(ref register->Base);
            fields.Half(ref register->Limit);
            fields.Half(ref *(uint*)&register->Attributes);
        }

        fields.Word(ref s->Gdtr.Base);
        fields.Half(ref s->Gdtr.Limit);
        fields.Word(ref s->Idtr.Base);
        fields.Half(ref s->Idtr.Limit);
        fields.Word(ref s->Cr0);
        fields.Word(ref s->Cr2);
        fields.Word(ref s->Cr3);
        fields.Word(ref s->Cr4);
        fields.Word(ref s->Xcr0);
        fields.Word(ref s->Efer);
        fields.Word(ref s->Star);
        fields.Word(ref s->Lstar);
        fields.Word(ref s->Cstar);
        fields.Word(ref s->SyscallMask);
        fields.Word(ref s->KernelGsBase);
        fields.Word(ref s->SysenterCs);
        fields.Word(ref s->SysenterEsp);
        fields.Word(ref s->SysenterEip);
        fields.Word(ref s->TscAux);
        fields.Word(ref s->Pat);
        fields.Word(ref s->MiscEnable);
        fields.Word(ref s->Xss);
        fields.Word(ref s->SpecCtrl);
        fields.Word(ref s->DebugCtl);
        fields.Word(ref s->McgStatus);
        fields.Word(ref s->TscOffset);
        fields.Word(ref s->TscAdjust);
        fields.Word(ref s->MtrrDefType);
        Words(s->MtrrVariable, 16, ref fields);
        Words(s->MtrrFixed, 11, ref fields);
        Words(s->Dr, 4, ref fields);
        Words(s->Dr + 6, 2, ref fields);
        Words(s->Pdpte, 4, ref fields);
        fields.Word(ref s->MonitorAddress);
        Words(s->MachineCheckControl, 4, ref fields);
        // The header of the area has no meaning here.
        fields.Bytes(s->XsaveArea, ExtendedState.MxcsrOffset + 4);
        fields.Bytes(s->XsaveArea + ExtendedState.StOffset, XsaveLayout.HeaderOffset - ExtendedState.StOffset - 96);
        fields.Bytes(s->XsaveArea + XsaveLayout.AvxOffset, XsaveLayout.AvxSize);
    }

    private static void Words<T>(ulong* start, int count, ref T fields)
        where T : struct, IFields
    {
        for (int i = 0; i < count; i++)
            fields.Word(ref start[i]);
    }

    private readonly struct Writer(StateWriter writer) : IFields
    {
        public void Word(ref ulong value) => writer.Write(value);

        public void Half(ref uint value) => writer.Write(value);

        public void Short(ref ushort value) => writer.Write(value);

        public void Bytes(byte* start, int length) => writer.Write(new ReadOnlySpan<byte>(start, length));
    }

    private readonly struct Reader(StateReader reader) : IFields
    {
        public void Word(ref ulong value) => value = reader.ReadUInt64();

        public void Half(ref uint value) => value = reader.ReadUInt32();

        public void Short(ref ushort value) => value = reader.ReadUInt16();

        public void Bytes(byte* start, int length)
        {
            byte[] bytes = reader.ReadBytes(length);
            if (bytes.Length != length)
                throw new InvalidDataException($"a block of extended state has {bytes.Length} bytes; it must have {length}");
            bytes.CopyTo(new Span<byte>(start, length));
        }
    }
}
