using Doppel.Devices.Console;

namespace Doppel.Devices.Virtio;

/// <summary>A port of a <see cref="VirtioConsole"/>.</summary>
/// <param name="Backend">The far end.</param>
/// <param name="Name">Name by which the guest finds it (/dev/virtio-ports/NAME under Linux); empty for none.</param>
/// <param name="IsConsole">True for a terminal (/dev/hvc0), false for a stream of bytes between programs.</param>
public sealed record VirtioConsolePort(IConsoleBackend Backend, string Name = "", bool IsConsole = false);
