using Doppel.Engines.Tests.Guests;
using Doppel.Engines.Translator;
using Doppel.Machine.Cpu;

namespace Doppel.Engines.Tests.Translator;

/// <summary>The word by which emitted code looks at events, which is also the mask of an index.</summary>
public sealed unsafe class EventMaskTests
{
    [Fact]
    public void An_engine_never_starts_with_the_mask_of_the_one_before()
    {
        using var guest = new EngineGuest("interpreter");
        guest.Cpu.Signal(PendingEvents.Kick);
        guest.Cpu.ClearSignal(PendingEvents.Kick);
        Assert.Equal(ulong.MaxValue, guest.Cpu.State->EventMask);
        using var translator = new TranslatorEngine(guest.Cpu);
        Assert.Equal(0UL, guest.Cpu.State->EventMask);
        guest.Cpu.ShowQuiet();
        Assert.Equal(JumpCache.Entries - 1UL, guest.Cpu.State->EventMask);
    }

    [Fact]
    public void It_is_zero_while_an_event_is_pending()
    {
        using var guest = new EngineGuest("translator");
        guest.Cpu.Signal(PendingEvents.Kick | PendingEvents.Timer);
        Assert.Equal(0UL, guest.Cpu.State->EventMask);
        guest.Cpu.ClearSignal(PendingEvents.Kick);
        Assert.Equal(0UL, guest.Cpu.State->EventMask);
        guest.Cpu.ShowQuiet();
        Assert.Equal(0UL, guest.Cpu.State->EventMask);
        guest.Cpu.ClearSignal(PendingEvents.Timer);
        Assert.Equal(guest.Cpu.QuietMask, guest.Cpu.State->EventMask);
    }
}
