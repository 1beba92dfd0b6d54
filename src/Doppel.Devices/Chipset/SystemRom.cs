using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Chipset;

/// <summary>
/// The ROM with the machine's firmware: it ends at 4 GiB, where the processor begins (Intel SDM vol. 3, 10.1.4), and its last
/// 128 KiB show below 1 MiB too, as far as <see cref="ShadowMemory"/> lets them.
/// </summary>
public sealed class SystemRom : IDevice
{
    /// <summary>Largest image.</summary>
    public const int MaximumLength = 16 << 20;

    private const ulong End = 0x1_0000_0000;
    private readonly GuestMemory _memory;

    /// <summary>Places an image.</summary>
    /// <param name="memory">The machine's memory.</param>
    /// <param name="image">Whole pages, at most <see cref="MaximumLength"/>; empty when a saved state will bring it.</param>
    public SystemRom(GuestMemory memory, byte[] image)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(image);
        if (image.Length > MaximumLength || image.Length % GuestMemory.PageSize != 0)
            throw new ArgumentOutOfRangeException(nameof(image), image.Length, "a ROM has whole pages of 4096 bytes, at most 16 MiB");
        _memory = memory;
        Image = image;
        Place();
    }

    /// <summary>Its bytes.</summary>
    public byte[] Image { get; private set; }

    /// <inheritdoc/>
    public string SectionName => "system-rom";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public void Reset()
    {
    }

    /// <summary>Saves the image with the machine, since the host's may be another one when the machine goes on.</summary>
    public void Save(StateWriter writer) => writer.Write(Image.AsSpan());

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        byte[] image = reader.ReadBytes(MaximumLength);
        if (image.Length % GuestMemory.PageSize != 0)
            throw new InvalidDataException($"section {SectionName}: the image has {image.Length} bytes; whole pages of 4096 would be right");
        if (Image.Length != 0)
            _memory.SetKind(End - (ulong)Image.Length, (ulong)Image.Length, PageFlags.None);
        Image = image;
        Place();
    }

    private void Place()
    {
        if (Image.Length == 0)
            return;
        ulong start = End - (ulong)Image.Length;
        _memory.Store(start, Image);
        _memory.SetKind(start, (ulong)Image.Length, PageFlags.Rom);
    }
}
