using Doppel.Machine.Bus;

namespace Doppel.Devices.Virtio;

/// <summary>Where a PCI function has the registers of its virtio device.</summary>
/// <param name="RegisterBar">Number of the base address register that maps them.</param>
/// <param name="MessageBar">Number of the one that maps MSI-X's table.</param>
/// <param name="FirstPage">What answers in a page before them; null when they come first.</param>
internal sealed record VirtioPciLayout(int RegisterBar, int MessageBar, IIoRegion? FirstPage);
