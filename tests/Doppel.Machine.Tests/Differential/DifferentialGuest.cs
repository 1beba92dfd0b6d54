using System.Runtime.InteropServices;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Tests.HostInstructions;

namespace Doppel.Machine.Tests.Differential;

/// <summary>
/// The system under test: user code in 64-bit mode on an engine. The oracle's memory has a copy at the same linear address,
/// on pages that are not contiguous. Exceptions go to a HLT of their own on a separate stack.
/// </summary>
internal sealed unsafe class DifferentialGuest : IDisposable
{
    private const byte Hlt = 0xF4;
    private const ulong Code = 8 << 20;
    private const ulong CodeSize = 1 << 20;
    private const ulong Gdt = 0x8000;
    private const ulong Tss = 0x8800;
    private const ulong Idt = 0x9000;
    private const ulong Handlers = 0xA000;
    private const ulong FaultStack = 0xC000;
    private const ulong OracleTables = 0x10000;
    private const ulong OraclePages = 0x20000;
    private const ulong PageTables = 0x1000;
    private readonly LongModeGuest _guest = new();
    private readonly ulong _oracleAddress;
    private ulong _codeOffset;
    private uint _runs;

    internal DifferentialGuest(ulong oracleAddress)
    {
        _oracleAddress = oracleAddress;
        MapOracleMemory();
        MakeUserAccessible();
        ulong* gdt = (ulong*)(_guest.Ram + Gdt);
        gdt[1] = 0x00AF9B000000FFFF;
        gdt[2] = 0x00CF93000000FFFF;
        *(ulong*)(_guest.Ram + Tss + 0x24) = FaultStack;
        for (uint vector = 0; vector < 32; vector++)
        {
            ulong handler = Handlers + (16 * vector);
            ulong* gate = (ulong*)(_guest.Ram + Idt + (16 * vector));
            gate[0] = (handler & 0xFFFF) | (8UL << 16) | (1UL << 32) | (0x8EUL << 40);
            gate[1] = 0;
            _guest.Ram[handler] = Hlt;
        }

        Engine = new Interpreter(_guest.Cpu);
    }

    internal IExecutionEngine Engine { get; }

    internal CpuState* State => _guest.State;

    internal byte* Ram => _guest.Ram;

    /// <summary>
    /// Executes one instruction: by a budget of one (again and again for a repeated one), and every other time by running
    /// into the HLT after it, which user code may not execute.
    /// </summary>
    /// <param name="code">Its bytes.</param>
    /// <param name="registers">In and out.</param>
    /// <param name="window">Memory at an offset of the oracle's memory, in and out.</param>
    /// <param name="windowStart">That offset.</param>
    /// <param name="extended">The XSAVE area, in and out, or empty.</param>
    /// <returns>RIP after it, relative to its own address, and the vector of an exception that it raised or -1.</returns>
    internal (long Advance, int Vector) Run(ReadOnlySpan<byte> code, ref OracleRegisters registers, Span<byte> window, int windowStart, Span<byte> extended = default)
    {
        _codeOffset = (_codeOffset + 29) % (CodeSize - 64);
        ulong address = Code + _codeOffset;
        Span<byte> bytes = stackalloc byte[32];
        bytes.Fill(Hlt);
        code.CopyTo(bytes);
        Assert.True(_guest.Cpu.Physical.Memory.TryWrite(address, bytes));
        CopyWindow(window, windowStart, toGuest: true);
        SetUserState(address);
        for (int i = 0; i < 16; i++)
            State->Gpr[i] = registers.Gpr[i];
        State->Flags = registers.Flags;
        var area = new Span<byte>(State->XsaveArea, extended.Length);
        extended.CopyTo(area);
        bool isFree = (++_runs & 1) == 0;
        ExitReason reason = Engine.Run(isFree ? 10_000u : 1);
        for (int i = 0; i < 1000 && State->Cpl == 3 && State->Rip == address; i++)
            reason = Engine.Run(1);
        CopyWindow(window, windowStart, toGuest: false);
        area.CopyTo(extended);
        for (int i = 0; i < 16; i++)
            registers.Gpr[i] = State->Gpr[i];
        registers.Flags = State->Flags;
        if (State->Cpl == 3)
        {
            Assert.Equal(ExitReason.Budget, reason);
            return ((long)(State->Rip - address), -1);
        }

        int vector = (int)((State->Rip - Handlers) / 16);
        ulong* frame = (ulong*)(_guest.Ram + FaultStack - 40);
        registers.Gpr[4] = frame[3];
        registers.Flags = frame[2] & ~CpuFlags.Rf;
        long advance = (long)(frame[0] - address);
        return (advance, isFree && advance > 0 && vector == (int)ExceptionVector.GeneralProtection ? -1 : vector);
    }

    public void Dispose()
    {
        Engine.Dispose();
        _guest.Dispose();
    }

    private void SetUserState(ulong address)
    {
        const SegmentAttributes Common = SegmentAttributes.Present | SegmentAttributes.CodeOrData | SegmentAttributes.WritableOrReadable
            | SegmentAttributes.Accessed | SegmentAttributes.Granularity | SegmentAttributes.DplMask;
        CpuState* s = State;
        var data = new SegmentRegister { Selector = 0x2B, Limit = uint.MaxValue, Attributes = Common | SegmentAttributes.Big };
        s->Es = s->Ss = s->Ds = s->Fs = s->Gs = data;
        s->Cs = new SegmentRegister { Selector = 0x33, Limit = uint.MaxValue, Attributes = Common | SegmentAttributes.Code | SegmentAttributes.Long };
        s->Gdtr = new DescriptorTableRegister { Base = Gdt, Limit = 0x3F };
        s->Idtr = new DescriptorTableRegister { Base = Idt, Limit = 0x1FF };
        s->Tr = new SegmentRegister { Selector = 0x18, Base = Tss, Limit = 0x67, Attributes = SegmentAttributes.Present | (SegmentAttributes)11 };
        s->Cpl = 3;
        s->Rip = address;
        s->Shadow = InterruptShadow.None;
        s->Activity = ActivityState.Running;
        _guest.Cpu.ModeChanged();
    }

    private void CopyWindow(Span<byte> window, int start, bool toGuest)
    {
        for (int done = 0; done < window.Length;)
        {
            int chunk = Math.Min(window.Length - done, 4096 - ((start + done) & 0xFFF));
            Span<byte> part = window.Slice(done, chunk);
            var target = new Span<byte>(_guest.Ram + PhysicalPage((start + done) >> 12) + ((start + done) & 0xFFF), chunk);
            if (toGuest)
                part.CopyTo(target);
            else
                target.CopyTo(part);
            done += chunk;
        }
    }

    // In reverse order, so that an access that runs over a page end must translate twice.
    private static ulong PhysicalPage(int page) => OraclePages + (4096 * (ulong)((HostOracle.MemorySize >> 12) - 1 - page));

    private void MapOracleMemory()
    {
        ulong* pml4 = (ulong*)(_guest.Ram + PageTables);
        ulong* tables = (ulong*)(_guest.Ram + OracleTables);
        pml4[(_oracleAddress >> 39) & 511] = OracleTables | 7;
        // The memory may lie across two large pages or, hardly ever, across two gigabytes.
        for (int page = 0; page < HostOracle.MemorySize >> 12; page++)
        {
            ulong address = _oracleAddress + (4096 * (ulong)page);
            bool isSecondDirectory = address >> 30 != _oracleAddress >> 30;
            bool isSecondTable = address >> 21 != _oracleAddress >> 21;
            int directory = isSecondDirectory ? 2 : 1;
            int table = isSecondTable ? 4 : 3;
            Assert.Equal(_oracleAddress >> 39, address >> 39);
            tables[(address >> 30) & 511] = (OracleTables + (4096 * (ulong)directory)) | 7;
            tables[(512 * directory) + (int)((address >> 21) & 511)] = (OracleTables + (4096 * (ulong)table)) | 7;
            tables[(512 * table) + (int)((address >> 12) & 511)] = PhysicalPage(page) | 7;
        }
    }

    private void MakeUserAccessible()
    {
        foreach (ref ulong entry in MemoryMarshal.Cast<byte, ulong>(new Span<byte>(_guest.Ram + PageTables, 0x4000)))
        {
            if ((entry & 1) != 0)
                entry |= 4;
        }

        _guest.Cpu.Tlb.FlushAll();
    }
}
