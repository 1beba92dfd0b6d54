using System.Buffers.Binary;
using Doppel.Devices.Display;
using Doppel.Devices.Display.Gpu;

namespace Doppel.Devices.Virtio;

/// <content>The commands (virtio 1.2, 5.7.6.8 and 5.7.6.10).</content>
public sealed partial class VirtioGpu
{
    private const int PieceLength = 16;
    private const int ScreenCount = 16, ScreenLength = 24;
    private const int EdidRoom = 1024;
    private const int CursorSide = 64;

    private static uint Word(ReadOnlySpan<byte> request, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(request[offset..]);

    /// <summary>Does a command of the control queue.</summary>
    private GpuAnswer Do(VirtioChain chain, ReadOnlySpan<byte> request, int length, Span<byte> data, out int dataLength)
    {
        dataLength = 0;
        var type = (GpuCommandType)Word(request, 0);
        if (GpuCommand.LengthOf(type) is not int needed)
            return GpuAnswer.Unspecified;
        if (length < needed)
            return GpuAnswer.InvalidParameter;
        switch (type)
        {
            case GpuCommandType.GetDisplayInformation:
                // The other screens are zeros: not there.
                BinaryPrimitives.WriteUInt32LittleEndian(data[8..], (uint)_width);
                BinaryPrimitives.WriteUInt32LittleEndian(data[12..], (uint)_height);
                BinaryPrimitives.WriteUInt32LittleEndian(data[16..], 1);
                dataLength = ScreenCount * ScreenLength;
                return GpuAnswer.DisplayInformation;
            case GpuCommandType.GetEdid when !Has(EdidFeature):
                return GpuAnswer.Unspecified;
            case GpuCommandType.GetEdid when Word(request, 24) != 0:
                return GpuAnswer.InvalidScreen;
            case GpuCommandType.GetEdid:
                BinaryPrimitives.WriteUInt32LittleEndian(data, Edid.Length);
                Edid.Make(_width, _height).CopyTo(data[8..]);
                dataLength = 8 + EdidRoom;
                return GpuAnswer.Edid;
            case GpuCommandType.Create:
                return Create(Word(request, 24), Word(request, 28), Word(request, 32), Word(request, 36));
            case GpuCommandType.SetScreen:
                return SetScreen(Word(request, 40), Word(request, 44), request);
        }

        // The others are about a resource.
        int place = type switch
        {
            GpuCommandType.Flush => 40,
            GpuCommandType.Transfer => 48,
            _ => 24,
        };
        if (!_resources.TryGetValue(Word(request, place), out GpuResource? resource))
            return GpuAnswer.InvalidResource;
        switch (type)
        {
            case GpuCommandType.Remove:
                Remove(resource);
                return GpuAnswer.Done;
            case GpuCommandType.AttachBacking:
                return Attach(chain, resource, Word(request, 28));
            case GpuCommandType.DetachBacking:
                Detach(resource);
                return GpuAnswer.Done;
        }

        if (ReadPart(request, resource) is not PixelRectangle part)
            return GpuAnswer.InvalidParameter;
        if (type == GpuCommandType.Flush)
            _picture.Flush(resource, part);
        else if (!resource.TryFill(Platform.Memory, part, BinaryPrimitives.ReadUInt64LittleEndian(request[40..])))
            return resource.Backing is null ? GpuAnswer.Unspecified : GpuAnswer.InvalidParameter;
        return GpuAnswer.Done;
    }

    /// <summary>Does a command of the cursor queue.</summary>
    private GpuAnswer DoCursor(ReadOnlySpan<byte> request, int length)
    {
        var type = (GpuCommandType)Word(request, 0);
        if (type is not (GpuCommandType.UpdateCursor or GpuCommandType.MoveCursor))
            return GpuAnswer.Unspecified;
        if (length < GpuCommand.CursorLength)
            return GpuAnswer.InvalidParameter;
        if (Word(request, 24) != 0)
            return GpuAnswer.InvalidScreen;
        // Left of the screen and above it are numbers below zero.
        (int x, int y) = (Place(Word(request, 28)), Place(Word(request, 32)));
        if (type == GpuCommandType.MoveCursor)
        {
            _picture.Cursor = _picture.Cursor with { X = x, Y = y };
            return GpuAnswer.Done;
        }

        uint id = Word(request, 40), hotX = Word(request, 44), hotY = Word(request, 48);
        if (id == 0)
        {
            _picture.Cursor = new CursorPlane(null, x, y, false);
            return GpuAnswer.Done;
        }

        if (!_resources.TryGetValue(id, out GpuResource? resource))
            return GpuAnswer.InvalidResource;
        if (resource.Width != CursorSide || resource.Height != CursorSide || hotX >= CursorSide || hotY >= CursorSide)
            return GpuAnswer.InvalidParameter;
        uint[] colors = new uint[CursorSide * CursorSide];
        for (int row = 0; row < CursorSide; row++)
            resource.Read(0, row, colors.AsSpan(row * CursorSide, CursorSide));
        _picture.Cursor = new CursorPlane(new CursorImage(CursorSide, CursorSide, (int)hotX, (int)hotY, colors), x, y, true);
        return GpuAnswer.Done;
    }

    private static int Place(uint value) => Math.Clamp((int)value, -PixelSurface.MaximumSide, PixelSurface.MaximumSide);

    // Four words from the header's end on: column, row, width, height. Null when the resource has no such part.
    private static PixelRectangle? ReadPart(ReadOnlySpan<byte> request, GpuResource resource)
    {
        ulong x = Word(request, 24), y = Word(request, 28), width = Word(request, 32), height = Word(request, 36);
        return x + width <= (ulong)resource.Width && y + height <= (ulong)resource.Height && width != 0 && height != 0
            ? new PixelRectangle((int)x, (int)y, (int)width, (int)height)
            : null;
    }

    private GpuAnswer Create(uint id, uint format, uint width, uint height)
    {
        if (id == 0 || _resources.ContainsKey(id))
            return GpuAnswer.InvalidResource;
        if (!GpuFormats.IsKnown(format) || width is 0 or > GpuResource.MaximumSide || height is 0 or > GpuResource.MaximumSide)
            return GpuAnswer.InvalidParameter;
        long bytes = GpuResource.BytesOf(width, height);
        if (bytes > MaximumBytes - _bytes || _resources.Count == MaximumResources)
            return GpuAnswer.OutOfMemory;
        _resources.Add(id, new GpuResource(id, (GpuFormat)format, (int)width, (int)height));
        _bytes += bytes;
        return GpuAnswer.Done;
    }

    private void Remove(GpuResource resource)
    {
        Detach(resource);
        if (_picture.Resource == resource)
            _picture.Show(null, _picture.Part);
        _ = _resources.Remove(resource.Id);
        _bytes -= GpuResource.BytesOf(resource.Width, resource.Height);
    }

    private GpuAnswer SetScreen(uint screen, uint id, ReadOnlySpan<byte> request)
    {
        if (screen != 0)
            return GpuAnswer.InvalidScreen;
        if (id == 0)
        {
            _picture.Show(null, _picture.Part);
            IsShown = true;
            return GpuAnswer.Done;
        }

        if (!_resources.TryGetValue(id, out GpuResource? resource))
            return GpuAnswer.InvalidResource;
        if (ReadPart(request, resource) is not { Width: <= PixelSurface.MaximumSide, Height: <= PixelSurface.MaximumSide } part)
            return GpuAnswer.InvalidParameter;
        _picture.Show(resource, part);
        IsShown = true;
        return GpuAnswer.Done;
    }

    private GpuAnswer Attach(VirtioChain chain, GpuResource resource, uint count)
    {
        if (resource.Backing is not null)
            return GpuAnswer.Unspecified;
        if (count == 0 || count > (chain.ReadableLength - GpuCommand.AttachLength) / PieceLength)
            return GpuAnswer.InvalidParameter;
        if (count > MaximumPieces - _pieces)
            return GpuAnswer.OutOfMemory;
        var pieces = new (ulong Address, uint Length)[count];
        byte[] list = new byte[count * PieceLength];
        _ = chain.Read(GpuCommand.AttachLength, list);
        for (int i = 0; i < pieces.Length; i++)
        {
            ReadOnlySpan<byte> piece = list.AsSpan(i * PieceLength);
            pieces[i] = (BinaryPrimitives.ReadUInt64LittleEndian(piece), Word(piece, 8));
            if (!Platform.Memory.IsRam(pieces[i].Address, pieces[i].Length))
                return GpuAnswer.InvalidParameter;
        }

        resource.Backing = new GpuBacking(pieces);
        _pieces += pieces.Length;
        return GpuAnswer.Done;
    }

    private void Detach(GpuResource resource)
    {
        _pieces -= resource.Backing?.Pieces.Count ?? 0;
        resource.Backing = null;
    }
}
