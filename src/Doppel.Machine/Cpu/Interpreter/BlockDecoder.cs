using Doppel.Machine.Cpu.Interpreter.Handlers;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>
/// Decodes a straight run of instructions inside one page into operations. The run goes on past conditional branches
/// that may fall through, and ends at the first instruction that never does, at the end of the page, or at its maximum.
/// </summary>
internal sealed unsafe class BlockDecoder
{
    /// <summary>Most instructions in a block.</summary>
    internal const int MaximumBlock = 64;

    private readonly PageCodeReader _reader = new();
    private readonly Decoder[] _decoders;
    private readonly OpBuilder _builder;

    internal BlockDecoder(OpBuilder builder, DecoderOptions options)
    {
        _builder = builder;
        _decoders = [Decoder.Create(16, _reader, options), Decoder.Create(32, _reader, options), Decoder.Create(64, _reader, options)];
    }

    /// <summary>
    /// Decodes from an offset of a page. Returns the number of operations written, the end mark included, or 0 when the
    /// first instruction goes beyond the page.
    /// </summary>
    internal int Decode(byte* page, int offset, CodeMode mode, DecodedOp* output, out int end)
    {
        _reader.Set(page + offset, 4096 - offset);
        Decoder decoder = DecoderFor(mode);
        int count = 0;
        int position = offset;
        while (count < MaximumBlock && position < 4096)
        {
            decoder.IP = (ulong)position;
            int before = _reader.Remaining;
            decoder.Decode(out Instruction instruction);
            if (instruction.IsInvalid && decoder.LastError == DecoderError.NoMoreBytes && before < 15)
                break;
            DecodedOp* op = output + count;
            *op = default;
            op->PageOffset = (ushort)position;
            op->Position = (ushort)count;
            bool ends = _builder.Build(instruction, op, mode, decoder.LastError);
            count++;
            position += instruction.Length == 0 ? 1 : instruction.Length;
            if (ends)
                break;
        }

        end = position;
        if (count == 0)
            return 0;
        DecodedOp* mark = output + count;
        *mark = default;
        mark->PageOffset = (ushort)Math.Min(position, 4096);
        mark->Position = (ushort)count;
        mark->Handler = &BranchHandlers.EndOfBlock;
        return count + 1;
    }

    /// <summary>Decodes one instruction from a copy of its bytes.</summary>
    /// <param name="bytes">Up to 15 bytes.</param>
    /// <param name="available">How many there are; fewer than 15 only when the next page cannot be read.</param>
    /// <param name="pageOffset">Where the first byte is in its page.</param>
    /// <param name="mode">How to decode.</param>
    /// <param name="output">Room for two operations.</param>
    /// <returns>False when the instruction needs more bytes than are available.</returns>
    internal bool DecodeOne(byte* bytes, int available, int pageOffset, CodeMode mode, DecodedOp* output)
    {
        _reader.Set(bytes, available);
        Decoder decoder = DecoderFor(mode);
        decoder.IP = (ulong)pageOffset;
        decoder.Decode(out Instruction instruction);
        if (instruction.IsInvalid && decoder.LastError == DecoderError.NoMoreBytes && available < 15)
            return false;
        *output = default;
        output->PageOffset = (ushort)pageOffset;
        _ = _builder.Build(instruction, output, mode, decoder.LastError);
        return true;
    }

    private Decoder DecoderFor(CodeMode mode) => mode switch
    {
        CodeMode.Code16 => _decoders[0],
        CodeMode.Code64 => _decoders[2],
        _ => _decoders[1],
    };
}
