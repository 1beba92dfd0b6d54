using Doppel.Machine.Cpu.HostInstructions;
using Doppel.Machine.Cpu.Interpreter.Handlers;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>
/// Turns a decoded instruction into an operation: its operands into offsets and constants, its mnemonic and widths into a
/// handler.
/// </summary>
internal sealed unsafe partial class OpBuilder
{
    private readonly VirtualCpu _cpu;
    private readonly HostInstructionExecutor _host;

    internal OpBuilder(VirtualCpu cpu, HostInstructionExecutor host)
    {
        _cpu = cpu;
        _host = host;
    }

    /// <summary>Byte offset of a general register in the state.</summary>
    internal static ushort OffsetOf(Register register)
    {
        if (register is >= Register.AH and <= Register.BH)
            return (ushort)(((register - Register.AH) * 8) + 1);
        return register.IsGPR() ? (ushort)((register.GetFullRegister() - Register.RAX) * 8) : ZeroOffset;
    }

    /// <summary>Builds the operation; returns true when nothing after it may belong to the same block.</summary>
    internal bool Build(in Instruction instruction, DecodedOp* op, CodeMode mode, DecoderError error)
    {
        op->Length = (byte)instruction.Length;
        bool is64 = mode == CodeMode.Code64;
        if (instruction.IsInvalid)
        {
            op->Length = 1;
            op->Handler = error == DecoderError.NoMoreBytes ? &SystemHandlers.TooLong : &SystemHandlers.Undefined;
            return true;
        }

        if (!_cpu.Model.Allows(instruction))
        {
            op->Handler = &SystemHandlers.Undefined;
            return true;
        }

        BuildMemory(instruction, op, mode);
        BuildRegisters(instruction, op);
        BuildImmediate(instruction, op);
        op->OperandSize = (byte)OperandSize(instruction);
        op->AddressSize = (byte)AddressSize(instruction, mode);
        if (SelectInteger(instruction, op, is64) || SelectControl(instruction, op, is64) || SelectSystem(instruction, op, is64))
            return Ends(instruction);
        if (HostInstructionExecutor.Handles(instruction))
        {
            op->Extra = _host.Prepare(instruction);
            op->Handler = &SystemHandlers.OnHost;
            return false;
        }

        op->Handler = &SystemHandlers.Undefined;
        return true;
    }

    private static readonly ushort ZeroOffset = FieldOffset(nameof(CpuState.Zero));
    private static readonly ushort CodePageOffset = FieldOffset(nameof(CpuState.CodePage));
    private static readonly ushort FsBaseOffset = FieldOffset(nameof(CpuState.Fs));
    private static readonly ushort GsBaseOffset = FieldOffset(nameof(CpuState.Gs));

    private static ushort FieldOffset(string name)
    {
        CpuState state;
        CpuState* s = &state;
        void* field = name switch
        {
            nameof(CpuState.Zero) => &s->Zero,
            nameof(CpuState.CodePage) => &s->CodePage,
            nameof(CpuState.Fs) => &s->Fs.Base,
            _ => &s->Gs.Base,
        };
        return (ushort)((byte*)field - (byte*)s);
    }

    private static bool Ends(in Instruction instruction) => instruction.FlowControl switch
    {
        FlowControl.Next => EndsBlock(instruction.Mnemonic) || (instruction.Mnemonic == Mnemonic.Mov && IsSystemRegister(instruction.Op0Register)),
        FlowControl.ConditionalBranch => false,
        _ => true,
    };

    // What can change how the following bytes are fetched or decoded, or must be followed by a look at pending events.
    private static bool EndsBlock(Mnemonic mnemonic) => mnemonic is
        Mnemonic.Hlt or Mnemonic.Wrmsr or Mnemonic.Invlpg or Mnemonic.Invpcid or Mnemonic.Lmsw or Mnemonic.Clts or
        Mnemonic.Xsetbv or Mnemonic.Wbinvd or Mnemonic.Invd or Mnemonic.Lgdt or Mnemonic.Lidt or Mnemonic.Lldt or
        Mnemonic.Ltr or Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq or Mnemonic.Monitor or Mnemonic.Mwait;

    private static void BuildMemory(in Instruction instruction, DecodedOp* op, CodeMode mode)
    {
        op->Base = op->Index = op->SegmentBase = ZeroOffset;
        op->Kind = mode switch
        {
            CodeMode.Code64 => AddressKind.Flat,
            CodeMode.Code16 => AddressKind.Segmented16,
            _ => AddressKind.Segmented32,
        };
        Register segment = Register.DS;
        int memoryOperand = -1;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            OpKind kind = instruction.GetOpKind(i);
            if (kind is OpKind.Memory or (>= OpKind.MemorySegSI and <= OpKind.MemorySegRDI))
            {
                memoryOperand = i;
                break;
            }
        }

        if (memoryOperand >= 0)
            segment = instruction.MemorySegment;
        op->Segment8 = segment switch
        {
            Register.ES => Segment.Es,
            Register.CS => Segment.Cs,
            Register.SS => Segment.Ss,
            Register.FS => Segment.Fs,
            Register.GS => Segment.Gs,
            _ => Segment.Ds,
        };
        if (mode == CodeMode.Code64)
        {
            op->SegmentBase = segment switch
            {
                Register.FS => FsBaseOffset,
                Register.GS => GsBaseOffset,
                _ => ZeroOffset,
            };
        }

        if (memoryOperand < 0)
            return;
        if (instruction.GetOpKind(memoryOperand) is OpKind.MemorySegRDI or OpKind.MemorySegEDI or OpKind.MemorySegDI)
        {
            // Of MASKMOVQ and MASKMOVDQU.
            op->Base = OffsetOf(Register.RDI);
            op->Kind = Kind(mode, AddressSize(instruction, mode));
            return;
        }

        if (instruction.GetOpKind(memoryOperand) != OpKind.Memory)
            return;
        Register @base = instruction.MemoryBase;
        Register index = instruction.MemoryIndex;
        op->Displacement = instruction.MemoryDisplacement64;
        if (@base is Register.RIP or Register.EIP)
        {
            // The decoder ran with the page offset as its address, so this is relative to the page.
            op->Base = CodePageOffset;
            if (@base == Register.EIP)
                op->Kind = AddressKind.Flat32;
            return;
        }

        op->Base = OffsetOf(@base);
        op->Index = index.IsVectorRegister() ? ZeroOffset : OffsetOf(index);
        op->Scale = (byte)(instruction.MemoryIndexScale switch { 2 => 1, 4 => 2, 8 => 3, _ => 0 });
        op->Kind = Kind(mode, AddressWidth(instruction, @base, index, mode));
    }

    private static AddressKind Kind(CodeMode mode, int width) => (mode, width) switch
    {
        (CodeMode.Code64, 8) => AddressKind.Flat,
        (CodeMode.Code64, _) => AddressKind.Flat32,
        (_, 2) => AddressKind.Segmented16,
        _ => AddressKind.Segmented32,
    };

    private static int AddressWidth(in Instruction instruction, Register @base, Register index, CodeMode mode)
    {
        if (@base != Register.None)
            return @base.GetSize();
        if (index != Register.None && !index.IsVectorRegister())
            return index.GetSize();
        return instruction.MemoryDisplSize switch
        {
            8 => 8,
            4 => 4,
            2 => 2,
            _ => mode == CodeMode.Code64 ? 8 : mode == CodeMode.Code16 ? 2 : 4,
        };
    }

    private static void BuildRegisters(in Instruction instruction, DecodedOp* op)
    {
        op->Destination = op->Source = ZeroOffset;
        if (instruction.Op0Kind == OpKind.Register)
            op->Destination = OffsetOf(instruction.Op0Register);
        if (instruction.OpCount > 1 && instruction.Op1Kind == OpKind.Register)
            op->Source = OffsetOf(instruction.Op1Register);
    }

    private static void BuildImmediate(in Instruction instruction, DecodedOp* op)
    {
        for (int i = instruction.OpCount - 1; i >= 0; i--)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.Immediate8:
                case OpKind.Immediate16:
                case OpKind.Immediate32:
                case OpKind.Immediate64:
                case OpKind.Immediate8to16:
                case OpKind.Immediate8to32:
                case OpKind.Immediate8to64:
                case OpKind.Immediate32to64:
                    op->Immediate = instruction.GetImmediate(i);
                    return;
                case OpKind.NearBranch16:
                    op->Immediate = (ulong)(short)(instruction.NearBranch16 - instruction.NextIP);
                    return;
                case OpKind.NearBranch32:
                    op->Immediate = (ulong)(int)(instruction.NearBranch32 - instruction.NextIP);
                    return;
                case OpKind.NearBranch64:
                    op->Immediate = instruction.NearBranch64 - instruction.NextIP;
                    return;
                case OpKind.FarBranch16:
                    op->Immediate = instruction.FarBranch16 | ((ulong)instruction.FarBranchSelector << 32);
                    return;
                case OpKind.FarBranch32:
                    op->Immediate = instruction.FarBranch32 | ((ulong)instruction.FarBranchSelector << 32);
                    return;
            }
        }
    }

    private static int OperandSize(in Instruction instruction)
    {
        // The first operand of OUTS is DX, whose size says nothing.
        if (instruction.IsStringInstruction)
            return instruction.MemorySize.GetSize();
        for (int i = 0; i < Math.Min(instruction.OpCount, 2); i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.Register when instruction.GetOpRegister(i).IsGPR():
                    return instruction.GetOpRegister(i).GetSize();
                case OpKind.Memory:
                    return instruction.MemorySize.GetSize();
                case OpKind.NearBranch16 or OpKind.FarBranch16:
                    return 2;
                case OpKind.NearBranch32 or OpKind.FarBranch32:
                    return 4;
                case OpKind.NearBranch64:
                    return 8;
            }
        }

        return 0;
    }

    private static int AddressSize(in Instruction instruction, CodeMode mode)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.MemorySegSI or OpKind.MemorySegDI or OpKind.MemoryESDI:
                    return 2;
                case OpKind.MemorySegESI or OpKind.MemorySegEDI or OpKind.MemoryESEDI:
                    return 4;
                case OpKind.MemorySegRSI or OpKind.MemorySegRDI or OpKind.MemoryESRDI:
                    return 8;
            }
        }

        return mode switch
        {
            CodeMode.Code64 => 8,
            CodeMode.Code16 => 2,
            _ => 4,
        };
    }
}
