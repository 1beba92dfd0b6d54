namespace Doppel.Devices.Tests.Virtio;

/// <summary>How a driver reaches a device: one implementation for each transport.</summary>
public interface IVirtioAccess
{
    byte Status { get; set; }

    byte ConfigGeneration { get; }

    int DeviceType { get; }

    ulong ReadFeatures();

    void WriteFeatures(ulong features);

    int QueueMaximum(int queue);

    void SetQueue(int queue, int size, ulong descriptors, ulong driver, ulong device);

    void EnableQueue(int queue);

    bool IsQueueEnabled(int queue);

    void ResetQueue(int queue);

    bool IsQueueResetting(int queue);

    void Notify(int queue);

    ulong ReadConfig(int offset, int size);

    void WriteConfig(int offset, int size, ulong value);

    /// <summary>Interrupts since the last call.</summary>
    int TakeInterrupts();

    /// <summary>A write of any value anywhere in the registers.</summary>
    void Poke(Random random);

    byte[] Save();

    void Restore(byte[] state);

    void PowerOnReset();
}
