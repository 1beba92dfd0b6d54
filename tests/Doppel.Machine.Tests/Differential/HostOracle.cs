using System.Runtime.InteropServices;
using Doppel.Host.Memory;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.HostInstructions;

namespace Doppel.Machine.Tests.Differential;

/// <summary>
/// Executes one unprivileged instruction natively with all sixteen registers, the flags and memory given. The
/// instruction addresses the oracle's memory directly, so the guest under test maps its own copy at the same address. The
/// extended state (x87, SSE, AVX) is all loaded and saved when given, so nothing is assumed about what is used of it.
/// </summary>
internal sealed unsafe class HostOracle : IDisposable
{
    /// <summary>Bytes of memory at <see cref="Address"/>; the instruction must not reach beyond.</summary>
    internal const int MemorySize = 64 << 10;

    private const int FlagsOffset = 128;
    private const int HostStackOffset = 136;
    private const int HostFlagsOffset = 144;
    private const int TakenOffset = 152;
    private const int ExtendedOffset = 192;

    /// <summary>Bytes of the XSAVE area with x87, SSE and AVX in the standard format.</summary>
    internal const int ExtendedSize = 832;

    private const int Rsp = 4;
    private const int Rdi = 7;
    private readonly AnonymousMemory _memory = new(MemorySize);
    private readonly StubCode _code = new();
    private readonly StubAssembler _asm = new();
    private OracleRegisters* _registers;

    internal HostOracle() => _registers = (OracleRegisters*)NativeMemory.AlignedAlloc(ExtendedOffset + 1024, 64);

    /// <summary>Where the memory is, for the host and for the guest.</summary>
    internal ulong Address => (ulong)_memory.Base;

    /// <summary>The memory.</summary>
    internal Span<byte> Memory => new(_memory.Base, MemorySize);

    /// <summary>Executes an instruction. It must not fault.</summary>
    /// <param name="code">Its bytes; a relative branch must have a displacement of <see cref="BranchDistance"/>.</param>
    /// <param name="registers">In and out. Only the status flags, DF, NT and ID of the flags go in.</param>
    /// <param name="extended">The XSAVE area, in and out, or empty. Every exception must be masked in it.</param>
    internal void Run(ReadOnlySpan<byte> code, ref OracleRegisters registers, Span<byte> extended = default)
    {
        const ulong Settable = CpuFlags.Status | CpuFlags.Df | CpuFlags.Nt | CpuFlags.Id;
        if (_code.Size > 4 << 20)
            _code.Clear();
        *_registers = registers;
        _registers->Flags = (registers.Flags & Settable) | CpuFlags.Fixed | CpuFlags.If;
        _registers->Taken = 0;
        var area = new Span<byte>((byte*)_registers + ExtendedOffset, extended.Length);
        extended.CopyTo(area);
        Emit(code, !extended.IsEmpty);
        ((delegate* unmanaged<OracleRegisters*, void>)_code.Publish(_asm.Code))(_registers);
        registers = *_registers;
        area.CopyTo(extended);
    }

    /// <summary>The displacement that a relative branch must have: over the five bytes of one jump.</summary>
    internal const int BranchDistance = 5;

    public void Dispose()
    {
        if (_registers == null)
            return;
        NativeMemory.AlignedFree(_registers);
        _registers = null;
        _code.Dispose();
        _memory.Dispose();
    }

    private void Emit(ReadOnlySpan<byte> code, bool withExtended)
    {
        ReadOnlySpan<int> calleeSaved = [3, 5, 12, 13, 14, 15];
        _asm.Clear();
        foreach (int register in calleeSaved)
            _asm.Push(register);
        _asm.WriteByte(0x9C);
        _asm.Pop(0);
        _asm.Store64(0, Rdi, HostFlagsOffset);
        _asm.Store64(Rsp, Rdi, HostStackOffset);
        if (withExtended)
        {
            LoadComponentMask();
            _asm.Group15(5, Rdi, ExtendedOffset, wide: true);
        }

        _asm.Load64(0, Rdi, FlagsOffset);
        _asm.Push(0);
        _asm.WriteByte(0x9D);
        for (int i = 0; i < 16; i++)
        {
            if (i is not Rdi)
                _asm.Load64(i, Rdi, 8 * i);
        }

        _asm.Load64(Rdi, Rdi, 8 * Rdi);
        _asm.Bytes(code);
        // A branch not taken jumps over the part that notes a taken one; both keep every register and flag.
        _asm.WriteByte(0xE9);
        _asm.Word32(24);
        _asm.Bytes(0x48, 0xA3);
        _asm.Word64((ulong)_registers);
        _asm.Bytes(0xB0, 1);
        _asm.Bytes(0x48, 0xA3);
        _asm.Word64((ulong)_registers + TakenOffset);
        _asm.Bytes(0xEB, 10);
        _asm.Bytes(0x48, 0xA3);
        _asm.Word64((ulong)_registers);
        _asm.Bytes(0x48, 0xB8);
        _asm.Word64((ulong)_registers);
        for (int i = 1; i < 16; i++)
            _asm.Store64(i, 0, 8 * i);
        _asm.Load64(Rsp, 0, HostStackOffset);
        _asm.WriteByte(0x9C);
        _asm.Pop(1);
        _asm.Store64(1, 0, FlagsOffset);
        _asm.Load64(1, 0, HostFlagsOffset);
        _asm.Push(1);
        _asm.WriteByte(0x9D);
        if (withExtended)
        {
            _asm.Move(Rdi, 0);
            LoadComponentMask();
            _asm.Group15(4, Rdi, ExtendedOffset, wide: true);
            // fninit, vzeroupper, and the MXCSR that C# expects.
            _asm.Bytes(0xDB, 0xE3, 0xC5, 0xF8, 0x77, 0xC7, 0x44, 0x24, 0xF8);
            _asm.Word32(0x1F80);
            _asm.Group15(2, Rsp, -8, wide: false);
        }

        for (int i = calleeSaved.Length - 1; i >= 0; i--)
            _asm.Pop(calleeSaved[i]);
        _asm.WriteByte(0xC3);
    }

    // mov eax, 7; xor edx, edx: x87, SSE and AVX.
    private void LoadComponentMask() => _asm.Bytes(0xB8, 7, 0, 0, 0, 0x31, 0xD2);
}
