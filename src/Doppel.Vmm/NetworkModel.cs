namespace Doppel.Vmm;

/// <summary>What kind of network card a guest finds.</summary>
public enum NetworkModel
{
    /// <summary>virtio-net, the fastest.</summary>
    Virtio,

    /// <summary>Intel's 82540EM, for which systems since 2002 have a driver.</summary>
    E1000,

    /// <summary>Realtek's RTL8139C, for which every system of its time has a driver.</summary>
    Rtl8139,

    /// <summary>An NE2000 on the ISA bus, for systems that know no PCI; at most one.</summary>
    Ne2000,
}
