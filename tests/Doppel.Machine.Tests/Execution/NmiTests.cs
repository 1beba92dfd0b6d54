using Doppel.Machine.Cpu;

namespace Doppel.Machine.Tests.Execution;

/// <summary>How many non-maskable interrupts a vCPU keeps (Intel SDM vol. 3, 6.7.1).</summary>
public sealed unsafe class NmiTests : IDisposable
{
    private const ulong Counter = ProgramGuest.Data;
    private readonly ProgramGuest _guest = new();

    public NmiTests()
    {
        // INC qword [Counter]; IRETQ.
        _guest.Load(ProgramGuest.HandlerOf(2), [0x48, 0xFF, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00, 0x48, 0xCF]);
        _guest.Load(ProgramGuest.Code, [0x90, 0x90, 0xF4, 0xF4, 0xF4, 0xF4]);
        _guest.State->Rip = ProgramGuest.Code;
    }

    public void Dispose() => _guest.Dispose();

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 2)]
    [InlineData(3, 2)]
    public void Two_that_come_before_the_first_is_taken_are_both_taken(int signals, ulong taken)
    {
        for (int i = 0; i < signals; i++)
            _guest.Cpu.Signal(PendingEvents.Nmi);
        RunToIdle();
        Assert.Equal(taken, _guest.Read64(Counter));
    }

    [Fact]
    public void Of_those_that_come_while_one_is_handled_one_is_latched()
    {
        _guest.Cpu.Signal(PendingEvents.Nmi);
        // The delivery and the handler's first instruction.
        _ = _guest.Continue(1);
        Assert.True(_guest.State->Shadow.HasFlag(InterruptShadow.NmiBlocked));
        for (int i = 0; i < 3; i++)
            _guest.Cpu.Signal(PendingEvents.Nmi);
        RunToIdle();
        Assert.Equal(2UL, _guest.Read64(Counter));
    }

    private void RunToIdle()
    {
        for (int i = 0; i < 4; i++)
            _ = _guest.Continue();
        Assert.Equal(PendingEvents.None, _guest.Cpu.GetPendingEvents() & (PendingEvents.Nmi | PendingEvents.NextNmi));
    }
}
