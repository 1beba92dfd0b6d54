using System.Buffers.Binary;
using Doppel.Devices.Input;
using Doppel.Devices.Virtio;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>What a driver of a virtio input device does, and the work of the suite.</summary>
public static class InputWork
{
    /// <summary>Gives the device buffers for so many events.</summary>
    public static ulong Offer(VirtioDriver driver, int count)
    {
        ulong first = driver.Allocate(count * 8);
        for (int i = 0; i < count; i++)
            _ = driver.Queues[0].Add([new DriverBuffer(first + (8 * (ulong)i), 8, IsWritable: true)]);
        driver.Queues[0].Kick();
        return first;
    }

    /// <summary>The events that the device has put into buffers which follow each other.</summary>
    public static async Task<(int Type, int Code, int Value)[]> TakeAsync(VirtioDriver driver, ulong first, int count)
    {
        for (int i = 0; i < count; i++)
            Assert.Equal(8u, (await driver.NextUsedAsync(0)).Written);
        byte[] bytes = driver.Bytes(first, count * 8);
        return [.. Enumerable.Range(0, count).Select(i => (
            (int)BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(i * 8)),
            (int)BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan((i * 8) + 2)),
            BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan((i * 8) + 4))))];
    }

    /// <summary>Bytes of a status that a driver sends.</summary>
    public static byte[] Status(int type, int code, int value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)type);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(2), (ushort)code);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(4), value);
        return bytes;
    }

    internal static async Task TypeAsync(VirtioSubject subject, Random random)
    {
        var keyboard = (VirtioKeyboard)subject.Device;
        var key = new KeyCode((byte)random.Next(1, 0x54));
        bool isEarly = random.Next(2) == 0;
        ulong first = 0;
        if (!isEarly)
            first = Offer(subject.Driver, 4);
        lock (subject.Gate)
        {
            keyboard.SetKey(key, isDown: true);
            keyboard.SetKey(key, isDown: false);
        }

        if (isEarly)
            first = Offer(subject.Driver, 4);
        Assert.Equal([(1, key.Number, 1), (0, 0, 0), (1, key.Number, 0), (0, 0, 0)], await TakeAsync(subject.Driver, first, 4));
        int led = random.Next(2);
        _ = await subject.Driver.DoAsync(1, [new DriverBuffer(subject.Driver.Allocate(Status(0x11, 1, led)), 8)], random.Next(2) == 0);
        Assert.Equal(led * 4, keyboard.Leds);
        Assert.False(subject.Driver.Queues[0].TryGetUsed(out _, out _));
    }

    internal static async Task PointAsync(VirtioSubject subject, Random random)
    {
        var tablet = (VirtioTablet)subject.Device;
        bool isEarly = random.Next(2) == 0;
        // The place of the last time is told once.
        (int x, int y) = (random.Next(1, 16000), random.Next(1, 16000));
        ulong first = 0;
        if (!isEarly)
            first = Offer(subject.Driver, 5);
        lock (subject.Gate)
            tablet.Move(new PointerChange(x, y, 0, 0, -3, PointerButtons.Right));
        if (isEarly)
            first = Offer(subject.Driver, 5);
        Assert.Equal([(3, 0, x), (3, 1, y), (1, 0x111, 1), (2, 8, 3), (0, 0, 0)], await TakeAsync(subject.Driver, first, 5));
        lock (subject.Gate)
            tablet.Move(new PointerChange(0, 0, 0, 0, 0, PointerButtons.None));
        first = Offer(subject.Driver, 4);
        Assert.Equal([(3, 0, 0), (3, 1, 0), (1, 0x111, 0), (0, 0, 0)], await TakeAsync(subject.Driver, first, 4));
        _ = await subject.Driver.DoAsync(1, [new DriverBuffer(subject.Driver.Allocate(Status(0x11, 0, 1)), 8)]);
        Assert.False(subject.Driver.Queues[0].TryGetUsed(out _, out _));
    }
}
