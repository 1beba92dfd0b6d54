using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Iced.Intel;

namespace Doppel.Machine.Cpu.HostInstructions;

/// <summary>
/// Executes x87, MMX, SSE to AVX2, AES, BMI and the like: each guest instruction runs on the host's CPU by a stub of its
/// own, so that results are the hardware's to the last bit; what touches memory in a special way, and plain moves, are
/// done in C#. Nothing is committed before the last possible fault. One instance serves one vCPU, on its thread.
/// </summary>
/// <remarks>
/// What the guest's CPU model lacks never gets here (<see cref="Models.CpuModel.Allows"/>); the host must have the rest. <see cref="Prepare"/> is for decode time, <see cref="Execute"/>
/// for each execution. The engine computes the linear address of the memory operand with segment limit checks over
/// <see cref="PreparedHostInstruction.MemorySize"/> bytes; everything from the page tables on happens here. FIP and FDP are
/// kept in bytes 8-23 of the XSAVE area in the form of FXSAVE64 when last set by 64-bit code and with selectors otherwise.
/// </remarks>
public sealed unsafe partial class HostInstructionExecutor : IDisposable
{
    private const int FullCount = 1 << 16;
    private readonly VirtualCpu _cpu;
    private readonly CpuState* _state;
    private readonly HostInstructionCompiler _compiler;
    private readonly Dictionary<InstructionKey, int> _ids = [];
    private readonly byte* _xmm;
    private readonly byte* _ymm;
    private readonly byte* _buffer;
    private readonly byte* _work;
    private byte* _allocation;
    private PreparedHostInstruction[] _prepared = new PreparedHostInstruction[256];
    private int _count;

    /// <summary>Creates the executor of a vCPU.</summary>
    /// <param name="cpu">The vCPU; its state must be 64-byte aligned.</param>
    public HostInstructionExecutor(VirtualCpu cpu)
    {
        _cpu = cpu;
        _state = cpu.State;
        _compiler = new HostInstructionCompiler(_state);
        _xmm = _state->Xmm(0);
        _ymm = _state->YmmHigh(0);
        _allocation = (byte*)NativeMemory.AlignedAlloc(1024, 64);
        NativeMemory.Clear(_allocation, 1024);
        _buffer = _allocation;
        _work = _allocation + 512;
    }

    /// <summary>Bytes of host code compiled so far.</summary>
    public long HostCodeSize => _compiler.CodeSize;

    /// <summary>
    /// True when so many different instructions were prepared that an engine should drop its decoded code and call
    /// <see cref="Clear"/>. Only a hostile guest gets here; everything still works, at the cost of memory.
    /// </summary>
    public bool IsFull => _count >= FullCount;

    /// <summary>A prepared instruction by its id.</summary>
    public PreparedHostInstruction this[int id] => _prepared[id];

    /// <summary>True for an instruction that belongs here, whether or not the guest's model offers it.</summary>
    public static bool Handles(in Instruction instruction) => HostInstructionClassifier.Handles(instruction);

    /// <summary>Prepares an instruction for which <see cref="Handles"/> is true, or finds an equal one.</summary>
    /// <returns>An id for <see cref="Execute"/>, valid until <see cref="Clear"/>.</returns>
    public int Prepare(in Instruction instruction)
    {
        var key = InstructionKey.Of(instruction);
        if (_ids.TryGetValue(key, out int id))
            return id;
        var prepared = new PreparedHostInstruction { Instruction = instruction };
        HostInstructionClassifier.Classify(prepared);
        if (prepared.Kind is >= HostInstructionKind.Stub and <= HostInstructionKind.X87Store)
            _compiler.Compile(prepared);
        if (_count == _prepared.Length)
            Array.Resize(ref _prepared, _count * 2);
        _prepared[_count] = prepared;
        _ids.Add(key, _count);
        return _count++;
    }

    /// <summary>Forgets every prepared instruction; ids handed out before are no longer valid.</summary>
    public void Clear()
    {
        _ids.Clear();
        Array.Clear(_prepared);
        _count = 0;
        _compiler.Clear();
    }

    /// <summary>
    /// Executes a prepared instruction. RIP is not advanced. Throws the <see cref="GuestFault"/> that hardware would
    /// raise, with the state as it was before.
    /// </summary>
    /// <param name="id">From <see cref="Prepare"/>.</param>
    /// <param name="address">Linear address of the memory operand; ignored without one and for gathers.</param>
    public void Execute(int id, ulong address)
    {
        PreparedHostInstruction p = _prepared[id];
        CpuState* s = _state;
        if (((s->Cr0 & p.ForbiddenCr0) | (~s->Cr0 & p.RequiredCr0) | (~s->Cr4 & p.RequiredCr4) | (~s->Xcr0 & p.RequiredXcr0) | (s->FlagSystem & p.ForbiddenFlags)) != 0)
            ThrowUnavailable(p);
        switch (p.Kind)
        {
            case HostInstructionKind.Stub:
                RunStub(p, null);
                break;
            case HostInstructionKind.StubLoad:
                RunStub(p, ReadOperand(p, address));
                break;
            case HostInstructionKind.StubStore:
                RunStubStore(p, address);
                break;
            case HostInstructionKind.Move128:
                SetVector(p, p.Register0, Unsafe.Read<Vector16>(_xmm + (16 * p.Register1)));
                break;
            case HostInstructionKind.Load128:
                SetVector(p, p.Register0, Unsafe.ReadUnaligned<Vector16>(ReadOperand(p, address)));
                break;
            case HostInstructionKind.Store128:
                Store128(p, address);
                break;
            case HostInstructionKind.Zero:
                SetVector(p, p.Register0, default);
                break;
            case HostInstructionKind.Load64:
                SetVector(p, p.Register0, new Vector16(_cpu.Linear.Read<ulong>(address, p.IsStack), 0));
                break;
            case HostInstructionKind.Load32:
                SetVector(p, p.Register0, new Vector16(_cpu.Linear.Read<uint>(address, p.IsStack), 0));
                break;
            case HostInstructionKind.Store64:
                _cpu.Linear.Write(address, *(ulong*)(_xmm + (16 * p.Register1)), p.IsStack);
                break;
            case HostInstructionKind.Store32:
                _cpu.Linear.Write(address, *(uint*)(_xmm + (16 * p.Register1)), p.IsStack);
                break;
            default:
                ExecuteSpecial(p, address);
                break;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_allocation == null)
            return;
        _compiler.Dispose();
        NativeMemory.AlignedFree(_allocation);
        _allocation = null;
    }

    private void ExecuteSpecial(PreparedHostInstruction p, ulong address)
    {
        switch (p.Kind)
        {
            case HostInstructionKind.X87 or HostInstructionKind.X87Load or HostInstructionKind.X87Store:
                RunX87(p, address);
                break;
            case HostInstructionKind.Move256:
                Unsafe.CopyBlock(_xmm + (16 * p.Register0), _xmm + (16 * p.Register1), 16);
                Unsafe.CopyBlock(_ymm + (16 * p.Register0), _ymm + (16 * p.Register1), 16);
                break;
            case HostInstructionKind.Load256:
                byte* source = ReadOperand(p, address);
                Unsafe.CopyBlockUnaligned(_xmm + (16 * p.Register0), source, 16);
                Unsafe.CopyBlockUnaligned(_ymm + (16 * p.Register0), source + 16, 16);
                break;
            case HostInstructionKind.Store256:
                CheckAlignment(p, address);
                Unsafe.CopyBlock(_buffer, _xmm + (16 * p.Register1), 16);
                Unsafe.CopyBlock(_buffer + 16, _ymm + (16 * p.Register1), 16);
                WriteBuffer(address, 32, p.IsStack);
                break;
            case HostInstructionKind.StoreGpr:
                if (p.MemorySize == 8)
                    _cpu.Linear.Write(address, _state->Gpr[p.Register1], p.IsStack);
                else
                    _cpu.Linear.Write(address, (uint)_state->Gpr[p.Register1], p.IsStack);
                break;
            case HostInstructionKind.NoOperation:
                break;
            case HostInstructionKind.Fence:
                Interlocked.MemoryBarrier();
                break;
            case HostInstructionKind.CacheLine:
                CheckReadable(address, p.IsStack);
                break;
            case HostInstructionKind.LoadMxcsr:
                LoadMxcsr(_cpu.Linear.Read<uint>(address, p.IsStack));
                break;
            case HostInstructionKind.StoreMxcsr:
                _cpu.Linear.Write(address, _state->Mxcsr, p.IsStack);
                break;
            case HostInstructionKind.ZeroUpper:
                NativeMemory.Clear(_ymm, _state->Is64Bit ? 256u : 128u);
                break;
            case HostInstructionKind.ZeroAll:
                NativeMemory.Clear(_xmm, _state->Is64Bit ? 256u : 128u);
                NativeMemory.Clear(_ymm, _state->Is64Bit ? 256u : 128u);
                break;
            case HostInstructionKind.MaskedBytes:
                StoreMaskedBytes(p, address);
                break;
            case HostInstructionKind.MaskedLoad:
                LoadMasked(p, address);
                break;
            case HostInstructionKind.MaskedStore:
                StoreMasked(p, address);
                break;
            case HostInstructionKind.Gather:
                Gather(p);
                break;
            default:
                ExecuteX87Control(p, address);
                break;
        }
    }

    private void RunStub(PreparedHostInstruction p, byte* operand)
    {
        ulong flags = p.ReadsFlags ? (_state->Flags & CpuFlags.Status) | CpuFlags.Fixed | CpuFlags.If : 0;
        ulong control = p.UsesMxcsr ? RunningMxcsr() : 0;
        ulong result = p.Code(_state, operand, flags, (byte*)control);
        if ((result & HostInstructionCompiler.Unmasked) != 0)
            ThrowSimd((uint)(result >> 32) & 0x3F);
        if (p.WritesFlags)
            _state->StatusFlags = result;
    }

    private void RunStubStore(PreparedHostInstruction p, ulong address)
    {
        CheckAlignment(p, address);
        byte* direct = p.UsesMxcsr ? null : TryWritePointer(address, p.MemorySize);
        if (direct != null)
        {
            RunStub(p, direct);
            return;
        }

        // A stub that stores changes no register, so a fault of the write leaves nothing behind but MXCSR flags.
        if (p.UsesMxcsr)
            _cpu.Linear.ProbeWrite(address, p.MemorySize, p.IsStack);
        RunStub(p, _buffer);
        WriteBuffer(address, p.MemorySize, p.IsStack);
    }

    // All exceptions masked and no flag set, so that the flags show what this instruction raised. A masked underflow is
    // not flagged when the result is exact but an unmasked one is: flushing to zero makes hardware flag every tiny result,
    // and no such result is kept then (Intel SDM vol. 1, 4.9.1.5 and 11.5.2.4).
    private ulong RunningMxcsr()
    {
        uint mxcsr = _state->Mxcsr;
        return (mxcsr & 0xFFC0) | 0x1F80 | ((~mxcsr & 0x800) << 4);
    }

    // Pre-computation exceptions keep the others from being detected (Intel SDM vol. 1, 11.5.3).
    private void ThrowSimd(uint raised)
    {
        uint unmasked = raised & ~(_state->Mxcsr >> 7) & 0x3F;
        _state->Mxcsr |= (unmasked & 7) != 0 ? raised & 7 : raised;
        throw (_state->Cr4 & Cr4.Osxmmexcpt) != 0 ? _cpu.Fault(ExceptionVector.Simd) : _cpu.InvalidOpcode();
    }

    private void LoadMxcsr(uint value)
    {
        if ((value & 0xFFFF0000) != 0)
            throw _cpu.GeneralProtection();
        _state->Mxcsr = value;
    }

    private void ThrowUnavailable(PreparedHostInstruction p)
    {
        CpuState* s = _state;
        bool isInvalid = ((~s->Cr0 & p.RequiredCr0) | (~s->Cr4 & p.RequiredCr4) | (~s->Xcr0 & p.RequiredXcr0) | (s->FlagSystem & p.ForbiddenFlags)) != 0
            || (p.EmulationIsInvalid && (s->Cr0 & Cr0.Em) != 0);
        throw isInvalid ? _cpu.InvalidOpcode() : _cpu.Fault(ExceptionVector.DeviceNotAvailable);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void SetVector(PreparedHostInstruction p, int register, Vector16 value)
    {
        *(Vector16*)(_xmm + (16 * register)) = value;
        if (p.IsVex)
            *(Vector16*)(_ymm + (16 * register)) = default;
    }

    private void Store128(PreparedHostInstruction p, ulong address)
    {
        CheckAlignment(p, address);
        byte* direct = TryWritePointer(address, 16);
        byte* source = _xmm + (16 * p.Register1);
        if (direct != null)
        {
            Unsafe.CopyBlockUnaligned(direct, source, 16);
            return;
        }

        Unsafe.CopyBlock(_buffer, source, 16);
        WriteBuffer(address, 16, p.IsStack);
    }
}
