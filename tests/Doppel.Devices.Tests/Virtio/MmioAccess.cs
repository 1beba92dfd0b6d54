using Doppel.Devices.Virtio;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>Reaches a device through the registers of the MMIO transport.</summary>
public sealed class MmioAccess : IVirtioAccess
{
    private readonly FakeLine _line = new();
    private readonly Lock _gate;
    private int _lastRises;

    public MmioAccess(VirtioDevice device, Lock gate)
    {
        _gate = gate;
        Transport = new VirtioMmioTransport(device, 0xD000_0000, _line);
        Assert.Equal(0x7472_6976u, Read(0));
        Assert.Equal(2u, Read(4));
    }

    public VirtioMmioTransport Transport { get; }

    public int DeviceType => (int)Read(8);

    public byte Status
    {
        get => (byte)Read(0x70);
        set => Write(0x70, value);
    }

    public byte ConfigGeneration => (byte)Read(0xFC);

    public ulong ReadFeatures()
    {
        Write(0x14, 0);
        ulong low = Read(0x10);
        Write(0x14, 1);
        return low | ((ulong)Read(0x10) << 32);
    }

    public void WriteFeatures(ulong features)
    {
        Write(0x24, 0);
        Write(0x20, (uint)features);
        Write(0x24, 1);
        Write(0x20, (uint)(features >> 32));
    }

    public int QueueMaximum(int queue)
    {
        Write(0x30, (uint)queue);
        return (int)Read(0x34);
    }

    public void SetQueue(int queue, int size, ulong descriptors, ulong driver, ulong device)
    {
        Write(0x30, (uint)queue);
        Write(0x38, (uint)size);
        Write(0x80, (uint)descriptors);
        Write(0x84, (uint)(descriptors >> 32));
        Write(0x90, (uint)driver);
        Write(0x94, (uint)(driver >> 32));
        Write(0xA0, (uint)device);
        Write(0xA4, (uint)(device >> 32));
    }

    public void EnableQueue(int queue)
    {
        Write(0x30, (uint)queue);
        Write(0x44, 1);
    }

    public bool IsQueueEnabled(int queue)
    {
        Write(0x30, (uint)queue);
        return Read(0x44) == 1;
    }

    public void ResetQueue(int queue)
    {
        Write(0x30, (uint)queue);
        Write(0xC0, 1);
    }

    public bool IsQueueResetting(int queue)
    {
        Write(0x30, (uint)queue);
        return Read(0xC0) == 1;
    }

    public void Notify(int queue) => Write(0x50, (uint)queue);

    public ulong ReadConfig(int offset, int size)
    {
        lock (_gate)
            return Transport.Read((ulong)offset + 0x100, size);
    }

    public void WriteConfig(int offset, int size, ulong value)
    {
        lock (_gate)
            Transport.Write((ulong)offset + 0x100, size, value);
    }

    public int TakeInterrupts()
    {
        int rises = _line.Rises - _lastRises;
        _lastRises = _line.Rises;
        Write(0x64, Read(0x60));
        return rises;
    }

    public void Poke(Random random)
    {
        int size = random.Next(4) == 0 ? 1 << random.Next(4) : 4;
        ulong at = random.Next(8) == 0 ? (ulong)random.Next(0x1100) : (ulong)random.Next(0x50) * 4;
        ulong value = random.Next(3) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(16);
        // Not where the rings are: the device would rightly write there.
        if (at + (ulong)size > 0x80 && at < 0xA8)
            return;
        lock (_gate)
        {
            Transport.Write(at, size, value);
            _ = Transport.Read(at, size);
        }
    }

    public byte[] Save()
    {
        var writer = new StateWriter();
        lock (_gate)
            Transport.Save(writer);
        return writer.ToArray();
    }

    public void Restore(byte[] state)
    {
        var reader = new StateReader(state);
        lock (_gate)
            Transport.Restore(reader, Transport.SectionVersion);
        Assert.True(reader.IsAtEnd);
    }

    public void PowerOnReset()
    {
        lock (_gate)
            Transport.Reset();
    }

    private uint Read(int register)
    {
        lock (_gate)
            return (uint)Transport.Read((ulong)register, 4);
    }

    private void Write(int register, uint value)
    {
        lock (_gate)
            Transport.Write((ulong)register, 4, value);
    }
}
