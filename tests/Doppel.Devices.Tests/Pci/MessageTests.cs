using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Pci;

/// <summary>MSI-X and MSI: tables, masks, pending bits, and their way to a local APIC.</summary>
public sealed class MessageTests
{
    private const ulong Table = 0xD000_0000;
    private const int MsixOffset = 0x40, MsiOffset = 0x4C;
    private readonly Lock _gate = new();
    private readonly IoBus _ports;
    private readonly IoBus _memory;
    private readonly FakeLine _line = new();
    private readonly MessageRecorder _messages = new();
    private readonly PciBus _bus;
    private readonly MessageFunction _device;

    public MessageTests()
    {
        _ports = new IoBus("port", 65536, _gate);
        _memory = new IoBus("mmio", 1UL << 40, _gate);
        _bus = new PciBus(_ => _line);
        _device = new MessageFunction(_ports, _memory, _messages);
        _bus.Add(new PciAddress(0, 4, 0), _device);
        _device.WriteConfig(0x18, 4, (uint)Table);
        _device.WriteConfig(PciConfigSpace.Command, 2, 6);
    }

    [Fact]
    public void Capabilities_say_where_table_and_pending_bits_are()
    {
        Assert.Equal(0x11u, _device.ReadConfig(MsixOffset, 1));
        Assert.Equal(69u, _device.ReadConfig(MsixOffset + 2, 2));
        Assert.Equal(2u, _device.ReadConfig(MsixOffset + 4, 4));
        Assert.Equal(0x802u, _device.ReadConfig(MsixOffset + 8, 4));
        Assert.Equal(0x05u, _device.ReadConfig(MsiOffset, 1));
        Assert.Equal(0x184u, _device.ReadConfig(MsiOffset + 2, 2));
    }

    [Fact]
    public void A_message_carries_what_the_guest_wrote_into_the_table()
    {
        Program(3, 0xFEE0_1000, 0x4041);
        _device.SendMessage(3);
        Assert.Empty(_messages.Take());
        EnableMsix();
        Assert.True(_device.UsesMessages);
        _device.SendMessage(3);
        Assert.Equal([(0xFEE0_1000UL, 0x4041u)], _messages.Take());
        _device.SendMessage(70);
        _device.SendMessage(-1);
        Assert.Empty(_messages.Take());
    }

    [Fact]
    public void A_masked_vector_stays_pending_until_it_is_unmasked()
    {
        EnableMsix();
        Program(69, 0xFEE0_0000, 0x55, mask: 1);
        _device.SendMessage(69);
        _device.SendMessage(69);
        Assert.Empty(_messages.Take());
        Assert.Equal(1UL << 5, _memory.Read(Table + 0x800 + 8, 8));
        _memory.Write(Table + (69 * 16) + 12, 4, 0);
        Assert.Single(_messages.Take());
        Assert.Equal(0UL, _memory.Read(Table + 0x808, 8));
    }

    [Fact]
    public void The_function_mask_and_a_function_that_is_no_bus_master_hold_messages_back()
    {
        EnableMsix();
        Program(0, 0xFEE0_0000, 0x50);
        _device.WriteConfig(MsixOffset + 2, 2, 0xC000);
        _device.SendMessage(0);
        Assert.Empty(_messages.Take());
        _device.WriteConfig(MsixOffset + 2, 2, 0x8000);
        Assert.Single(_messages.Take());
        _device.WriteConfig(PciConfigSpace.Command, 2, 2);
        _device.SendMessage(0);
        Assert.Empty(_messages.Take());
        _device.WriteConfig(PciConfigSpace.Command, 2, 6);
        Assert.Single(_messages.Take());
    }

    [Fact]
    public void Only_what_exists_can_be_written()
    {
        _memory.Write(Table, 8, ulong.MaxValue);
        _memory.Write(Table + 8, 8, ulong.MaxValue);
        Assert.Equal(0xFFFF_FFFF_FFFF_FFFCUL, _memory.Read(Table, 8));
        Assert.Equal(0x1_FFFF_FFFFUL, _memory.Read(Table + 8, 8));
        _memory.Write(Table + 0x800, 8, ulong.MaxValue);
        Assert.Equal(0UL, _memory.Read(Table + 0x800, 8));
        _memory.Write(Table + (70 * 16), 8, ulong.MaxValue);
        Assert.Equal(0UL, _memory.Read(Table + (70 * 16), 8));
    }

    [Fact]
    public void Intx_is_silent_while_messages_are_used()
    {
        _device.SetInterrupt(true);
        Assert.True(_line.Level);
        EnableMsix();
        Assert.False(_line.Level);
        Assert.Equal(8u, _device.ReadConfig(PciConfigSpace.Status, 2) & 8);
        _device.WriteConfig(MsixOffset + 2, 2, 0);
        Assert.True(_line.Level);
    }

    [Fact]
    public void Msi_puts_the_vector_into_the_low_bits_as_far_as_the_guest_allows()
    {
        _device.WriteConfig(MsiOffset + 4, 4, 0xFEE0_2000);
        _device.WriteConfig(MsiOffset + 12, 2, 0x4033);
        _device.WriteConfig(MsiOffset + 2, 2, 0x0021);
        _device.SendMessage(3);
        Assert.Equal([(0xFEE0_2000UL, 0x4033u)], _messages.Take());
        _device.SendMessage(2);
        Assert.Equal([(0xFEE0_2000UL, 0x4032u)], _messages.Take());
        _device.WriteConfig(MsiOffset + 2, 2, 0x0001);
        _device.SendMessage(2);
        Assert.Equal([(0xFEE0_2000UL, 0x4033u)], _messages.Take());
    }

    [Fact]
    public void A_masked_msi_stays_pending()
    {
        _device.WriteConfig(MsiOffset + 4, 4, 0xFEE0_0000);
        _device.WriteConfig(MsiOffset + 12, 2, 0x60);
        _device.WriteConfig(MsiOffset + 16, 4, 2);
        _device.WriteConfig(MsiOffset + 2, 2, 0x0021);
        _device.SendMessage(1);
        Assert.Empty(_messages.Take());
        Assert.Equal(2u, _device.ReadConfig(MsiOffset + 20, 4));
        _device.WriteConfig(MsiOffset + 16, 4, 0);
        Assert.Equal([(0xFEE0_0000UL, 0x61u)], _messages.Take());
        Assert.Equal(0u, _device.ReadConfig(MsiOffset + 20, 4));
    }

    [Fact]
    public void A_message_reaches_the_local_apic_that_it_names()
    {
        var apics = new ApicBus();
        var clock = new FakeClock();
        LocalApic[] cpus = [.. Enumerable.Range(0, 2).Select(i => new LocalApic(i, new Target(), apics, clock))];
        foreach (LocalApic cpu in cpus)
            cpu.Write(ApicRegister.SpuriousVector, 4, 0x1FF);
        var device = new MessageFunction(_ports, _memory, apics, name: "pci-apic");
        device.WriteConfig(0x18, 4, 0xD100_0000);
        device.WriteConfig(PciConfigSpace.Command, 2, 6);
        device.WriteConfig(MsixOffset + 2, 2, 0x8000);
        _memory.Write(0xD100_0000, 8, 0xFEE0_1000);
        _memory.Write(0xD100_0008, 8, 0x71);
        device.SendMessage(0);
        Assert.False(cpus[0].HasInterrupt);
        Assert.True(cpus[1].HasInterrupt);
        Assert.Equal(0x71, cpus[1].Acknowledge());
        foreach (LocalApic cpu in cpus)
            cpu.Dispose();
    }

    [Fact]
    public void A_restored_function_sends_what_was_pending()
    {
        EnableMsix();
        Program(7, 0xFEE0_0000, 0x77, mask: 1);
        _device.SendMessage(7);
        var writer = new StateWriter();
        _device.Save(writer);
        var messages = new MessageRecorder();
        var other = new IoBus("mmio", 1UL << 40, _gate);
        var copy = new MessageFunction(_ports, other, messages);
        copy.Restore(new StateReader(writer.ToArray()), 1);
        other.Write(Table + (7 * 16) + 12, 4, 0);
        Assert.Equal([(0xFEE0_0000UL, 0x77u)], messages.Take());
        _device.Reset();
        Assert.False(_device.UsesMessages);
        Assert.Null(_device.MappedAt(_device.Extra));
    }

    [Fact]
    public void A_region_that_was_covered_appears_when_the_other_moves_away()
    {
        var second = new MessageFunction(_ports, _memory, _messages, name: "pci-second");
        _bus.Add(new PciAddress(0, 5, 0), second);
        second.WriteConfig(0x10, 4, (uint)Table);
        second.WriteConfig(PciConfigSpace.Command, 2, 2);
        Assert.Null(second.MappedAt(second.Extra));
        _device.WriteConfig(0x18, 4, 0xD200_0000);
        Assert.Equal(Table, second.MappedAt(second.Extra));
        Assert.Equal(0x44u, _memory.Read(Table, 1));
    }

    [Fact]
    public void Registers_of_one_function_may_trade_places()
    {
        _device.WriteConfig(0x10, 4, 0xD300_0000);
        _device.WriteConfig(PciConfigSpace.Command, 2, 0);
        _device.WriteConfig(0x10, 4, (uint)Table);
        _device.WriteConfig(0x18, 4, 0xD300_0000);
        _device.WriteConfig(PciConfigSpace.Command, 2, 6);
        Assert.Equal(Table, _device.MappedAt(_device.Extra));
        Assert.Equal(0x44u, _memory.Read(Table, 1));
        Assert.Equal(1u, _memory.Read(0xD300_000C, 4));
    }

    private void EnableMsix() => _device.WriteConfig(MsixOffset + 2, 2, 0x8000);

    private void Program(int vector, ulong address, uint data, uint mask = 0)
    {
        ulong entry = Table + ((uint)vector * 16);
        _memory.Write(entry, 4, (uint)address);
        _memory.Write(entry + 4, 4, address >> 32);
        _memory.Write(entry + 8, 4, data);
        _memory.Write(entry + 12, 4, mask);
    }

    private sealed class Target : IInterruptTarget
    {
        public ulong TscOffset => 0;

        public void Signal(PendingEvents events)
        {
        }

        public void ClearSignal(PendingEvents events)
        {
        }

        public void SetApicWindow(ulong? page, IIoRegion region)
        {
        }
    }
}
