using Doppel.Devices.Display.Vga;
using Doppel.Devices.Virtio;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Display.Gpu;

/// <summary>The saved form of a virtio GPU's resources and of what it shows.</summary>
/// <param name="Resources">The resources.</param>
/// <param name="ShownId">Which of them is on the screen; 0 for none.</param>
/// <param name="Part">The part of it.</param>
/// <param name="Cursor">The pointer.</param>
/// <param name="IsShown">True when the driver has shown something.</param>
internal sealed record GpuState(IReadOnlyList<GpuResource> Resources, uint ShownId, PixelRectangle Part, CursorPlane Cursor, bool IsShown)
{
    internal static void Save(StateWriter writer, IReadOnlyCollection<GpuResource> resources, GpuPicture picture, bool isShown)
    {
        writer.Write(resources.Count);
        foreach (GpuResource resource in resources)
        {
            writer.Write(resource.Id);
            writer.Write((uint)resource.Format);
            writer.Write(resource.Width);
            writer.Write(resource.Height);
            writer.Write(resource.Backing is null ? -1 : resource.Backing.Pieces.Count);
            foreach ((ulong address, uint length) in resource.Backing?.Pieces ?? [])
            {
                writer.Write(address);
                writer.Write(length);
            }

            VideoMemoryState.Save(writer, resource.Bytes);
        }

        writer.Write(picture.Resource?.Id ?? 0);
        foreach (int side in (ReadOnlySpan<int>)[picture.Part.X, picture.Part.Y, picture.Part.Width, picture.Part.Height])
            writer.Write(side);
        CursorImage.Save(writer, picture.Cursor.Image);
        writer.Write(picture.Cursor.X);
        writer.Write(picture.Cursor.Y);
        writer.Write(picture.Cursor.IsVisible);
        writer.Write(isShown);
    }

    /// <exception cref="InvalidDataException">No driver could have brought a device there.</exception>
    internal static GpuState Read(StateReader reader, string section, GuestMemory memory)
    {
        int count = (int)StateCheck.Range(section, "resources", reader.ReadInt32(), 0, VirtioGpu.MaximumResources);
        var resources = new Dictionary<uint, GpuResource>();
        long bytes = 0, pieces = 0;
        for (int i = 0; i < count; i++)
        {
            GpuResource resource = ReadResource(reader, section, memory, ref bytes, ref pieces);
            if (resource.Id == 0 || !resources.TryAdd(resource.Id, resource))
                throw new InvalidDataException($"section {section}: the number {resource.Id} of a resource is 0, or there twice");
        }

        uint shown = reader.ReadUInt32();
        var part = new PixelRectangle(reader.ReadInt32(), reader.ReadInt32(), reader.ReadInt32(), reader.ReadInt32());
        _ = StateCheck.Range(section, "columns of the screen", part.Width, 0, PixelSurface.MaximumSide);
        _ = StateCheck.Range(section, "rows of the screen", part.Height, 0, PixelSurface.MaximumSide);
        if (shown != 0 && (!resources.TryGetValue(shown, out GpuResource? onScreen) || part.IsEmpty || part.Intersect(onScreen.Bounds) != part))
            throw new InvalidDataException($"section {section}: the screen shows {part} of resource {shown}, which has no such part");
        CursorImage? image = CursorImage.Read(reader, section);
        int x = (int)StateCheck.Range(section, "column of the pointer", reader.ReadInt32(), -PixelSurface.MaximumSide, PixelSurface.MaximumSide);
        int y = (int)StateCheck.Range(section, "row of the pointer", reader.ReadInt32(), -PixelSurface.MaximumSide, PixelSurface.MaximumSide);
        var cursor = new CursorPlane(image, x, y, reader.ReadBool());
        return new GpuState([.. resources.Values], shown, part, cursor, reader.ReadBool());
    }

    private static GpuResource ReadResource(StateReader reader, string section, GuestMemory memory, ref long bytes, ref long pieces)
    {
        uint id = reader.ReadUInt32(), format = reader.ReadUInt32();
        if (!GpuFormats.IsKnown(format))
            throw new InvalidDataException($"section {section}: resource {id} has the format {format}, which there isn't");
        int width = (int)StateCheck.Range(section, "columns of a resource", reader.ReadInt32(), 1, GpuResource.MaximumSide);
        int height = (int)StateCheck.Range(section, "rows of a resource", reader.ReadInt32(), 1, GpuResource.MaximumSide);
        bytes = StateCheck.Range(section, "bytes of all resources", bytes + GpuResource.BytesOf(width, height), 0, VirtioGpu.MaximumBytes);
        int count = (int)StateCheck.Range(section, "pieces of a backing", reader.ReadInt32(), -1, VirtioGpu.MaximumPieces);
        pieces = StateCheck.Range(section, "pieces of all backings", pieces + Math.Max(count, 0), 0, VirtioGpu.MaximumPieces);
        GpuBacking? backing = null;
        if (count >= 0)
        {
            var found = new (ulong Address, uint Length)[count];
            for (int i = 0; i < count; i++)
            {
                found[i] = (reader.ReadUInt64(), reader.ReadUInt32());
                if (!memory.IsRam(found[i].Address, found[i].Length))
                    throw new InvalidDataException($"section {section}: a piece of resource {id} at 0x{found[i].Address:x} is not RAM");
            }

            backing = new GpuBacking(found);
        }

        var resource = new GpuResource(id, (GpuFormat)format, width, height) { Backing = backing };
        VideoMemoryState.Read(reader, section, (int)GpuResource.BytesOf(width, height)).CopyTo(resource.Bytes);
        return resource;
    }
}
