using System.Buffers.Binary;
using System.Text;
using System.Threading.Channels;
using Doppel.Devices.Input;

namespace Doppel.Devices.Display.Rfb;

/// <summary>One client from its ClientInit on (RFC 6143, 7.3 to 7.7): one task reads its messages, one sends it updates when it has asked and something has changed.</summary>
internal sealed class RfbSession : IDisposable
{
    private const int MostEncodings = 1024, MostCutText = 1 << 20;
    private readonly Stream _stream;
    private readonly GuestDisplay _display;
    private readonly RfbInput _input;
    private readonly string _name;
    private readonly Channel<bool> _wakes = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private readonly Lock _lock = new();
    private readonly PixelSurface _next = new();
    private readonly PixelSurface _shown = new();
    private readonly DamageRegion _damage = new();
    private readonly RfbEncoder _encoder = new();
    private readonly RfbBuffer _output = new();
    private RfbPixelFormat _format = RfbPixelFormat.Native;
    private HashSet<int> _encodings = [RfbEncoding.Raw];
    private int _pixelEncoding = RfbEncoding.Raw;
    private PixelRectangle? _wanted;
    private bool _wantsAll;
    private bool _announcesKeys;
    private bool _announcesSize;
    private bool _announcesColors;
    private bool? _wasAbsolute;
    private int? _refusal;

    internal RfbSession(Stream stream, GuestDisplay display, GuestInput input, string name)
    {
        _stream = stream;
        _display = display;
        _input = new RfbInput(input);
        _name = name;
    }

    /// <summary>Serves the client to its end.</summary>
    internal async Task RunAsync(CancellationToken cancel)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        using DisplayWatcher watcher = _display.Watch(Wake);
        _ = (await ReadAsync(1, end.Token).ConfigureAwait(false))[0];
        PixelSurface first = _display.TakePicture();
        _ = _shown.Resize(first.Width, first.Height);
        _ = _next.Resize(first.Width, first.Height);
        await _stream.WriteAsync(MakeServerInit(), end.Token).ConfigureAwait(false);
        Task sending = SendAsync(watcher, end.Token);
        try
        {
            while (true)
                await HandleAsync(watcher, end.Token).ConfigureAwait(false);
        }
        finally
        {
            _input.Release();
            await end.CancelAsync().ConfigureAwait(false);
            try
            {
                await sending.ConfigureAwait(false);
            }
            catch (Exception e) when (e is OperationCanceledException or IOException or ObjectDisposedException)
            {
                // It ends for the same reason.
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _encoder.Dispose();

    private void Wake() => _ = _wakes.Writer.TryWrite(true);

    private async Task<byte[]> ReadAsync(int count, CancellationToken cancel)
    {
        byte[] bytes = new byte[count];
        await _stream.ReadExactlyAsync(bytes, cancel).ConfigureAwait(false);
        return bytes;
    }

    private ReadOnlyMemory<byte> MakeServerInit()
    {
        var message = new RfbBuffer();
        message.WriteUInt16((ushort)_shown.Width);
        message.WriteUInt16((ushort)_shown.Height);
        RfbPixelFormat.Native.Write(message.Take(RfbPixelFormat.Length));
        byte[] name = Encoding.UTF8.GetBytes(_name);
        message.WriteInt32(name.Length);
        message.Write(name);
        return message.Written;
    }

    private async Task HandleAsync(DisplayWatcher watcher, CancellationToken cancel)
    {
        byte type = (await ReadAsync(1, cancel).ConfigureAwait(false))[0];
        switch (type)
        {
            case 0:
                SetFormat(await ReadAsync(3 + RfbPixelFormat.Length, cancel).ConfigureAwait(false));
                break;
            case 2:
                int count = BinaryPrimitives.ReadUInt16BigEndian((await ReadAsync(3, cancel).ConfigureAwait(false)).AsSpan(1));
                if (count > MostEncodings)
                    throw new InvalidDataException($"{count} encodings");
                SetEncodings(await ReadAsync(4 * count, cancel).ConfigureAwait(false));
                break;
            case 3:
                Request(watcher, await ReadAsync(9, cancel).ConfigureAwait(false));
                break;
            case 4:
                byte[] key = await ReadAsync(7, cancel).ConfigureAwait(false);
                _input.Key(BinaryPrimitives.ReadUInt32BigEndian(key.AsSpan(3)), key[0] != 0);
                break;
            case 5:
                byte[] pointer = await ReadAsync(5, cancel).ConfigureAwait(false);
                Point(pointer[0], BinaryPrimitives.ReadUInt16BigEndian(pointer.AsSpan(1)), BinaryPrimitives.ReadUInt16BigEndian(pointer.AsSpan(3)));
                break;
            case 6:
                // Text that was cut at the client has nowhere to go; a negative length is an extension's.
                int length = BinaryPrimitives.ReadInt32BigEndian((await ReadAsync(7, cancel).ConfigureAwait(false)).AsSpan(3));
                if (length is > MostCutText or < -MostCutText)
                    throw new InvalidDataException($"{length} characters were cut");
                _ = await ReadAsync(Math.Abs(length), cancel).ConfigureAwait(false);
                break;
            case 251:
                byte[] size = await ReadAsync(7, cancel).ConfigureAwait(false);
                _ = await ReadAsync(16 * size[5], cancel).ConfigureAwait(false);
                // The guest decides; status 1: prohibited.
                lock (_lock)
                    _refusal = 1;
                Wake();
                break;
            case 255:
                byte subtype = (await ReadAsync(1, cancel).ConfigureAwait(false))[0];
                if (subtype != 0)
                    throw new InvalidDataException($"QEMU's message {subtype} is unknown");
                byte[] extended = await ReadAsync(10, cancel).ConfigureAwait(false);
                _input.Key(BinaryPrimitives.ReadUInt32BigEndian(extended.AsSpan(2)), extended[1] != 0, BinaryPrimitives.ReadUInt32BigEndian(extended.AsSpan(6)));
                break;
            default:
                throw new InvalidDataException($"message {type} is unknown");
        }
    }

    private void Point(byte buttons, int x, int y)
    {
        bool isRelative;
        lock (_lock)
            isRelative = _wasAbsolute == false;
        _input.Point(buttons, x, y, _shown.Width, _shown.Height, isRelative);
    }

    private void SetFormat(byte[] message)
    {
        RfbPixelFormat format = RfbPixelFormat.Read(message.AsSpan(3)) ?? throw new InvalidDataException("a pixel format that can't be");
        lock (_lock)
        {
            _announcesColors |= !format.IsTrueColor;
            _format = format == RfbPixelFormat.Native ? RfbPixelFormat.Native : format;
        }
    }

    private void SetEncodings(byte[] message)
    {
        var encodings = new List<int>();
        for (int i = 0; i < message.Length; i += 4)
            encodings.Add(BinaryPrimitives.ReadInt32BigEndian(message.AsSpan(i)));
        lock (_lock)
        {
            _encodings = [.. encodings];
            // The client's order is its preference.
            _pixelEncoding = encodings.Cast<int?>().FirstOrDefault(encoding => RfbEncoding.HasPixels(encoding!.Value)) ?? RfbEncoding.Raw;
            _announcesKeys |= _encodings.Contains(RfbEncoding.QemuExtendedKey);
            _announcesSize |= _encodings.Contains(RfbEncoding.ExtendedDesktopSize);
        }
    }

    private void Request(DisplayWatcher watcher, byte[] message)
    {
        bool isIncremental = message[0] != 0;
        var part = new PixelRectangle(
            BinaryPrimitives.ReadUInt16BigEndian(message.AsSpan(1)), BinaryPrimitives.ReadUInt16BigEndian(message.AsSpan(3)), BinaryPrimitives.ReadUInt16BigEndian(message.AsSpan(5)), BinaryPrimitives.ReadUInt16BigEndian(message.AsSpan(7)));
        if (!isIncremental)
            watcher.Invalidate(part);
        lock (_lock)
        {
            _wanted = part;
            _wantsAll |= !isIncremental;
        }

        Wake();
    }

    private async Task SendAsync(DisplayWatcher watcher, CancellationToken cancel)
    {
        await foreach (bool _ in _wakes.Reader.ReadAllAsync(cancel).ConfigureAwait(false))
        {
            if (!MakeUpdate(watcher))
                continue;
            await _stream.WriteAsync(_output.Written, cancel).ConfigureAwait(false);
            await _stream.FlushAsync(cancel).ConfigureAwait(false);
        }
    }

    // Puts a message together; false when there is nothing to say yet.
    private bool MakeUpdate(DisplayWatcher watcher)
    {
        PixelRectangle wanted;
        bool wantsAll;
        RfbPixelFormat format;
        HashSet<int> encodings;
        int encoding;
        bool announcesKeys, announcesSize, announcesColors;
        int? refusal;
        lock (_lock)
        {
            if (_wanted is not PixelRectangle part)
                return false;
            (wanted, wantsAll, format, encodings, encoding) = (part, _wantsAll, _format, _encodings, _pixelEncoding);
            (announcesKeys, announcesSize, announcesColors, refusal) = (_announcesKeys, _announcesSize, _announcesColors, _refusal);
        }

        bool hasResized = false;
        List<PixelRectangle> changed = [];
        // What the client can be told of a new size; else it goes on with a part of the screen.
        bool followsSize = encodings.Contains(RfbEncoding.ExtendedDesktopSize) || encodings.Contains(RfbEncoding.DesktopSize);
        watcher.Take(wanted, (surface, parts) =>
        {
            if (followsSize)
                hasResized = _next.Resize(surface.Width, surface.Height);
            foreach (PixelRectangle part in parts)
            {
                PixelRectangle visible = part.Intersect(_next.Bounds);
                if (visible.IsEmpty)
                    continue;
                changed.Add(visible);
                for (int y = visible.Y; y < visible.Bottom; y++)
                    surface.Row(y).Slice(visible.X, visible.Width).CopyTo(_next.Row(y)[visible.X..]);
            }
        });
        _output.Clear();
        if (announcesColors)
            AppendPalette();
        int start = _output.Length;
        _output.WriteInt32(0);
        int rectangles = 0;
        if (announcesKeys)
        {
            _output.WriteRectangle(default, RfbEncoding.QemuExtendedKey);
            rectangles++;
        }

        if (encodings.Contains(RfbEncoding.QemuPointerMotion) && _input.IsAbsolute is bool isAbsolute && isAbsolute != _wasAbsolute)
        {
            lock (_lock)
                _wasAbsolute = isAbsolute;
            _output.WriteRectangle(new PixelRectangle(isAbsolute ? 1 : 0, 0, _next.Width, _next.Height), RfbEncoding.QemuPointerMotion);
            rectangles++;
        }

        if (hasResized || announcesSize || refusal is not null)
        {
            AppendSize(encodings, refusal);
            rectangles++;
        }

        if (hasResized)
        {
            // The picture follows when the client has asked for it at its new size.
            _ = _shown.Resize(_next.Width, _next.Height);
            watcher.Invalidate(_next.Bounds);
        }
        else
        {
            rectangles += AppendPicture(changed, wanted.Intersect(_next.Bounds), wantsAll, format, encoding, encodings.Contains(RfbEncoding.CopyRect));
        }

        if (rectangles == 0)
            return false;
        lock (_lock)
        {
            (_announcesKeys, _announcesSize, _announcesColors, _refusal) = (_announcesKeys && !announcesKeys, _announcesSize && !announcesSize, false, null);
            _wanted = null;
            _wantsAll = false;
        }

        BinaryPrimitives.WriteUInt16BigEndian(System.Runtime.InteropServices.MemoryMarshal.AsMemory(_output.Written).Span[(start + 2)..], (ushort)rectangles);
        return true;
    }

    private int AppendPicture(List<PixelRectangle> changed, PixelRectangle wanted, bool wantsAll, RfbPixelFormat format, int encoding, bool mayCopy)
    {
        int count = 0;
        _damage.Reset(_next.Width, _next.Height);
        if (mayCopy && !wantsAll && changed.Count != 0)
        {
            PixelRectangle bounds = Bound(changed);
            PixelRectangle moved = ScrollFinder.Find(_shown, _next, bounds, out int source);
            if (!moved.IsEmpty)
            {
                Move(moved, source);
                _output.WriteRectangle(moved, RfbEncoding.CopyRect);
                _output.WriteUInt16((ushort)moved.X);
                _output.WriteUInt16((ushort)source);
                count++;
                // What was moved may differ now where nothing had changed.
                changed = [bounds];
            }
        }

        foreach (PixelRectangle part in changed)
        {
            for (int y = part.Y; y < part.Bottom; y++)
                _shown.Put(part.X, y, _next.Row(y).Slice(part.X, part.Width), _damage);
        }

        if (wantsAll)
            _damage.Add(wanted);
        foreach (PixelRectangle part in _damage.Take(wanted).SelectMany(part => RfbEncoder.Split(part, encoding)))
        {
            _encoder.Encode(_output, _shown, part, format, encoding);
            count++;
        }

        return count;
    }

    private static PixelRectangle Bound(List<PixelRectangle> parts)
    {
        int x = parts.Min(part => part.X), y = parts.Min(part => part.Y);
        return new PixelRectangle(x, y, parts.Max(part => part.Right) - x, parts.Max(part => part.Bottom) - y);
    }

    private void Move(PixelRectangle part, int source)
    {
        bool isUp = source > part.Y;
        for (int i = 0; i < part.Height; i++)
        {
            int row = isUp ? i : part.Height - 1 - i;
            _shown.Row(source + row).Slice(part.X, part.Width).CopyTo(_shown.Row(part.Y + row)[part.X..]);
        }
    }

    private void AppendSize(HashSet<int> encodings, int? refusal)
    {
        if (!encodings.Contains(RfbEncoding.ExtendedDesktopSize))
        {
            _output.WriteRectangle(_next.Bounds, RfbEncoding.DesktopSize);
            return;
        }

        // In the place of the position: why (1: a client asked), and the status.
        _output.WriteRectangle(new PixelRectangle(refusal is null ? 0 : 1, refusal ?? 0, _next.Width, _next.Height), RfbEncoding.ExtendedDesktopSize);
        _output.WriteInt32(1 << 24);
        _output.WriteInt32(0);
        _output.WriteInt32(0);
        _output.WriteUInt16((ushort)_next.Width);
        _output.WriteUInt16((ushort)_next.Height);
        _output.WriteInt32(0);
    }

    // SetColourMapEntries: the colours of RfbPixelFormat.Palette.
    private void AppendPalette()
    {
        _output.WriteByte((byte)1);
        _output.WriteByte((byte)0);
        _output.WriteUInt16((ushort)0);
        _output.WriteUInt16((ushort)256);
        for (int i = 0; i < 256; i++)
        {
            _output.WriteUInt16((ushort)((i >> 5) * 65535 / 7));
            _output.WriteUInt16((ushort)(((i >> 2) & 7) * 65535 / 7));
            _output.WriteUInt16((ushort)((i & 3) * 65535 / 3));
        }
    }
}
