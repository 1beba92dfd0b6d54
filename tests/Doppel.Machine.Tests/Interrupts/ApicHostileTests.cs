using Doppel.Machine.Interrupts;
using Doppel.Machine.State;
using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Interrupts;

/// <summary>Random registers, messages and inputs of three processors: the interrupt controllers go on, and work after a reset.</summary>
public sealed class ApicHostileTests(ITestOutputHelper output)
{
    private const int Count = 3;

    [Fact]
    public void Random_accesses_do_no_harm() => Harm(50_000);

    [Fact]
    [Trait("Category", "Slow")]
    public void A_million_random_accesses_do_no_harm() => Harm(1_000_000);

    private void Harm(int accesses)
    {
        var random = new Random(TestSeed.Take(output));
        var f = new ApicFixture(Count);
        for (int i = 0; i < accesses; i++)
        {
            Access(f, f.Apics[random.Next(Count)], random);
            if (random.Next(5000) == 0)
                Keep(f);
        }

        foreach (LocalApic apic in f.Apics)
        {
            apic.Reset();
            apic.Write(ApicRegister.SpuriousVector, 4, 0x1FF);
        }

        f.IoApic.Reset();
        IInterruptLine pin = f.IoApic.Pin(4);
        pin.Set(false);
        f.Redirect(4, 0x34, destination: 1);
        pin.Set(true);
        Assert.Equal(0x34, f.Serve(1));
        Assert.Equal(-1, f.Serve(1));
    }

    private static void Access(ApicFixture f, LocalApic apic, Random random)
    {
        ulong value = random.Next(3) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(0x2_0000);
        switch (random.Next(11))
        {
            case 0:
                apic.Write((ulong)random.Next(0x1100), 1 << random.Next(4), value);
                break;
            case 1 or 2:
                apic.Write(16 * (ulong)random.Next(64), 4, (uint)value);
                break;
            case 3:
                _ = apic.Read((ulong)random.Next(0x1100), 1 << random.Next(4));
                break;
            case 4:
                _ = apic.TryWriteMsr(0x800 + (uint)random.Next(0x400), value);
                _ = apic.TryReadMsr(0x800 + (uint)random.Next(0x400), out _);
                break;
            case 5:
                // Mostly enabled, in either mode.
                _ = apic.TryWriteApicBase(random.Next(4) == 0 ? (ulong)random.NextInt64() : (apic.ApicBase & ~0xC00UL) | (random.Next(3) == 0 ? 0xC00UL : 0x800));
                break;
            case 6:
                f.WriteIoApic(random.Next(0x100), (uint)value);
                _ = f.ReadIoApic(random.Next(0x100));
                break;
            case 7:
                f.IoApic.Write((ulong)random.Next(0x60), 1 << random.Next(4), value);
                _ = f.IoApic.Read((ulong)random.Next(0x60), 1 << random.Next(4));
                break;
            case 8:
                f.IoApic.Pin(random.Next(24)).Set(random.Next(2) == 0);
                break;
            case 9:
                _ = apic.Acknowledge();
                if (random.Next(4) == 0)
                    apic.Init();
                break;
            default:
                f.Pass(random.Next(100_000));
                break;
        }
    }

    // What they save in any state they take back.
    private static void Keep(ApicFixture f)
    {
        foreach (IStateful part in (IEnumerable<IStateful>)[f.IoApic, .. f.Apics])
        {
            byte[] saved = Save(part);
            part.Restore(new StateReader(saved), part.SectionVersion);
            Assert.Equal(saved, Save(part));
        }
    }

    private static byte[] Save(IStateful part)
    {
        var writer = new StateWriter();
        part.Save(writer);
        return writer.ToArray();
    }
}
