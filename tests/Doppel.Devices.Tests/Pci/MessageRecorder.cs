using Doppel.Machine.Interrupts;

namespace Doppel.Devices.Tests.Pci;

/// <summary>Keeps the messages that functions send.</summary>
public sealed class MessageRecorder : IMessageSink
{
    public List<(ulong Address, uint Data)> Messages { get; } = [];

    public void Deliver(ulong address, uint data)
    {
        lock (Messages)
            Messages.Add((address, data));
    }

    /// <summary>What has come since the last call.</summary>
    public (ulong Address, uint Data)[] Take()
    {
        lock (Messages)
        {
            (ulong, uint)[] taken = [.. Messages];
            Messages.Clear();
            return taken;
        }
    }
}
