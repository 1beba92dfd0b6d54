namespace Doppel.Vmm;

/// <summary>What kind of network card a guest finds.</summary>
public enum NetworkModel
{
    /// <summary>virtio-net, the fastest.</summary>
    Virtio,

    /// <summary>Intel's 82540EM, for which systems since 2002 have a driver.</summary>
    E1000,
}
