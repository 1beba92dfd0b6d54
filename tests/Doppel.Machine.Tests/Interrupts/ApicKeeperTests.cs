using Doppel.Machine.Cpu;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Machine.Tests.Interrupts;

public sealed class ApicKeeperTests
{
    private readonly ApicFixture _f = new(2);
    private readonly Keeper _keeper = new();

    [Fact]
    public void Registers_come_back_as_they_were_given()
    {
        _f.Write(ApicRegister.TaskPriority, 0x34);
        _f.Write(ApicRegister.LogicalDestination, 0x0200_0000);
        _f.Write(ApicRegister.DestinationFormat, 0x0FFF_FFFF);
        _f.Write(ApicRegister.LvtLint0, 0x8700);
        _f.Write(ApicRegister.LvtError, 0xFE);
        _f.Write(ApicRegister.DivideConfiguration, 0xA);
        _f.Write(ApicRegister.LvtTimer, 0x200_31);
        _f.Write(ApicRegister.InitialCount, 1000);
        _f.Command(0x4055, destination: 1);
        _f.Command(0x4066, destination: 0);
        _f.Command(0x4077, destination: 0);
        _ = _f.Apic.Acknowledge();
        _f.Pass(128 * 300);
        byte[] before = Save(_f.Apic);
        uint count = _f.Read(ApicRegister.CurrentCount);
        Assert.Equal(700u, count);

        _f.Bus.HandOver(_keeper);
        Assert.Equal(0xFEE00900u, _keeper.Apics[0].Base);
        Assert.Equal(0x34u, _keeper.Apics[0][ApicRegister.TaskPriority]);
        Assert.Equal(700u, _keeper.Apics[0][ApicRegister.CurrentCount]);
        Assert.Equal(before, Save(_f.Apic));
        _f.Bus.TakeBack();
        Assert.Equal(before, Save(_f.Apic));
        Assert.Equal(count, _f.Read(ApicRegister.CurrentCount));
    }

    [Fact]
    public void Messages_go_to_the_keeper()
    {
        _f.Bus.HandOver(_keeper);
        _f.Bus.Deliver(0xFEE0_1000, 0x41);
        Assert.Equal(new ApicMessage(1, false, ApicDeliveryMode.Fixed, 0x41, false), Assert.Single(_keeper.Sent));
        Assert.Equal(-1, _f.Apics[1].Acknowledge());
        _f.Bus.TakeBack();
        _f.Bus.Deliver(0xFEE0_1000, 0x42);
        _ = Assert.Single(_keeper.Sent);
        Assert.Equal(0x42, _f.Apics[1].Acknowledge());
    }

    [Fact]
    public void The_keeper_learns_of_level_triggered_messages_only()
    {
        _f.Redirect(3, 0x43);
        _f.Redirect(4, 0x1_8044, destination: 1);
        _f.Bus.HandOver(_keeper);
        var first = new ApicMessage(1, false, ApicDeliveryMode.Fixed, 0x44, true);
        Assert.Equal([first], _keeper.Level);
        _f.Redirect(5, 0x8945, destination: 0xFF);
        Assert.Equal([first, new ApicMessage(ApicMessage.Broadcast, true, ApicDeliveryMode.LowestPriority, 0x45, true)], _keeper.Level);
        _f.Redirect(4, 0x44);
        Assert.Equal(0x45, Assert.Single(_keeper.Level).Vector);
        // NMIs have no end.
        _f.Redirect(4, 0x8400);
        Assert.Equal(0x45, Assert.Single(_keeper.Level).Vector);
    }

    [Fact]
    public void A_timer_that_is_kept_fires_here_no_more_until_it_is_back()
    {
        _f.Write(ApicRegister.LvtTimer, 0x31);
        _f.Write(ApicRegister.InitialCount, 500);
        _f.Bus.HandOver(_keeper);
        _f.Pass(2000);
        Assert.False(_f.Target.IsInterrupted);
        _keeper.Apics[0][ApicRegister.CurrentCount] = 100;
        _f.Bus.TakeBack();
        Assert.False(_f.Target.IsInterrupted);
        _f.Pass(1000);
        Assert.Equal(0x31, _f.Serve());
    }

    [Fact]
    public void A_count_that_has_run_down_there_fires_once()
    {
        _f.Pass(1000);
        _f.Write(ApicRegister.DivideConfiguration, 0xB);
        _f.Write(ApicRegister.LvtTimer, 0x31);
        _f.Write(ApicRegister.InitialCount, 500);
        _f.Bus.HandOver(_keeper);
        _keeper.Apics[0][ApicRegister.CurrentCount] = 0;
        _f.Bus.TakeBack();
        _f.Pass(1);
        Assert.Equal(0x31, _f.Serve());
        _f.Bus.HandOver(_keeper);
        // Given again, it would fire again.
        Assert.Equal(0u, _keeper.Apics[0][ApicRegister.InitialCount]);
        _f.Bus.TakeBack();
        _f.Pass(1000);
        Assert.False(_f.Target.IsInterrupted);
    }

    [Fact]
    public void A_count_that_has_become_a_request_there_does_not_fire_again()
    {
        _f.Write(ApicRegister.LvtTimer, 0x31);
        _f.Write(ApicRegister.InitialCount, 500);
        _f.Bus.HandOver(_keeper);
        _keeper.Apics[0][ApicRegister.CurrentCount] = 0;
        _keeper.Apics[0][ApicRegister.Request + 0x10] = 1 << 0x11;
        _f.Bus.TakeBack();
        Assert.Equal(0x31, _f.Serve());
        _f.Pass(5000);
        Assert.False(_f.Target.IsInterrupted);
    }

    [Fact]
    public void A_start_of_the_vcpu_that_was_sent_there_is_signalled_here()
    {
        _f.Bus.HandOver(_keeper);
        _keeper.Apics[1] = new KeptApic { Base = 0xFEE00800, HasInit = true, StartUp = 0x9A };
        _f.Apics[1].Refresh();
        Assert.Equal(PendingEvents.Init | PendingEvents.Sipi, _f.Targets[1].Events & (PendingEvents.Init | PendingEvents.Sipi));
        Assert.Equal(0x9A, _f.Apics[1].SipiVector);
    }

    [Fact]
    public void The_8259s_interrupt_whatever_the_registers_say_that_are_kept()
    {
        var pic = new FakePic { Output = _f.Apic.Lint0 };
        _f.Apic.ExternalSource = pic;
        _f.Write(ApicRegister.LvtLint0, 0x1_0700);
        _f.Bus.HandOver(_keeper);
        pic.Request(0x28);
        Assert.True(_f.Target.IsInterrupted);
        Assert.Equal(0x28, _f.Apic.Acknowledge());
        Assert.False(_f.Target.IsInterrupted);
    }

    [Fact]
    public void A_directed_end_of_interrupt_is_not_broadcast()
    {
        _f.Write(ApicRegister.SpuriousVector, 0x11FF);
        Assert.Equal(0x11FFu, _f.Read(ApicRegister.SpuriousVector));
        _f.Redirect(4, 0x8044);
        _f.IoApic.Pin(4).Set(true);
        Assert.Equal(0x44, _f.Serve());
        Assert.Equal(0x4000u, _f.ReadIoApic(0x18) & 0x4000);
        _f.IoApic.Write(0x40, 4, 0x44);
        Assert.Equal(0x44, _f.Serve());
    }

    private static byte[] Save(LocalApic apic)
    {
        var writer = new StateWriter();
        apic.Save(writer);
        return writer.ToArray();
    }

    private sealed class Keeper : IApicKeeper
    {
        internal Dictionary<int, KeptApic> Apics { get; } = [];

        internal List<ApicMessage> Sent { get; } = [];

        internal IReadOnlyList<ApicMessage> Level { get; private set; } = [];

        public bool Send(in ApicMessage message)
        {
            Sent.Add(message);
            return true;
        }

        public void SetLevelMessages(IReadOnlyList<ApicMessage> messages) => Level = messages;

        public KeptApic Read(int index) => Apics[index];

        public void Write(int index, KeptApic apic) => Apics[index] = apic;
    }
}
