namespace Doppel.Devices.Console;

/// <summary>
/// The far end of a serial line. Members may be called by any thread; a device calls them with the machine's I/O lock
/// held, so none may block for long or wait for that lock.
/// </summary>
public interface IConsoleBackend
{
    /// <summary>Input has come that <see cref="Read"/> would return. Raised on any thread, without locks of the back end held.</summary>
    event Action? InputAvailable;

    /// <summary>
    /// <see cref="CanAcceptOutput"/> has become true again. Raised on any thread, without locks of the back end held.
    /// A back end that always accepts output never raises it.
    /// </summary>
    event Action? OutputDrained
    {
        add { }
        remove { }
    }

    /// <summary>False while so much output is waiting that the device should hold the guest back. <see cref="Write"/> still takes bytes then.</summary>
    bool CanAcceptOutput => true;

    /// <summary>Takes input that has arrived, at most the buffer's length; 0 when there is none. What is not taken stays: that is the flow control.</summary>
    int Read(Span<byte> buffer);

    /// <summary>Sends bytes. All are taken, in order, and none is lost; a slow destination is served later by the back end itself.</summary>
    void Write(ReadOnlySpan<byte> data);
}
