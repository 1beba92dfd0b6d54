using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.HostInstructions;
using Iced.Intel;

namespace Doppel.Machine.Tests.HostInstructions;

/// <summary>Executes single instructions on a <see cref="LongModeGuest"/>.</summary>
internal sealed unsafe class HostInstructionFixture : IDisposable
{
    internal const ulong Data = 0x400000;

    internal HostInstructionFixture() => Executor = new HostInstructionExecutor(Guest.Cpu);

    internal LongModeGuest Guest { get; } = new();

    internal HostInstructionExecutor Executor { get; }

    internal CpuState* State => Guest.State;

    internal byte* Area => State->XsaveArea;

    internal ref ushort ControlWord => ref *(ushort*)Area;

    internal ref ushort StatusWord => ref *(ushort*)(Area + 2);

    /// <summary>Assembles one instruction and decodes it.</summary>
    internal static Instruction Assemble(Action<Assembler> assemble, int bitness = 64)
    {
        var assembler = new Assembler(bitness);
        assemble(assembler);
        var stream = new MemoryStream();
        _ = assembler.Assemble(new StreamCodeWriter(stream), 0x1000);
        return Decode(Convert.ToHexString(stream.ToArray()), bitness);
    }

    /// <summary>Decodes one instruction.</summary>
    internal static Instruction Decode(string hex, int bitness = 64)
    {
        var decoder = Decoder.Create(bitness, new ByteArrayCodeReader(hex));
        decoder.IP = 0x1000;
        Instruction instruction = decoder.Decode();
        Assert.NotEqual(Code.INVALID, instruction.Code);
        Assert.True(HostInstructionExecutor.Handles(instruction), $"{instruction} is not handled");
        return instruction;
    }

    internal void Run(Action<Assembler> assemble, ulong address = 0) => Run(Assemble(assemble), address);

    internal void Run(in Instruction instruction, ulong address = 0) => Executor.Execute(Executor.Prepare(instruction), address);

    /// <summary>Runs an instruction that must fault; checks that neither registers nor the data page changed.</summary>
    internal (ExceptionVector Vector, uint Error, ulong Address) Fault(Action<Assembler> assemble, ulong address = 0, bool checkExtended = true)
    {
        int id = Executor.Prepare(Assemble(assemble));
        byte[] before = Snapshot(checkExtended);
        GuestFault fault = Assert.Throws<GuestFault>(() => Executor.Execute(id, address));
        Assert.Equal(before, Snapshot(checkExtended));
        return (fault.Vector, fault.ErrorCode, fault.Address);
    }

    internal void SetXmm<T>(int register, Vector128<T> value) => *(Vector128<byte>*)State->Xmm(register) = value.AsByte();

    internal void SetYmm<T>(int register, Vector256<T> value)
    {
        SetXmm(register, value.GetLower());
        *(Vector128<byte>*)State->YmmHigh(register) = value.GetUpper().AsByte();
    }

    internal Vector128<T> Xmm<T>(int register) => (*(Vector128<byte>*)State->Xmm(register)).As<byte, T>();

    internal Vector256<T> Ymm<T>(int register) =>
        Vector256.Create(Xmm<T>(register), (*(Vector128<byte>*)State->YmmHigh(register)).As<byte, T>());

    internal Span<byte> Bytes(ulong address, int length) => new(Guest.Ram + address, length);

    internal Span<T> Memory<T>(ulong address, int count)
        where T : unmanaged => MemoryMarshal.Cast<byte, T>(Bytes(address, count * sizeof(T)));

    public void Dispose()
    {
        Executor.Dispose();
        Guest.Dispose();
    }

    private byte[] Snapshot(bool withExtended)
    {
        var bytes = new List<byte>();
        bytes.AddRange(new ReadOnlySpan<byte>(State->Gpr, 128));
        bytes.AddRange(BitConverter.GetBytes(State->Flags));
        if (withExtended)
            bytes.AddRange(new ReadOnlySpan<byte>(Area, 1024));
        bytes.AddRange(Bytes(LongModeGuest.SmallPages, 0x4000));
        bytes.AddRange(Bytes(Data, 0x1000));
        return [.. bytes];
    }
}
