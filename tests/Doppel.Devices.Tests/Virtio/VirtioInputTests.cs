using System.Text;
using Doppel.Devices.Input;
using Doppel.Devices.Virtio;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>What virtio input devices tell of themselves, and how they send what a person does (virtio 1.2, 5.8).</summary>
public sealed class VirtioInputTests
{
    [Fact]
    public void A_keyboard_tells_its_name_its_numbers_its_keys_and_its_indicators()
    {
        using VirtioSubject subject = VirtioSubject.Make("keyboard", "msix", "split");
        subject.Driver.Start();
        Assert.Equal("Doppel Virtio Keyboard", Encoding.UTF8.GetString(Select(subject, 1, 0)));
        Assert.Equal("keyboard0", Encoding.UTF8.GetString(Select(subject, 2, 0)));
        Assert.Equal([6, 0, 0x27, 6, 1, 0, 1, 0], Select(subject, 3, 0));
        Assert.Empty(Select(subject, 0x10, 0));
        byte[] keys = Select(subject, 0x11, 1);
        Assert.NotEqual(0, keys[^1]);
        // KEY_ESC, KEY_A, KEY_KPDOT, KEY_F12, KEY_UP, KEY_LEFTMETA and KEY_MEDIA; no button of a mouse, no KEY_RESERVED.
        foreach (int key in (int[])[1, 30, 83, 88, 103, 125, 226])
            Assert.True((keys[key / 8] & (1 << (key % 8))) != 0, $"key {key}");
        Assert.Equal(0, keys[0] & 1);
        Assert.True(keys.Length <= 32);
        Assert.Equal([3], Select(subject, 0x11, 0x14));
        Assert.Equal([7], Select(subject, 0x11, 0x11));
        Assert.Empty(Select(subject, 0x11, 3));
        Assert.Empty(Select(subject, 0x12, 0));
    }

    [Fact]
    public void A_tablet_tells_its_axes_and_how_far_they_go()
    {
        using VirtioSubject subject = VirtioSubject.Make("tablet", "mmio", "split");
        subject.Driver.Start();
        Assert.Equal("Doppel Virtio Tablet", Encoding.UTF8.GetString(Select(subject, 1, 0)));
        Assert.Equal([1], Select(subject, 0x10, 0));
        byte[] buttons = Select(subject, 0x11, 1);
        Assert.Equal(0x22 + 1, buttons.Length);
        Assert.Equal(0x1F, buttons[0x22]);
        Assert.All(buttons[..0x22], b => Assert.Equal(0, b));
        Assert.Equal([0, 1], Select(subject, 0x11, 2));
        Assert.Equal([3], Select(subject, 0x11, 3));
        byte[] axis = [0, 0, 0, 0, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Assert.Equal(axis, Select(subject, 0x12, 0));
        Assert.Equal(axis, Select(subject, 0x12, 1));
        Assert.Empty(Select(subject, 0x12, 2));
        Assert.Empty(Select(subject, 0x11, 0x11));
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 1)]
    [InlineData(4, 0)]
    [InlineData(0x11, 0)]
    [InlineData(0x11, 0xFF)]
    [InlineData(0x12, 8)]
    [InlineData(0xFF, 0xFF)]
    public void What_it_has_not_has_no_bytes(int select, int subselect)
    {
        foreach (string kind in (string[])["keyboard", "tablet"])
        {
            using VirtioSubject subject = VirtioSubject.Make(kind, "msix", "split");
            subject.Driver.Start();
            Assert.Empty(Select(subject, select, subselect));
            for (int i = 3; i < 136; i++)
                Assert.Equal(0u, subject.Access.ReadConfig(i, 1));
        }
    }

    // Scan codes of set 1 with bit 7 for the prefix E0h, and evdev's numbers.
    [Theory]
    [InlineData(0x01, 1)]
    [InlineData(0x1E, 30)]
    [InlineData(0x45, 69)]
    [InlineData(0x53, 83)]
    [InlineData(0x56, 86)]
    [InlineData(0x57, 87)]
    [InlineData(0x9C, 96)]
    [InlineData(0x9D, 97)]
    [InlineData(0xB7, 99)]
    [InlineData(0xB8, 100)]
    [InlineData(0xC6, 119)]
    [InlineData(0xC8, 103)]
    [InlineData(0xCB, 105)]
    [InlineData(0xD0, 108)]
    [InlineData(0xD3, 111)]
    [InlineData(0xDB, 125)]
    [InlineData(0xDD, 127)]
    public async Task Keys_have_the_numbers_of_evdev(int code, int number)
    {
        using VirtioSubject subject = VirtioSubject.Make("keyboard", "msix", "split");
        subject.Driver.Start();
        ulong first = InputWork.Offer(subject.Driver, 2);
        lock (subject.Gate)
            ((VirtioKeyboard)subject.Device).SetKey(new KeyCode((byte)code), isDown: true);
        Assert.Equal([(1, number, 1), (0, 0, 0)], await InputWork.TakeAsync(subject.Driver, first, 2));
    }

    [Fact]
    public void Every_key_that_has_a_name_has_a_number() => Assert.All(KeyNames.Codes, key =>
    {
        using VirtioSubject subject = VirtioSubject.Make("keyboard", "msix", "split");
        subject.Driver.Start();
        _ = InputWork.Offer(subject.Driver, 2);
        ((VirtioKeyboard)subject.Device).SetKey(key, isDown: true);
        Assert.True(subject.Driver.Queues[0].TryGetUsed(out _, out _));
    });

    [Fact]
    public async Task A_key_comes_up_again_however_much_waits()
    {
        using VirtioSubject subject = VirtioSubject.Make("keyboard", "msix", "split");
        subject.Driver.Start();
        var keyboard = (VirtioKeyboard)subject.Device;
        lock (subject.Gate)
        {
            keyboard.SetKey(KeyCode.LeftShift, isDown: true);
            for (int i = 0; i < 5000; i++)
                keyboard.SetKey(new KeyCode(0x1E), isDown: i % 2 == 0);
            keyboard.SetKey(KeyCode.LeftShift, isDown: false);
        }

        var held = new HashSet<int>();
        int updates = 0;
        for (ulong first = InputWork.Offer(subject.Driver, 2); subject.Driver.Queues[0].TryGetUsed(out _, out _); first = InputWork.Offer(subject.Driver, 2))
        {
            _ = await subject.Driver.NextUsedAsync(0);
            (int type, int code, int value) = Event(subject.Driver.Bytes(first, 8));
            Assert.Equal(1, type);
            Assert.True(value == 1 ? held.Add(code) : held.Remove(code));
            Assert.Equal((0, 0, 0), Event(subject.Driver.Bytes(first + 8, 8)));
            updates++;
        }

        Assert.InRange(updates, 512, 1024 + 256);
        Assert.Empty(held);
    }

    [Fact]
    public async Task Movements_without_buffers_become_one_and_clicks_stay_apart()
    {
        using VirtioSubject subject = VirtioSubject.Make("tablet", "intx", "packed");
        subject.Driver.Start();
        var tablet = (VirtioTablet)subject.Device;
        lock (subject.Gate)
        {
            tablet.Move(new PointerChange(10, 20, 0, 0, 1, PointerButtons.None));
            tablet.Move(new PointerChange(30, 20, 0, 0, 1, PointerButtons.None));
            tablet.Move(new PointerChange(30, 20, 0, 0, 0, PointerButtons.Left | PointerButtons.Forward));
            tablet.Move(new PointerChange(30, 20, 0, 0, 0, PointerButtons.None));
        }

        ulong first = InputWork.Offer(subject.Driver, 12);
        Assert.Equal(
            [(3, 0, 30), (3, 1, 20), (2, 8, -2), (0, 0, 0), (1, 0x110, 1), (1, 0x114, 1), (0, 0, 0), (1, 0x110, 0), (1, 0x114, 0), (0, 0, 0)],
            await InputWork.TakeAsync(subject.Driver, first, 10));
        Assert.False(subject.Driver.Queues[0].TryGetUsed(out _, out _));
        lock (subject.Gate)
            tablet.Move(new PointerChange(30, 20, 5, 5, 0, PointerButtons.None));
        Assert.False(subject.Driver.Queues[0].TryGetUsed(out _, out _));
    }

    [Fact]
    public async Task A_buffer_too_small_for_an_event_goes_back_empty_and_the_event_comes_in_the_next()
    {
        using VirtioSubject subject = VirtioSubject.Make("keyboard", "msix", "split");
        subject.Driver.Start();
        ulong small = subject.Driver.Allocate(8);
        _ = subject.Driver.Queues[0].Add([new DriverBuffer(small, 7, IsWritable: true)]);
        subject.Driver.Queues[0].Kick();
        ulong first = InputWork.Offer(subject.Driver, 2);
        lock (subject.Gate)
            ((VirtioKeyboard)subject.Device).SetKey(new KeyCode(0x10), isDown: true);
        Assert.Equal(0u, (await subject.Driver.NextUsedAsync(0)).Written);
        Assert.Equal([(1, 16, 1), (0, 0, 0)], await InputWork.TakeAsync(subject.Driver, first, 2));
    }

    [Fact]
    public async Task What_comes_during_a_pause_is_sent_after_it_and_an_update_in_the_middle_goes_on_after_a_restore()
    {
        using VirtioSubject subject = VirtioSubject.Make("tablet", "msix", "split");
        using VirtioSubject copy = VirtioSubject.Make("tablet", "msix", "split");
        subject.Driver.Start();
        ulong first = InputWork.Offer(subject.Driver, 2);
        var tablet = (VirtioTablet)subject.Device;
        lock (subject.Gate)
            tablet.Move(new PointerChange(100, 200, 0, 0, 0, PointerButtons.Left));
        Assert.Equal([(3, 0, 100), (3, 1, 200)], await InputWork.TakeAsync(subject.Driver, first, 2));
        await tablet.HoldAsync();
        Assert.True(tablet.IsReady);
        lock (subject.Gate)
            tablet.Move(new PointerChange(300, 200, 0, 0, 0, PointerButtons.Left));
        byte[] saved = subject.Access.Save();
        byte[] memory = new byte[VirtioSubject.RamSize];
        Assert.True(subject.Memory.TryRead(0, memory));
        Assert.True(copy.Memory.TryWrite(0, memory));
        copy.Access.Restore(saved);
        Assert.Equal(saved, copy.Access.Save());
        copy.Device.Release();
        copy.Driver.Continue(subject.Driver);
        first = InputWork.Offer(copy.Driver, 4);
        Assert.Equal([(1, 0x110, 1), (0, 0, 0), (3, 0, 300), (0, 0, 0)], await InputWork.TakeAsync(copy.Driver, first, 4));
    }

    [Fact]
    public void Input_goes_to_it_once_its_driver_is_there_and_to_the_others_before()
    {
        using VirtioSubject subject = VirtioSubject.Make("keyboard", "msix", "split");
        using VirtioSubject pointer = VirtioSubject.Make("tablet", "msix", "split");
        var keyboard = new Doppel.Devices.Pc.Ps2Keyboard();
        var mouse = new Doppel.Devices.Pc.Ps2Mouse();
        var input = new GuestInput();
        foreach (object device in (object[])[keyboard, mouse, subject.Device, pointer.Device])
            _ = input.Attach(device, subject.Gate);
        input.SetKey(new KeyCode(0x1E), isDown: true);
        Assert.True(keyboard.TryRead(out _));
        Assert.False(input.IsAbsolute);
        subject.Driver.Start();
        pointer.Driver.Start();
        Assert.True(input.IsAbsolute);
        _ = InputWork.Offer(subject.Driver, 2);
        input.SetKey(new KeyCode(0x1F), isDown: true);
        Assert.False(keyboard.TryRead(out _));
        Assert.True(subject.Driver.Queues[0].TryGetUsed(out _, out _));
        subject.Access.Status = 0;
        input.SetKey(new KeyCode(0x20), isDown: true);
        Assert.True(keyboard.TryRead(out _));
    }

    private static (int Type, int Code, int Value) Event(byte[] bytes) => (BitConverter.ToUInt16(bytes), BitConverter.ToUInt16(bytes, 2), BitConverter.ToInt32(bytes, 4));

    private static byte[] Select(VirtioSubject subject, int select, int subselect)
    {
        subject.Access.WriteConfig(0, 1, (uint)select);
        subject.Access.WriteConfig(1, 1, (uint)subselect);
        Assert.Equal((uint)select, subject.Access.ReadConfig(0, 1));
        Assert.Equal((uint)subselect, subject.Access.ReadConfig(1, 1));
        return [.. Enumerable.Range(0, (int)subject.Access.ReadConfig(2, 1)).Select(i => (byte)subject.Access.ReadConfig(8 + i, 1))];
    }
}
