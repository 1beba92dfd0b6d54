using Doppel.Machine.Cpu.Interpreter.Handlers;
using Iced.Intel;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>System instructions.</summary>
internal sealed unsafe partial class OpBuilder
{
    /// <summary>The register offset that stands for "the operand is in memory".</summary>
    internal static ushort NoRegister => ZeroOffset;

    private static bool SelectSystem(in Instruction instruction, DecodedOp* op, bool is64) =>
        SelectFlags(instruction, op) || SelectSegments(instruction, op) || SelectRegisters(instruction, op, is64) || SelectExtendedState(instruction, op);

    private static bool SelectFlags(in Instruction instruction, DecodedOp* op)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Nop or Mnemonic.Endbr64 or Mnemonic.Endbr32:
            case Mnemonic.Reservednop:
                op->Handler = &MoveHandlers.Nop;
                return true;
            case Mnemonic.Pause:
                op->Handler = &SystemHandlers.Pause;
                return true;
            case Mnemonic.Clc:
                op->Handler = &SystemHandlers.Clc;
                return true;
            case Mnemonic.Stc:
                op->Handler = &SystemHandlers.Stc;
                return true;
            case Mnemonic.Cmc:
                op->Handler = &SystemHandlers.Cmc;
                return true;
            case Mnemonic.Cld:
                op->Handler = &SystemHandlers.Cld;
                return true;
            case Mnemonic.Std:
                op->Handler = &SystemHandlers.Std;
                return true;
            case Mnemonic.Lahf:
                op->Handler = &SystemHandlers.Lahf;
                return true;
            case Mnemonic.Sahf:
                op->Handler = &SystemHandlers.Sahf;
                return true;
            case Mnemonic.Salc:
                op->Handler = &SystemHandlers.Salc;
                return true;
            case Mnemonic.Cli:
                op->Handler = &SystemHandlers.Cli;
                return true;
            case Mnemonic.Sti:
                op->Handler = &SystemHandlers.Sti;
                return true;
            case Mnemonic.Stac:
                op->Handler = &SystemHandlers.Stac;
                return true;
            case Mnemonic.Clac:
                op->Handler = &SystemHandlers.Clac;
                return true;
            case Mnemonic.Hlt:
                op->Handler = &SystemHandlers.Hlt;
                return true;
            case Mnemonic.In:
                op->OperandSize = (byte)instruction.Op0Register.GetSize();
                op->Extra = instruction.Op1Kind == OpKind.Register ? 1 : 0;
                op->Handler = &SystemHandlers.In;
                return true;
            case Mnemonic.Out:
                op->OperandSize = (byte)instruction.Op1Register.GetSize();
                op->Extra = instruction.Op0Kind == OpKind.Register ? 1 : 0;
                op->Handler = &SystemHandlers.Out;
                return true;
            default:
                return false;
        }
    }

    private static bool SelectSegments(in Instruction instruction, DecodedOp* op)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Les or Mnemonic.Lds or Mnemonic.Lss or Mnemonic.Lfs or Mnemonic.Lgs:
                op->OperandSize = (byte)instruction.Op0Register.GetSize();
                op->Extra = (int)(instruction.Mnemonic switch
                {
                    Mnemonic.Les => Segment.Es,
                    Mnemonic.Lds => Segment.Ds,
                    Mnemonic.Lss => Segment.Ss,
                    Mnemonic.Lfs => Segment.Fs,
                    _ => Segment.Gs,
                });
                op->Handler = &SegmentHandlers.LoadFarPointer;
                return true;
            case Mnemonic.Lgdt:
                op->OperandSize = TableSize(instruction);
                op->Handler = &SegmentHandlers.Lgdt;
                return true;
            case Mnemonic.Lidt:
                op->OperandSize = TableSize(instruction);
                op->Handler = &SegmentHandlers.Lidt;
                return true;
            case Mnemonic.Sgdt:
                op->Handler = &SegmentHandlers.Sgdt;
                return true;
            case Mnemonic.Sidt:
                op->Handler = &SegmentHandlers.Sidt;
                return true;
            case Mnemonic.Lldt:
                op->Handler = &SegmentHandlers.Lldt;
                return true;
            case Mnemonic.Ltr:
                op->Handler = &SegmentHandlers.Ltr;
                return true;
            case Mnemonic.Sldt:
                op->Handler = &SegmentHandlers.Sldt;
                return true;
            case Mnemonic.Str:
                op->Handler = &SegmentHandlers.Str;
                return true;
            case Mnemonic.Smsw:
                op->Handler = &SegmentHandlers.Smsw;
                return true;
            case Mnemonic.Lar:
                op->Handler = &SegmentHandlers.Lar;
                return true;
            case Mnemonic.Lsl:
                op->Handler = &SegmentHandlers.Lsl;
                return true;
            case Mnemonic.Verr:
                op->Handler = &SegmentHandlers.Verr;
                return true;
            case Mnemonic.Verw:
                op->Handler = &SegmentHandlers.Verw;
                return true;
            case Mnemonic.Arpl:
                op->Handler = &SegmentHandlers.Arpl;
                return true;
            case Mnemonic.Bound:
                op->OperandSize = (byte)instruction.Op0Register.GetSize();
                op->Handler = &SystemHandlers.Bound;
                return true;
            default:
                return false;
        }
    }

    private static byte TableSize(in Instruction instruction) => instruction.Code switch
    {
        Code.Lgdt_m1632_16 or Code.Lidt_m1632_16 => 2,
        Code.Lgdt_m1664 or Code.Lidt_m1664 => 8,
        _ => 4,
    };

    private static bool SelectRegisters(in Instruction instruction, DecodedOp* op, bool is64)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Mov:
                return SelectMovSystem(instruction, op);
            case Mnemonic.Cpuid:
                op->Handler = &SystemHandlers.CpuId;
                return true;
            case Mnemonic.Rdtsc:
                op->Handler = &SystemHandlers.Rdtsc;
                return true;
            case Mnemonic.Rdtscp:
                op->Handler = &SystemHandlers.Rdtscp;
                return true;
            case Mnemonic.Rdmsr:
                op->Handler = &SystemHandlers.Rdmsr;
                return true;
            case Mnemonic.Wrmsr:
                op->Handler = &SystemHandlers.Wrmsr;
                return true;
            case Mnemonic.Rdpmc:
                op->Handler = &SystemHandlers.Rdpmc;
                return true;
            case Mnemonic.Lmsw:
                op->Handler = &SystemHandlers.Lmsw;
                return true;
            case Mnemonic.Clts:
                op->Handler = &SystemHandlers.Clts;
                return true;
            case Mnemonic.Invlpg:
                op->Handler = &SystemHandlers.Invlpg;
                return true;
            case Mnemonic.Invpcid:
                op->Handler = &SystemHandlers.Invpcid;
                return true;
            case Mnemonic.Invd:
            case Mnemonic.Wbinvd:
            case Mnemonic.Wbnoinvd:
                op->Handler = &SystemHandlers.Wbinvd;
                return true;
            case Mnemonic.Syscall:
                op->Handler = &SystemHandlers.Syscall;
                return true;
            case Mnemonic.Sysret:
            case Mnemonic.Sysretq:
                op->OperandSize = instruction.Mnemonic == Mnemonic.Sysretq ? (byte)8 : (byte)4;
                op->Handler = &SystemHandlers.Sysret;
                return true;
            case Mnemonic.Sysenter:
                op->Handler = &SystemHandlers.Sysenter;
                return true;
            case Mnemonic.Sysexit:
            case Mnemonic.Sysexitq:
                op->OperandSize = instruction.Mnemonic == Mnemonic.Sysexitq ? (byte)8 : (byte)4;
                op->Handler = &SystemHandlers.Sysexit;
                return true;
            case Mnemonic.Swapgs:
                op->Handler = &SystemHandlers.Swapgs;
                return true;
            case Mnemonic.Rdfsbase or Mnemonic.Rdgsbase or Mnemonic.Wrfsbase or Mnemonic.Wrgsbase:
                op->Extra = (instruction.Mnemonic is Mnemonic.Rdgsbase or Mnemonic.Wrgsbase ? 1 : 0) | (instruction.Mnemonic is Mnemonic.Wrfsbase or Mnemonic.Wrgsbase ? 2 : 0);
                op->Handler = &SystemHandlers.SegmentBase;
                return is64;
            case Mnemonic.Rdpid:
                op->Handler = &SystemHandlers.Rdpid;
                return true;
            case Mnemonic.Rdrand:
            case Mnemonic.Rdseed:
                op->Handler = &SystemHandlers.Random;
                return true;
            case Mnemonic.Xgetbv:
                op->Handler = &SystemHandlers.Xgetbv;
                return true;
            case Mnemonic.Xsetbv:
                op->Handler = &SystemHandlers.Xsetbv;
                return true;
            default:
                return false;
        }
    }

    private static bool SelectMovSystem(in Instruction instruction, DecodedOp* op)
    {
        Register to = instruction.Op0Register;
        Register from = instruction.Op1Register;
        if (to.IsCR())
        {
            op->Extra = to - Register.CR0;
            op->Handler = &SystemHandlers.WriteControl;
        }
        else if (from.IsCR())
        {
            op->Extra = from - Register.CR0;
            op->Handler = &SystemHandlers.ReadControl;
        }
        else if (to.IsDR())
        {
            op->Extra = to - Register.DR0;
            op->Handler = &SystemHandlers.WriteDebug;
        }
        else if (from.IsDR())
        {
            op->Extra = from - Register.DR0;
            op->Handler = &SystemHandlers.ReadDebug;
        }
        else
        {
            return false;
        }

        return true;
    }

    private static bool SelectExtendedState(in Instruction instruction, DecodedOp* op)
    {
        (ExtendedStateOperation Operation, bool Wide)? match = instruction.Mnemonic switch
        {
            Mnemonic.Fxsave => (ExtendedStateOperation.Fxsave, false),
            Mnemonic.Fxsave64 => (ExtendedStateOperation.Fxsave, true),
            Mnemonic.Fxrstor => (ExtendedStateOperation.Fxrstor, false),
            Mnemonic.Fxrstor64 => (ExtendedStateOperation.Fxrstor, true),
            Mnemonic.Xsave => (ExtendedStateOperation.Xsave, false),
            Mnemonic.Xsave64 => (ExtendedStateOperation.Xsave, true),
            Mnemonic.Xsaveopt => (ExtendedStateOperation.Xsaveopt, false),
            Mnemonic.Xsaveopt64 => (ExtendedStateOperation.Xsaveopt, true),
            Mnemonic.Xsavec => (ExtendedStateOperation.Xsavec, false),
            Mnemonic.Xsavec64 => (ExtendedStateOperation.Xsavec, true),
            Mnemonic.Xsaves => (ExtendedStateOperation.Xsaves, false),
            Mnemonic.Xsaves64 => (ExtendedStateOperation.Xsaves, true),
            Mnemonic.Xrstor => (ExtendedStateOperation.Xrstor, false),
            Mnemonic.Xrstor64 => (ExtendedStateOperation.Xrstor, true),
            Mnemonic.Xrstors => (ExtendedStateOperation.Xrstors, false),
            Mnemonic.Xrstors64 => (ExtendedStateOperation.Xrstors, true),
            _ => null,
        };
        if (match is not { } found)
            return false;
        op->Extra = (int)found.Operation;
        op->OperandSize = found.Wide ? (byte)8 : (byte)4;
        op->Handler = &SystemHandlers.ExtendedState;
        return true;
    }
}
