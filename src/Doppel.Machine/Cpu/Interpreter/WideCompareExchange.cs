using Doppel.Host.Memory;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>LOCK CMPXCHG16B on the host, which .NET does not offer: 34 bytes of machine code.</summary>
internal sealed unsafe class WideCompareExchange : IDisposable
{
    // rdi: operand; rsi: expected value, replaced by what was found; rdx: new value.
    private static ReadOnlySpan<byte> Code =>
    [
        0x53,                         // push rbx
        0x49, 0x89, 0xD0,             // mov r8, rdx
        0x48, 0x8B, 0x06,             // mov rax, [rsi]
        0x48, 0x8B, 0x56, 0x08,       // mov rdx, [rsi+8]
        0x49, 0x8B, 0x18,             // mov rbx, [r8]
        0x49, 0x8B, 0x48, 0x08,       // mov rcx, [r8+8]
        0xF0, 0x48, 0x0F, 0xC7, 0x0F, // lock cmpxchg16b [rdi]
        0x48, 0x89, 0x06,             // mov [rsi], rax
        0x48, 0x89, 0x56, 0x08,       // mov [rsi+8], rdx
        0x5B,                         // pop rbx
        0xC3,                         // ret
    ];

    private readonly ExecutableMemory _memory = new("doppel-cmpxchg16b", 4096);

    internal WideCompareExchange() => Code.CopyTo(new Span<byte>(_memory.Writable, Code.Length));

    /// <summary>Stores the value if the 16 aligned bytes equal what is expected; returns what was there.</summary>
    internal UInt128 Exchange(byte* p, UInt128 value, UInt128 expected)
    {
        ((delegate* unmanaged<byte*, UInt128*, UInt128*, void>)_memory.Executable)(p, &expected, &value);
        return expected;
    }

    public void Dispose() => _memory.Dispose();
}
