using System.Threading.Channels;
using Doppel.Api;

namespace Doppel.Daemon;

/// <summary>Tells everybody who listens what happens to machines. Any thread.</summary>
internal sealed class EventHub
{
    // Who doesn't read misses the oldest.
    private const int MostWaiting = 1000;
    private readonly Lock _lock = new();
    private readonly List<Channel<MachineEvent>> _listeners = [];

    /// <summary>Says that something has happened.</summary>
    internal void Publish(string machine, string what, string detail = "") => Publish(new MachineEvent(DateTimeOffset.UtcNow, machine, what, detail));

    /// <summary>The same.</summary>
    internal void Publish(MachineEvent happened)
    {
        lock (_lock)
        {
            foreach (Channel<MachineEvent> listener in _listeners)
                _ = listener.Writer.TryWrite(happened);
        }
    }

    /// <summary>Begins to listen; <see cref="Leave"/> must follow.</summary>
    internal Channel<MachineEvent> Join()
    {
        var channel = Channel.CreateBounded<MachineEvent>(new BoundedChannelOptions(MostWaiting) { FullMode = BoundedChannelFullMode.DropOldest });
        lock (_lock)
            _listeners.Add(channel);
        return channel;
    }

    /// <summary>Ends listening.</summary>
    internal void Leave(Channel<MachineEvent> channel)
    {
        lock (_lock)
            _ = _listeners.Remove(channel);
    }
}
