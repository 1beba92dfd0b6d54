namespace Doppel.Devices.Vsock;

/// <summary>What a connection needs of the device that it belongs to. With the machine's I/O lock held.</summary>
internal interface IVsockLink
{
    /// <summary>Sends the guest a packet without data about a connection.</summary>
    void Send(VsockConnection connection, ushort operation, uint flags = 0);

    /// <summary>A connection has data for the guest, or room for more of the guest's.</summary>
    void Ready(VsockConnection connection);

    /// <summary>A connection is over.</summary>
    void Remove(VsockConnection connection);
}
