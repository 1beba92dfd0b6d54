using System.Buffers.Binary;
using Doppel.Devices.Display;
using Doppel.Devices.Display.Gpu;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// GPU device without 3D (virtio 1.2, 5.7): pictures that its driver fills from guest memory, one screen that shows a part of
/// one of them, and a pointer over it. Every command is done when it is answered, so that fences are, too.
/// </summary>
public sealed partial class VirtioGpu : VirtioDevice, IDisplayAdapter
{
    /// <summary>Device type.</summary>
    public const ushort DeviceType = 16;

    /// <summary>PCI class of one that is no VGA: display controller, other.</summary>
    public const uint PciClass = 0x038000;

    /// <summary>Most bytes of all resources together: a driver that wants more is told that memory is out.</summary>
    public const long MaximumBytes = 256 << 20;

    /// <summary>Most resources.</summary>
    public const int MaximumResources = 4096;

    /// <summary>Most pieces of guest memory that all resources together may have: two for each page of the most bytes.</summary>
    public const int MaximumPieces = (int)(MaximumBytes / 4096 * 2);

    private const ulong EdidFeature = 1 << 1;
    private const int ControlQueue = 0;
    private readonly SortedDictionary<uint, GpuResource> _resources = [];
    private readonly GpuPicture _picture = new();
    private readonly int _width;
    private readonly int _height;
    private long _bytes;
    private int _pieces;

    /// <summary>Creates the device.</summary>
    /// <param name="name">Name of its saved section, for example "virtio-gpu0".</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="width">Columns of the screen that the driver is told of: 8 to 4095.</param>
    /// <param name="height">Rows.</param>
    public VirtioGpu(string name, DevicePlatform platform, int width = 1024, int height = 768)
        : base(name, DeviceType, EdidFeature, [256, 16], platform)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 8);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(width, PixelSurface.MaximumSide);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 8);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(height, PixelSurface.MaximumSide);
        (_width, _height) = (width, height);
    }

    /// <summary>True from when the driver has first shown something until its device is reset.</summary>
    public bool IsShown { get; private set; }

    /// <inheritdoc/>
    public override int ConfigLength => 16;

    /// <inheritdoc/>
    public override void ReadConfig(Span<byte> config) => BinaryPrimitives.WriteUInt32LittleEndian(config[8..], 1);

    /// <inheritdoc/>
    public void Capture() => _picture.Capture();

    /// <inheritdoc/>
    public void Render(PixelSurface surface, DamageRegion damage, bool isNew)
    {
        ArgumentNullException.ThrowIfNull(surface);
        ArgumentNullException.ThrowIfNull(damage);
        _picture.Render(surface, damage, isNew);
    }

    /// <inheritdoc/>
    public TextScreen? ReadText() => null;

    /// <inheritdoc/>
    protected override void Handle(VirtioQueue queue, VirtioChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        ArgumentNullException.ThrowIfNull(chain);
        Span<byte> request = stackalloc byte[GpuCommand.LongestRequest];
        request.Clear();
        int length = chain.Read(0, request);
        if (queue.Index != ControlQueue)
        {
            // The driver expects no answer there, but may have one.
            GpuAnswer cursorAnswer = length < GpuCommand.HeaderLength ? GpuAnswer.Unspecified : DoCursor(request, length);
            Complete(chain, Answer(chain, request, cursorAnswer, []));
            return;
        }

        Span<byte> data = stackalloc byte[GpuCommand.LongestAnswer];
        data.Clear();
        int dataLength = 0;
        GpuAnswer answer = length < GpuCommand.HeaderLength ? GpuAnswer.Unspecified : Do(chain, request, length, data, out dataLength);
        Complete(chain, Answer(chain, request, answer, data[..dataLength]));
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        _resources.Clear();
        (_bytes, _pieces) = (0, 0);
        _picture.Reset();
        IsShown = false;
    }

    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        GpuState.Save(writer, _resources.Values, _picture, IsShown);
    }

    /// <inheritdoc/>
    protected override Action ReadDevice(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        GpuState state = GpuState.Read(reader, Name, Platform.Memory);
        return () =>
        {
            OnReset();
            foreach (GpuResource resource in state.Resources)
            {
                _resources.Add(resource.Id, resource);
                _bytes += GpuResource.BytesOf(resource.Width, resource.Height);
                _pieces += resource.Backing?.Pieces.Count ?? 0;
            }

            _picture.Show(state.ShownId == 0 ? null : _resources[state.ShownId], state.Part);
            _picture.Cursor = state.Cursor;
            IsShown = state.IsShown;
        };
    }

    // The header of an answer is that of its request with another type; a fence is passed when its command is (5.7.6.7).
    private static uint Answer(VirtioChain chain, ReadOnlySpan<byte> request, GpuAnswer answer, ReadOnlySpan<byte> data)
    {
        if (chain.WritableLength < GpuCommand.HeaderLength)
            return 0;
        Span<byte> header = stackalloc byte[GpuCommand.HeaderLength];
        header.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(header, (uint)answer);
        uint flags = BinaryPrimitives.ReadUInt32LittleEndian(request[4..]) & GpuCommand.Fence;
        BinaryPrimitives.WriteUInt32LittleEndian(header[4..], flags);
        if (flags != 0)
            request[8..20].CopyTo(header[8..]);
        return (uint)(chain.Write(0, header) + chain.Write(GpuCommand.HeaderLength, data));
    }
}
