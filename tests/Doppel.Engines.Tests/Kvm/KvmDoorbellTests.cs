using System.Collections.Concurrent;
using Doppel.Engines.Tests.Guests;
using Doppel.Machine.Bus;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Kvm;

/// <summary>Writes to doorbells, which the kernel takes and another thread does.</summary>
public sealed class KvmDoorbellTests
{
    private const ulong Place = 0xD0000000, Elsewhere = 0xD0010000;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [KvmFact]
    public void A_doorbell_rings_without_an_exit_and_other_writes_are_done_at_once()
    {
        using var bells = new Bells();
        using EngineGuest guest = KvmEngineTests.Create();
        guest.Cpu.Physical.Mmio.Map(Place, 0x1000, bells);
        guest.Assemble(32, EngineGuest.Code, c =>
        {
            c.mov(edi, (uint)Place);
            c.mov(ax, 9);
            c.mov(__word_ptr[edi + 4], ax);
            c.mov(eax, 7);
            c.mov(__dword_ptr[edi + 8], eax);
            // Of another value and of another size: neither rings.
            c.mov(eax, 6);
            c.mov(__dword_ptr[edi + 8], eax);
            c.mov(__byte_ptr[edi + 4], al);
            c.hlt();
        });
        KvmEngineTests.EnterProtected(guest);
        guest.RunToHalt();
        var seen = new List<(ulong, int, ulong, bool)>();
        for (int i = 0; i < 4; i++)
        {
            Assert.True(bells.Writes.TryTake(out (ulong Offset, int Size, ulong Value, bool OnVcpu) write, Patience));
            seen.Add(write);
        }

        Assert.Equal([(4UL, 1, 6UL, true), (4UL, 2, 0UL, false), (8UL, 4, 6UL, true), (8UL, 4, 7UL, false)], seen.Order().ToArray());
        Assert.Contains(guest.Engine.GetStatistics().Exits, exit => exit is { Reason: "memory-mapped I/O", Count: 2 });
    }

    [KvmFact]
    public void Doorbells_follow_their_region_and_what_was_rung_is_done()
    {
        using var bells = new Bells();
        using EngineGuest guest = KvmEngineTests.Create();
        IoBus bus = guest.Cpu.Physical.Mmio;
        bus.Map(Place, 0x1000, bells);
        guest.Assemble(32, EngineGuest.Code, c =>
        {
            c.mov(edi, (uint)Elsewhere);
            c.mov(__word_ptr[edi + 4], ax);
            c.hlt();
        });
        KvmEngineTests.EnterProtected(guest);
        bus.Unmap(Place);
        bus.Map(Elsewhere, 0x1000, bells);
        guest.RunToHalt();
        // Taken away, a bell that was rung is rung.
        bus.Unmap(Elsewhere);
        Assert.True(bells.Writes.TryTake(out (ulong Offset, int Size, ulong Value, bool OnVcpu) write, Patience));
        Assert.Equal((4UL, 2), (write.Offset, write.Size));
        Assert.Empty(bells.Writes);
    }

    private sealed class Bells : IDoorbellRegion, IDisposable
    {
        private readonly int _thread = Environment.CurrentManagedThreadId;

        public string Name => "bells";

        public IReadOnlyList<Doorbell> Doorbells { get; } = [new Doorbell(4, 2, null), new Doorbell(8, 4, 7)];

        internal BlockingCollection<(ulong Offset, int Size, ulong Value, bool OnVcpu)> Writes { get; } = [];

        public ulong Read(ulong offset, int size) => 0;

        public void Write(ulong offset, int size, ulong value) => Writes.Add((offset, size, value, Environment.CurrentManagedThreadId == _thread));

        public void Dispose() => Writes.Dispose();
    }
}
