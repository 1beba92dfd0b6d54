using System.Runtime.InteropServices;
using Doppel.Host.Memory;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.HostInstructions;

namespace Doppel.Machine.Tests.Differential;

/// <summary>
/// Executes one unprivileged integer instruction natively with all sixteen registers, the flags and memory given. The
/// instruction addresses the oracle's memory directly, so the guest under test maps its own copy at the same address.
/// </summary>
internal sealed unsafe class HostOracle : IDisposable
{
    /// <summary>Bytes of memory at <see cref="Address"/>; the instruction must not reach beyond.</summary>
    internal const int MemorySize = 64 << 10;

    private const int FlagsOffset = 128;
    private const int HostStackOffset = 136;
    private const int HostFlagsOffset = 144;
    private const int TakenOffset = 152;
    private const int Rsp = 4;
    private const int Rdi = 7;
    private readonly AnonymousMemory _memory = new(MemorySize);
    private readonly StubCode _code = new();
    private readonly StubAssembler _asm = new();
    private OracleRegisters* _registers;

    internal HostOracle() => _registers = (OracleRegisters*)NativeMemory.AlignedAlloc((nuint)sizeof(OracleRegisters), 64);

    /// <summary>Where the memory is, for the host and for the guest.</summary>
    internal ulong Address => (ulong)_memory.Base;

    /// <summary>The memory.</summary>
    internal Span<byte> Memory => new(_memory.Base, MemorySize);

    /// <summary>Executes an instruction. It must not fault.</summary>
    /// <param name="code">Its bytes; a relative branch must have a displacement of <see cref="BranchDistance"/>.</param>
    /// <param name="registers">In and out. Only the status flags, DF, NT and ID of the flags go in.</param>
    internal void Run(ReadOnlySpan<byte> code, ref OracleRegisters registers)
    {
        const ulong Settable = CpuFlags.Status | CpuFlags.Df | CpuFlags.Nt | CpuFlags.Id;
        if (_code.Size > 4 << 20)
            _code.Clear();
        *_registers = registers;
        _registers->Flags = (registers.Flags & Settable) | CpuFlags.Fixed | CpuFlags.If;
        _registers->Taken = 0;
        Emit(code);
        ((delegate* unmanaged<OracleRegisters*, void>)_code.Publish(_asm.Code))(_registers);
        registers = *_registers;
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

    private void Emit(ReadOnlySpan<byte> code)
    {
        ReadOnlySpan<int> calleeSaved = [3, 5, 12, 13, 14, 15];
        _asm.Clear();
        foreach (int register in calleeSaved)
            _asm.Push(register);
        _asm.WriteByte(0x9C);
        _asm.Pop(0);
        _asm.Store64(0, Rdi, HostFlagsOffset);
        _asm.Store64(Rsp, Rdi, HostStackOffset);
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
        for (int i = calleeSaved.Length - 1; i >= 0; i--)
            _asm.Pop(calleeSaved[i]);
        _asm.WriteByte(0xC3);
    }
}
