using System.Runtime.InteropServices;
using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Translator;

/// <summary>What stubs that are written with Iced's assembler share.</summary>
internal static unsafe class EmittedStub
{
    /// <summary>A 64-bit word of the vCPU's state.</summary>
    internal static AssemblerMemoryOperand Slot(int offset) => __qword_ptr.gs[offset];

    /// <summary>A word of the state's <see cref="PageWalkControls"/>.</summary>
    internal static AssemblerMemoryOperand Walk(string field) =>
        Slot(StateLayout.Walk + (int)Marshal.OffsetOf<PageWalkControls>(field));

    /// <summary>Distance of a word of <see cref="TlbControl"/> from the start of its half of a TLB table.</summary>
    internal static int TlbControlOffset(string field) => TlbLayout.Control + (int)Marshal.OffsetOf<TlbControl>(field);

    /// <summary>Keeps RAX, RDX, RBX, RSI, RDI, R8 and the status flags in the state, for use by a stub.</summary>
    internal static void Save(Assembler c)
    {
        c.mov(Slot(StateLayout.Spill), rax);
        c.lahf();
        c.seto(al);
        c.mov(Slot(StateLayout.Spill + 8), rax);
        c.mov(Slot(StateLayout.Spill + 16), rdx);
        c.mov(Slot(StateLayout.Spill + 24), rbx);
        c.mov(Slot(StateLayout.Spill + 32), rsi);
        c.mov(Slot(StateLayout.Spill + 40), rdi);
        c.mov(Slot(StateLayout.Spill + 48), r8);
    }

    /// <summary>Gets back what <see cref="Save"/> has kept.</summary>
    internal static void Restore(Assembler c)
    {
        c.mov(rdx, Slot(StateLayout.Spill + 16));
        c.mov(rbx, Slot(StateLayout.Spill + 24));
        c.mov(rsi, Slot(StateLayout.Spill + 32));
        c.mov(rdi, Slot(StateLayout.Spill + 40));
        c.mov(r8, Slot(StateLayout.Spill + 48));
        // AL is 1 when OF was set: the sum overflows then.
        c.mov(rax, Slot(StateLayout.Spill + 8));
        c.add(al, 0x7F);
        c.sahf();
        c.mov(rax, Slot(StateLayout.Spill));
    }

    /// <summary>Assembles to the writable mapping for the executable one, and returns the writable start.</summary>
    /// <param name="code">Where; moves on behind the code.</param>
    /// <param name="toExecutable">Distance from the writable to the executable mapping.</param>
    /// <param name="c">What.</param>
    internal static byte* Assemble(ref Emitter code, nint toExecutable, Assembler c)
    {
        byte* start = code.Position;
        var writer = new MemoryWriter();
        _ = c.Assemble(writer, (ulong)(start + toExecutable));
        fixed (byte* bytes = writer.Bytes.ToArray())
            code.Bytes(bytes, writer.Bytes.Count);
        return start;
    }

    /// <summary>Assembles code that only jumps; targets are in the writable mapping. Returns where its label is there.</summary>
    internal static byte* Assemble(ref Emitter code, Func<Assembler, Label> stub)
    {
        var assembler = new Assembler(64);
        Label entry = stub(assembler);
        var writer = new MemoryWriter();
        AssemblerResult result = assembler.Assemble(writer, (ulong)code.Position, BlockEncoderOptions.ReturnNewInstructionOffsets);
        fixed (byte* bytes = writer.Bytes.ToArray())
            code.Bytes(bytes, writer.Bytes.Count);
        return (byte*)result.GetLabelRIP(entry);
    }

    private sealed class MemoryWriter : CodeWriter
    {
        internal List<byte> Bytes { get; } = [];

        public override void WriteByte(byte value) => Bytes.Add(value);
    }
}
