namespace Doppel.Devices.Network;

/// <summary>A network card of any kind, as its machine sees it.</summary>
public interface INetworkCard
{
    /// <summary>False while somebody has pulled the cable, whatever the back end says. Any thread, without the I/O lock.</summary>
    bool IsPluggedIn { get; set; }
}
