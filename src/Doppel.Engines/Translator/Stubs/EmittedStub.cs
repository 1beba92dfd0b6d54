using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Translator;

/// <summary>What stubs that are written with Iced's assembler share.</summary>
internal static unsafe class EmittedStub
{
    /// <summary>A 64-bit word of the vCPU's state.</summary>
    internal static AssemblerMemoryOperand Slot(int offset) => __qword_ptr.gs[offset];

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
