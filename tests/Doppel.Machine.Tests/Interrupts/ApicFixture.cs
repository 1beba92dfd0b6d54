using Doppel.Machine.Interrupts;
using Doppel.Machine.Time;

namespace Doppel.Machine.Tests.Interrupts;

/// <summary>Some local APICs on a bus with an IOAPIC and a clock that only the test moves; software-enabled.</summary>
internal sealed class ApicFixture
{
    public ApicFixture(int count = 1, bool isEnabled = true)
    {
        Clock = new InstructionClock(new Lock());
        Targets = [.. Enumerable.Range(0, count).Select(_ => new FakeTarget())];
        Apics = [.. Enumerable.Range(0, count).Select(i => new LocalApic(i, Targets[i], Bus, Clock))];
        IoApic = new IoApic(Bus);
        foreach (LocalApic apic in Apics.Where(_ => isEnabled))
            apic.Write(ApicRegister.SpuriousVector, 4, 0x1FF);
    }

    public ApicBus Bus { get; } = new();

    public InstructionClock Clock { get; }

    public FakeTarget[] Targets { get; }

    public LocalApic[] Apics { get; }

    public IoApic IoApic { get; }

    public LocalApic Apic => Apics[0];

    public FakeTarget Target => Targets[0];

    public uint Read(int register, int cpu = 0) => (uint)Apics[cpu].Read((ulong)register, 4);

    public void Write(int register, uint value, int cpu = 0) => Apics[cpu].Write((ulong)register, 4, value);

    /// <summary>Sends an IPI as xAPIC software does.</summary>
    public void Command(uint low, byte destination = 0, int cpu = 0)
    {
        Write(ApicRegister.InterruptCommandHigh, (uint)destination << 24, cpu);
        Write(ApicRegister.InterruptCommand, low, cpu);
    }

    /// <summary>Enters x2APIC mode.</summary>
    public void EnterX2Apic()
    {
        foreach (LocalApic apic in Apics)
            Assert.True(apic.TryWriteApicBase(apic.ApicBase | (1 << 10)));
    }

    public ulong ReadMsr(uint index, int cpu = 0)
    {
        Assert.True(Apics[cpu].TryReadMsr(index, out ulong value));
        return value;
    }

    /// <summary>Moves time, nanosecond-exact, and fires what becomes due on the way.</summary>
    public void Pass(long nanoseconds)
    {
        long end = Clock.Now + nanoseconds;
        while (Clock.NextDeadline is { } next && next <= end)
            _ = Clock.SkipToNextDeadline();
        Clock.Advance((ulong)(end - Clock.Now));
    }

    /// <summary>Takes an interrupt and ends it; the vector, or -1.</summary>
    public int Serve(int cpu = 0)
    {
        int vector = Apics[cpu].Acknowledge();
        if (vector >= 0)
            Apics[cpu].Write(ApicRegister.Eoi, 4, 0);
        return vector;
    }

    public void WriteIoApic(int register, uint value)
    {
        IoApic.Write(0, 4, (ulong)register);
        IoApic.Write(0x10, 4, value);
    }

    public uint ReadIoApic(int register)
    {
        IoApic.Write(0, 4, (ulong)register);
        return (uint)IoApic.Read(0x10, 4);
    }

    public void Redirect(int pin, uint low, byte destination = 0)
    {
        WriteIoApic(0x11 + (2 * pin), (uint)destination << 24);
        WriteIoApic(0x10 + (2 * pin), low);
    }
}
