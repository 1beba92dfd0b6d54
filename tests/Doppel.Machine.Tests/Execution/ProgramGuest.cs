using System.Runtime.CompilerServices;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Tests.System;

namespace Doppel.Machine.Tests.Execution;

/// <summary>
/// Runs programs in ring 0 of 64-bit mode on the interpreter until they halt. Exceptions go to code that a test puts at
/// <see cref="HandlerOf"/>; without it they halt there.
/// </summary>
internal sealed unsafe class ProgramGuest : IDisposable
{
    internal const ulong Code = 0x10000;
    internal const ulong Data = 0x20000;
    internal const ulong StackTop = 0x30000;
    internal const ushort CodeSelector = 0x08;
    internal const ushort DataSelector = 0x10;
    private const byte Hlt = 0xF4;
    private const ulong Gdt = 0x8000;
    private const ulong Idt = 0x9000;
    private const ulong Handlers = 0xA000;
    private readonly TestCpu _test = new TestCpu().InLongMode();
    private readonly Interpreter _engine;

    internal ProgramGuest()
    {
        Write64(Gdt + CodeSelector, 0x00AF9B000000FFFF);
        Write64(Gdt + DataSelector, 0x00CF93000000FFFF);
        State->Gdtr = new DescriptorTableRegister { Base = Gdt, Limit = 0x1F };
        State->Idtr = new DescriptorTableRegister { Base = Idt, Limit = 0x1FF };
        State->Cs.Selector = CodeSelector;
        State->Cs.Base = 0;
        State->Ss.Selector = DataSelector;
        for (int vector = 0; vector < 32; vector++)
        {
            Write64(Idt + (16 * (ulong)vector), HandlerOf(vector) | ((ulong)CodeSelector << 16) | (0x8EUL << 40));
            Write64(Idt + (16 * (ulong)vector) + 8, 0);
            Load(HandlerOf(vector), [Hlt]);
        }

        State->Gpr[4] = StackTop;
        _engine = new Interpreter(Cpu);
    }

    internal VirtualCpu Cpu => _test.Cpu;

    internal CpuState* State => _test.State;

    /// <summary>Address of the handler of an exception; 64 bytes are free there.</summary>
    internal static ulong HandlerOf(int vector) => Handlers + (64 * (ulong)vector);

    internal void Load(ulong address, ReadOnlySpan<byte> code) => Assert.True(_test.Memory.TryWrite(address, code));

    internal void Write64(ulong address, ulong value) => Unsafe.WriteUnaligned(_test.Ram + address, value);

    internal ulong Read64(ulong address) => Unsafe.ReadUnaligned<ulong>(_test.Ram + address);

    /// <summary>Runs code, followed by HLT, until something halts.</summary>
    internal void Run(params ReadOnlySpan<byte> code)
    {
        Load(Code, [.. code, Hlt]);
        State->Rip = Code;
        Assert.Equal(ExitReason.Halt, _engine.Run(100_000));
    }

    /// <summary>Runs what RIP points to until something stops it.</summary>
    internal ExitReason Continue(ulong budget = 100_000) => _engine.Run(budget);

    /// <summary>Drops the decoded code.</summary>
    internal void Forget() => _engine.Forget();

    public void Dispose()
    {
        _engine.Dispose();
        _test.Dispose();
    }
}
