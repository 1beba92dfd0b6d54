namespace Doppel.Devices.Virtio;

/// <summary>How a device tells its driver something: the transport's part. Called with the machine's I/O lock held.</summary>
public interface IVirtioInterrupts
{
    /// <summary>A queue has used buffers.</summary>
    void SignalQueue(int queue);

    /// <summary>The configuration has changed, or the device needs a reset.</summary>
    void SignalConfiguration();
}
