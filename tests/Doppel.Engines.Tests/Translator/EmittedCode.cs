using Doppel.Engines.Translator;
using Iced.Intel;
using Decoder = Iced.Intel.Decoder;

namespace Doppel.Engines.Tests.Translator;

/// <summary>Writes something through an emitter.</summary>
internal delegate void EmitAction(ref Emitter code);

/// <summary>What an emitter wrote, read back by Iced's decoder.</summary>
internal static unsafe class EmittedCode
{
    private const int Room = 64;

    /// <summary>The bytes that an action emits.</summary>
    internal static byte[] Bytes(EmitAction emit)
    {
        byte* buffer = stackalloc byte[Room];
        var code = new Emitter(buffer, buffer + Room);
        emit(ref code);
        Assert.Equal(Room - (code.Position - buffer), code.Room);
        return new ReadOnlySpan<byte>(buffer, (int)(code.Position - buffer)).ToArray();
    }

    /// <summary>The one instruction that the bytes are, at address 0.</summary>
    internal static Instruction Decode(byte[] bytes)
    {
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(bytes));
        Instruction instruction = decoder.Decode();
        Assert.False(instruction.IsInvalid, $"{Convert.ToHexString(bytes)} is no instruction");
        Assert.Equal(bytes.Length, instruction.Length);
        return instruction;
    }

    /// <summary>Checks that an action emits exactly the expected instruction: code, operands, displacement and sizes.</summary>
    internal static void Is(Instruction expected, EmitAction emit)
    {
        byte[] bytes = Bytes(emit);
        Instruction actual = Decode(bytes);
        if (actual.Code != expected.Code || Text(actual) != Text(expected))
            Assert.Fail($"{Convert.ToHexString(bytes)} is {actual.Code}: {Text(actual)}, not {expected.Code}: {Text(expected)}");
    }

    private static string Text(in Instruction instruction) =>
        $"{instruction} {instruction.MemorySize} {instruction.SegmentPrefix} {instruction.HasLockPrefix} {instruction.HasRepPrefix} {instruction.HasRepnePrefix}";
}
