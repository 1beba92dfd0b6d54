using Doppel.Devices.Input;
using Doppel.Devices.Usb;
using static Doppel.Devices.Tests.Usb.UhciMachine;

namespace Doppel.Devices.Tests.Usb;

/// <summary>The tablet as the specifications of USB and of its class have it.</summary>
public sealed class UsbTabletTests : IDisposable
{
    private readonly UhciMachine _uhci = new();

    public void Dispose() => _uhci.Dispose();

    [Fact]
    public void Its_descriptors_are_whole()
    {
        _uhci.Configure();
        byte[] head = _uhci.Control(5, new UsbSetup(0x80, 6, 0x0200, 0, 9))!;
        int total = head[2] | (head[3] << 8);
        byte[] all = _uhci.Control(5, new UsbSetup(0x80, 6, 0x0200, 0, (ushort)total))!;
        Assert.Equal(total, all.Length);
        var types = new List<byte>();
        for (int at = 0; at < all.Length; at += all[at])
            types.Add(all[at + 1]);
        Assert.Equal([2, 4, 0x21, 5], types);
        // The report descriptor is as long as the class's descriptor says, and makes reports of six bytes.
        int length = all[9 + 9 + 7] | (all[9 + 9 + 8] << 8);
        byte[] report = _uhci.Control(5, new UsbSetup(0x81, 6, 0x2200, 0, 255))!;
        Assert.Equal(length, report.Length);
        Assert.Equal(48, ReportBits(report));
        byte[] product = _uhci.Control(5, new UsbSetup(0x80, 6, 0x0302, 0x0409, 255))!;
        Assert.Equal("USB Tablet", System.Text.Encoding.Unicode.GetString(product.AsSpan(2)));
        Assert.Null(_uhci.Control(5, new UsbSetup(0x80, 6, 0x0600, 0, 10)));
        Assert.Null(_uhci.Control(5, new UsbSetup(0x80, 6, 0x0307, 0x0409, 255)));
    }

    [Fact]
    public void Standard_requests_are_answered()
    {
        _uhci.Configure();
        Assert.Equal([1], _uhci.Control(5, new UsbSetup(0x80, 8, 0, 0, 1)));
        Assert.Equal([0, 0], _uhci.Control(5, new UsbSetup(0x80, 0, 0, 0, 2)));
        Assert.Equal([0], _uhci.Control(5, new UsbSetup(0x81, 10, 0, 0, 1)));
        Assert.NotNull(_uhci.Control(5, new UsbSetup(0, 3, 1, 0, 0)));
        Assert.Equal([2, 0], _uhci.Control(5, new UsbSetup(0x80, 0, 0, 0, 2)));
        Assert.NotNull(_uhci.Control(5, new UsbSetup(2, 3, 0, 0x81, 0)));
        Assert.Equal([1, 0], _uhci.Control(5, new UsbSetup(0x82, 0, 0, 0x81, 2)));
        _uhci.Ask();
        _uhci.Clock.Advance(20 * Frame);
        Assert.NotEqual(0u, _uhci.Word(Transfers + 4) & Stalled);
        Assert.NotNull(_uhci.Control(5, new UsbSetup(2, 1, 0, 0x81, 0)));
        Assert.Equal([0, 0], _uhci.Control(5, new UsbSetup(0x82, 0, 0, 0x81, 2)));
        Assert.Null(_uhci.Control(5, new UsbSetup(0, 9, 2, 0, 0)));
        Assert.Null(_uhci.Control(5, new UsbSetup(0x21, 9, 0x0200, 0, 2), [1, 2]));
        Assert.NotNull(_uhci.Control(5, new UsbSetup(0, 9, 0, 0, 0)));
        Assert.Equal([0], _uhci.Control(5, new UsbSetup(0x80, 8, 0, 0, 1)));
        Assert.Null(_uhci.Control(5, new UsbSetup(0x81, 10, 0, 0, 1)));
    }

    [Fact]
    public void It_is_ready_while_its_reports_are_fetched()
    {
        _uhci.Configure();
        Assert.False(_uhci.Tablet.IsReady);
        _uhci.Ask();
        _uhci.Clock.Advance(20 * Frame);
        Assert.True(_uhci.Tablet.IsReady);
        Assert.Equal(Active | Nak, _uhci.Word(Transfers + 4) & (Active | Nak));
        _uhci.Put(Queue + 4, 1);
        _uhci.Clock.Advance(2000 * Frame);
        Assert.False(_uhci.Tablet.IsReady);
    }

    [Fact]
    public void Places_buttons_and_the_wheel_are_reported()
    {
        _uhci.Configure();
        _uhci.Tablet.Move(new(0x1234, 0x7FFF, 0, 0, 0, PointerButtons.None));
        Assert.Equal([0, 0x34, 0x12, 0xFF, 0x7F, 0], Fetch());
        _uhci.Tablet.Move(new(0x1234, 0x7FFF, 0, 0, 2, PointerButtons.Right | PointerButtons.Forward));
        Assert.Equal([0x12, 0x34, 0x12, 0xFF, 0x7F, 0xFE], Fetch());
        // Nothing new: nothing to fetch.
        _uhci.Tablet.Move(new(0x1234, 0x7FFF, 0, 0, 0, PointerButtons.Right | PointerButtons.Forward));
        Assert.Null(Fetch());
    }

    [Fact]
    public void Movements_become_one_report_and_clicks_stay()
    {
        _uhci.Configure();
        for (int x = 1; x <= 100; x++)
            _uhci.Tablet.Move(new(x, 1, 0, 0, -1, PointerButtons.None));
        _uhci.Tablet.Move(new(100, 1, 0, 0, 0, PointerButtons.Left));
        _uhci.Tablet.Move(new(100, 1, 0, 0, 0, PointerButtons.None));
        Assert.Equal([0, 100, 0, 1, 0, 100], Fetch());
        Assert.Equal([1, 100, 0, 1, 0, 0], Fetch());
        Assert.Equal([0, 100, 0, 1, 0, 0], Fetch());
        Assert.Null(Fetch());
        // However much isn't fetched, the end is right.
        for (int i = 0; i < 1000; i++)
            _uhci.Tablet.Move(new(i, i, 0, 0, 0, (PointerButtons)(i & 1)));
        byte[]? last = null;
        while (Fetch() is byte[] report)
            last = report;
        Assert.Equal([1, 999 & 0xFF, 3, 999 & 0xFF, 3, 0], last);
    }

    [Fact]
    public void With_an_idle_rate_it_repeats_itself()
    {
        _uhci.Configure();
        _uhci.Tablet.Move(new(7, 8, 0, 0, -1, PointerButtons.Left));
        Assert.Equal([1, 7, 0, 8, 0, 1], Fetch());
        Assert.Null(Fetch());
        Assert.NotNull(_uhci.Control(5, new UsbSetup(0x21, 0x0A, 25 << 8, 0, 0)));
        Assert.Equal([25], _uhci.Control(5, new UsbSetup(0xA1, 2, 0, 0, 1)));
        Assert.Null(Fetch());
        _uhci.Clock.Advance(100 * Frame);
        Assert.Equal([1, 7, 0, 8, 0, 0], Fetch());
        Assert.Equal([1, 7, 0, 8, 0, 0], _uhci.Control(5, new UsbSetup(0xA1, 1, 0x0100, 0, 8)));
    }

    [Fact]
    public void A_restored_one_has_what_was_not_fetched()
    {
        _uhci.Configure();
        _uhci.Tablet.Move(new(7, 8, 0, 0, -1, PointerButtons.Left));
        _uhci.Tablet.Move(new(9, 8, 0, 0, 0, PointerButtons.None));
        using UhciMachine copy = _uhci.Move();
        copy.Tablet.Move(new(10, 8, 0, 0, 1, PointerButtons.None));
        Assert.Equal([1, 7, 0, 8, 0, 1], Fetch(copy));
        Assert.Equal([0, 10, 0, 8, 0, 0xFF], Fetch(copy));
        Assert.Null(Fetch(copy));
    }

    private static int ReportBits(byte[] descriptor)
    {
        int size = 0, count = 0, bits = 0;
        for (int at = 0; at < descriptor.Length;)
        {
            int length = (descriptor[at] & 3) == 3 ? 4 : descriptor[at] & 3;
            switch (descriptor[at] & 0xFC)
            {
                case 0x74:
                    size = descriptor[at + 1];
                    break;
                case 0x94:
                    count = descriptor[at + 1];
                    break;
                case 0x80:
                    bits += size * count;
                    break;
            }

            at += 1 + length;
        }

        return bits;
    }

    private byte[]? Fetch() => Fetch(_uhci);

    private static byte[]? Fetch(UhciMachine uhci)
    {
        uhci.Ask();
        uhci.Clock.Advance(20 * Frame);
        uint status = uhci.Word(Transfers + 4);
        uhci.Put(Queue + 4, 1);
        return (status & Active) != 0 ? null : uhci.Bytes(Buffers, (int)((status + 1) & 0x7FF));
    }
}
