using System.Runtime.CompilerServices;
using Iced.Intel;

namespace Doppel.Machine.Cpu.HostInstructions;

/// <content>
/// x87 and MMX. The guest's x87 state is loaded into the host's FPU with its own control word, so that an unmasked
/// exception has the hardware's effect on registers and status; it stays pending and FXSAVE, which does not wait, takes it
/// out before the host could notice. Intel SDM vol. 1, chapters 8 and 9.
/// </content>
public sealed unsafe partial class HostInstructionExecutor
{
    private const ushort ErrorSummaryAndBusy = 0x8080;

    // Exceptions which, unmasked, keep a store from happening; inexact does not.
    private const int SuppressesStore = 0x1F;

    private void RunX87(PreparedHostInstruction p, ulong address)
    {
        byte* area = _state->XsaveArea;
        bool isIgnored = CheckPendingException();
        if (p.Kind == HostInstructionKind.X87Store)
            CheckAlignment(p, address);
        byte* operand = p.Kind == HostInstructionKind.X87Load ? ReadOperand(p, address) : _buffer;
        Unsafe.CopyBlock(_work, area, 160);
        if (p.IsMmx)
            Unsafe.CopyBlock(_work + 160, area + 160, 256);
        *(uint*)(_work + 24) = (_state->Mxcsr & 0xFFC0) | 0x1F80;
        if (isIgnored)
        {
            *(ushort*)_work |= 0x3F;
            *(ushort*)(_work + 2) &= unchecked((ushort)~ErrorSummaryAndBusy);
        }

        ulong flags = p.ReadsFlags ? (_state->Flags & CpuFlags.Status) | CpuFlags.Fixed | CpuFlags.If : 0;
        ulong result = p.Code(_state, operand, flags, _work);
        ushort status = *(ushort*)(_work + 2);
        if (isIgnored)
            status = Summarize(status, *(ushort*)area);
        if (p.UsesMxcsr)
        {
            uint raised = *(uint*)(_work + 24) & 0x3F;
            if ((raised & ~(_state->Mxcsr >> 7)) != 0)
                ThrowSimd(raised);
            _state->Mxcsr |= raised;
        }

        if (p.Kind == HostInstructionKind.X87Store && (p.IsMmx || (status & ~*(ushort*)area & SuppressesStore) == 0))
            WriteBuffer(address, p.MemorySize, p.IsStack);
        *(ushort*)(area + 2) = status;
        area[4] = _work[4];
        Unsafe.CopyBlock(area + 32, _work + 32, 128);
        for (int i = 0; i < 16 && p.VectorsWritten >> i != 0; i++)
        {
            if ((p.VectorsWritten & (1u << i)) != 0)
                *(Vector16*)(area + 160 + (16 * i)) = *(Vector16*)(_work + 160 + (16 * i));
        }

        if (p.SetsPointers)
            SetPointers(p, area, address);
        if (p.WritesFlags)
            _state->StatusFlags = result;
    }

    // FIP, FDP and FOP of the last non-control instruction.
    private void SetPointers(PreparedHostInstruction p, byte* area, ulong address)
    {
        *(ushort*)(area + 6) = p.Opcode;
        bool is64 = _state->Is64Bit;
        if (is64)
        {
            *(ulong*)(area + 8) = _state->Rip;
        }
        else
        {
            *(uint*)(area + 8) = (uint)_state->Rip;
            *(uint*)(area + 12) = _state->Cs.Selector;
        }

        if (p.MemorySize == 0)
            return;
        Register register = p.Instruction.MemorySegment;
        SegmentRegister* segment = _state->SegmentAt((Segment)(register - Register.ES));
        if (is64)
        {
            *(ulong*)(area + 16) = register is Register.FS or Register.GS ? address - segment->Base : address;
        }
        else
        {
            *(uint*)(area + 16) = (uint)(address - segment->Base);
            *(uint*)(area + 20) = segment->Selector;
        }
    }

    /// <summary>What a waiting instruction does first.</summary>
    /// <returns>True when an exception is pending and ignored, because FERR# was raised instead of #MF.</returns>
    private bool CheckPendingException()
    {
        // Not FSW.ES: a restored state may lack it, and the host would find the exception all the same.
        byte* area = _state->XsaveArea;
        if ((*(ushort*)(area + 2) & ~*(ushort*)area & 0x3F) == 0)
            return false;
        if ((_state->Cr0 & Cr0.Ne) != 0)
            throw _cpu.Fault(ExceptionVector.X87);
        _cpu.RaiseFerr();
        return true;
    }

    private static ushort Summarize(ushort status, ushort control) =>
        (status & ~control & 0x3F) != 0 ? (ushort)(status | ErrorSummaryAndBusy) : (ushort)(status & ~ErrorSummaryAndBusy);

    // Every MMX instruction sets TOP to 0 and marks all registers valid.
    private void EnterMmx()
    {
        byte* area = _state->XsaveArea;
        SetTop(area, 0);
        area[4] = 0xFF;
    }

    // The registers stay where they are, but FXSAVE's order begins with the top of the stack.
    private static void SetTop(byte* area, int top)
    {
        ref ushort status = ref *(ushort*)(area + 2);
        int shift = (top - (status >> 11)) & 7;
        status = (ushort)((status & 0xC7FF) | (top << 11));
        if (shift == 0)
            return;
        Vector16* registers = (Vector16*)(area + 32);
        Vector16* old = stackalloc Vector16[8];
        Unsafe.CopyBlock(old, registers, 128);
        for (int i = 0; i < 8; i++)
            registers[i] = old[(i + shift) & 7];
    }

    /// <summary>An MMX register: a physical one, wherever the top of the stack is.</summary>
    private byte* MmxRegister(int number)
    {
        byte* area = _state->XsaveArea;
        return area + 32 + (16 * ((number - (*(ushort*)(area + 2) >> 11)) & 7));
    }

    private void ExecuteX87Control(PreparedHostInstruction p, ulong address)
    {
        byte* area = _state->XsaveArea;
        ref ushort control = ref *(ushort*)area;
        ref ushort status = ref *(ushort*)(area + 2);
        switch (p.Kind)
        {
            case HostInstructionKind.StoreControlWord:
                _cpu.Linear.Write(address, control, p.IsStack);
                break;
            case HostInstructionKind.StoreStatusWord:
                _cpu.Linear.Write(address, status, p.IsStack);
                break;
            case HostInstructionKind.StatusWordToAx:
                *(ushort*)_state->Gpr = status;
                break;
            case HostInstructionKind.LoadControlWord:
                _ = CheckPendingException();
                control = X87Environment.LegalControl(_cpu.Linear.Read<ushort>(address, p.IsStack));
                status = Summarize(status, control);
                break;
            case HostInstructionKind.InitializeX87:
                InitializeX87(area);
                break;
            case HostInstructionKind.ClearExceptions:
                status &= 0x7F00;
                break;
            case HostInstructionKind.Wait:
                if ((_state->Cr0 & (Cr0.Mp | Cr0.Ts)) == (Cr0.Mp | Cr0.Ts))
                    throw _cpu.Fault(ExceptionVector.DeviceNotAvailable);
                _ = CheckPendingException();
                break;
            case HostInstructionKind.EmptyMmx:
                _ = CheckPendingException();
                EnterMmx();
                area[4] = 0;
                break;
            case HostInstructionKind.StoreEnvironment or HostInstructionKind.SaveX87:
                StoreEnvironment(p, address, area);
                break;
            case HostInstructionKind.LoadEnvironment or HostInstructionKind.RestoreX87:
                _ = CheckPendingException();
                LoadEnvironment(p, address, area);
                break;
        }
    }

    private static void InitializeX87(byte* area)
    {
        SetTop(area, 0);
        *(ushort*)area = 0x37F;
        *(ushort*)(area + 2) = 0;
        area[4] = 0;
        *(ushort*)(area + 6) = 0;
        *(ulong*)(area + 8) = 0;
        *(ulong*)(area + 16) = 0;
    }

    private void StoreEnvironment(PreparedHostInstruction p, ulong address, byte* area)
    {
        bool isSave = p.Kind == HostInstructionKind.SaveX87;
        bool is32 = p.MemorySize is 28 or 108;
        int length = X87Environment.Store(area, _buffer, is32, _state->IsRealMode || _state->IsVirtual8086);
        if (isSave)
        {
            for (int i = 0; i < 8; i++)
                Unsafe.CopyBlockUnaligned(_buffer + length + (10 * i), area + 32 + (16 * i), 10);
        }

        WriteBuffer(address, p.MemorySize, p.IsStack);
        if (isSave)
        {
            InitializeX87(area);
            return;
        }

        *(ushort*)area |= 0x3F;
        *(ushort*)(area + 2) &= unchecked((ushort)~ErrorSummaryAndBusy);
    }

    private void LoadEnvironment(PreparedHostInstruction p, ulong address, byte* area)
    {
        byte* source = ReadOperand(p, address);
        bool is32 = p.MemorySize is 28 or 108;
        SetTop(area, (Unsafe.ReadUnaligned<ushort>(source + (is32 ? 4 : 2)) >> 11) & 7);
        int length = X87Environment.Load(area, source, is32, _state->IsRealMode || _state->IsVirtual8086);
        *(ushort*)(area + 2) = Summarize(*(ushort*)(area + 2), *(ushort*)area);
        if (p.Kind != HostInstructionKind.RestoreX87)
            return;
        for (int i = 0; i < 8; i++)
        {
            *(Vector16*)(area + 32 + (16 * i)) = default;
            Unsafe.CopyBlockUnaligned(area + 32 + (16 * i), source + length + (10 * i), 10);
        }
    }
}
