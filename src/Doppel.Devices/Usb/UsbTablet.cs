using Doppel.Devices.Input;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Usb;

/// <summary>
/// A tablet: a human interface device (HID 1.11) that tells where on the screen the pointer is, with five buttons and a wheel.
/// Its identifiers are those of QEMU's, by which systems know that it may be put to sleep.
/// </summary>
/// <remarks>A report has six bytes: the buttons, column and row as 16 bits from 0 to 32767, and the wheel's steps, up positive.</remarks>
public sealed class UsbTablet : UsbDevice, IPointerDevice
{
    private const ushort Vendor = 0x0627, Product = 0x0001;
    private const int ReportSize = 6, QueueSize = 16, WheelLimit = 127;
    private const byte HidType = 0x21, ReportType = 0x22;
    // A guest that hasn't asked for this long has closed the device.
    private const long Silence = 1_000_000_000;
    private const long IdleUnit = 4_000_000;

    private static readonly byte[] ReportDescriptor =
    [
        0x05, 0x01, 0x09, 0x02, 0xA1, 0x01, // Generic desktop, mouse, application
        0x09, 0x01, 0xA1, 0x00, // pointer, physical
        0x05, 0x09, 0x19, 0x01, 0x29, 0x05, 0x15, 0x00, 0x25, 0x01, 0x95, 0x05, 0x75, 0x01, 0x81, 0x02, // buttons 1 to 5, a bit each
        0x95, 0x01, 0x75, 0x03, 0x81, 0x01, // three bits of nothing
        0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x15, 0x00, 0x26, 0xFF, 0x7F, 0x35, 0x00, 0x46, 0xFF, 0x7F, 0x75, 0x10, 0x95, 0x02, 0x81, 0x02, // X and Y, absolute
        0x09, 0x38, 0x15, 0x81, 0x25, 0x7F, 0x35, 0x00, 0x45, 0x00, 0x75, 0x08, 0x95, 0x01, 0x81, 0x06, // wheel, relative
        0xC0, 0xC0,
    ];

    private static readonly byte[] HidDescriptor = [9, HidType, 0x11, 0x01, 0, 1, ReportType, (byte)ReportDescriptor.Length, 0];

    private static readonly UsbDescriptors Descriptors = new(
        UsbDescriptors.MakeDevice(Vendor, Product, ControlPacketSize),
        UsbDescriptors.MakeConfiguration(
        [
            9, 4, 0, 0, 1, 3, 0, 0, 0, // interface 0 of class HID, neither a keyboard nor a mouse for a BIOS
            .. HidDescriptor,
            7, 5, 0x81, 3, 8, 0, 8, // endpoint 1, interrupt, in, 8 bytes each 8 ms
        ]),
        ["Doppel", "USB Tablet", "1"]);

    private readonly IGuestClock _clock;
    private readonly Queue<byte[]> _reports = [];
    private byte[] _last = new byte[ReportSize];
    private byte[] _newest = new byte[ReportSize];
    private byte _idle;
    private long _sentAt;
    private long _askedAt = -Silence;

    /// <summary>Creates a tablet that isn't at a port yet.</summary>
    /// <param name="clock">The machine's time.</param>
    public UsbTablet(IGuestClock clock)
        : base(Descriptors)
    {
        ArgumentNullException.ThrowIfNull(clock);
        _clock = clock;
    }

    /// <inheritdoc/>
    /// <remarks>Ready is one whose reports the guest fetches, or that may wake its sleeping port.</remarks>
    public bool IsReady => IsConfigured && (_clock.Now - _askedAt < Silence || (IsSuspended && MayWake));

    /// <inheritdoc/>
    public bool IsAbsolute => true;

    /// <inheritdoc/>
    protected override bool HasNews => _reports.Count > 0;

    /// <inheritdoc/>
    public void Move(PointerChange change)
    {
        if (!IsConfigured)
            return;
        int wheel = Math.Clamp(-change.Wheel, -WheelLimit, WheelLimit);
        byte[] report =
        [
            (byte)((int)change.Buttons & 0x1F),
            (byte)change.X, (byte)((change.X >> 8) & 0x7F),
            (byte)change.Y, (byte)((change.Y >> 8) & 0x7F),
            (byte)wheel,
        ];
        // Movements that nobody has fetched become one; a button that goes down and up is told each time, while there is room.
        if (_reports.Count > 0 && (_newest[0] == report[0] || _reports.Count == QueueSize))
        {
            report[5] = (byte)Math.Clamp((sbyte)_newest[5] + wheel, -WheelLimit, WheelLimit);
            report.CopyTo(_newest, 0);
        }
        else if (!report.AsSpan().SequenceEqual(Without(_newest)))
        {
            _newest = report;
            _reports.Enqueue(report);
        }
        else
        {
            return;
        }

        RaiseChanged();
    }

    /// <inheritdoc/>
    protected override void ResetClass()
    {
        _reports.Clear();
        _last = new byte[ReportSize];
        _newest = new byte[ReportSize];
        _idle = 0;
        (_sentAt, _askedAt) = (0, -Silence);
    }

    /// <inheritdoc/>
    protected override UsbHandshake SendInterrupt(out ReadOnlySpan<byte> packet)
    {
        _askedAt = _clock.Now;
        packet = default;
        if (_reports.TryDequeue(out byte[]? report))
            _last = report;
        else if (_idle != 0 && _askedAt - _sentAt >= _idle * IdleUnit)
            _last = Without(_last);
        else
            return UsbHandshake.Nak;
        _sentAt = _askedAt;
        packet = _last;
        return UsbHandshake.Ack;
    }

    /// <inheritdoc/>
    private protected override byte[]? Answer(UsbSetup setup) => (setup.Code, setup.Index) switch
    {
        (0x8106, 0) when setup.Value >> 8 == HidType => HidDescriptor,
        (0x8106, 0) when setup.Value >> 8 == ReportType => ReportDescriptor,
        (0xA101, 0) when setup.Value == 0x0100 => Without(_last),
        (0xA102, 0) => [_idle],
        _ => null,
    };

    /// <inheritdoc/>
    private protected override bool PerformClass(UsbSetup setup, ReadOnlySpan<byte> data)
    {
        // Set Idle is all that a device without outputs and features can be told.
        if (setup.Code != 0x210A || setup.Index != 0)
            return false;
        _idle = (byte)(setup.Value >> 8);
        _sentAt = _clock.Now;
        return true;
    }

    /// <inheritdoc/>
    protected override void SaveClass(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write(_reports.Count);
        foreach (byte[] report in _reports)
            writer.Write(report.AsSpan());
        writer.Write(_last.AsSpan());
        writer.Write(_newest.AsSpan());
        writer.Write(_idle);
        writer.Write(_sentAt);
        writer.Write(_askedAt);
    }

    /// <inheritdoc/>
    protected override Action ReadClass(StateReader reader, string section)
    {
        ArgumentNullException.ThrowIfNull(reader);
        int count = (int)StateCheck.Range(section, "reports", reader.ReadInt32(), 0, QueueSize);
        byte[][] reports = [.. Enumerable.Range(0, count).Select(_ => ReadReport(reader, section))];
        byte[] last = ReadReport(reader, section), newest = ReadReport(reader, section);
        byte idle = reader.ReadByte();
        long sentAt = StateCheck.Range(section, "time of the last report", reader.ReadInt64(), 0, long.MaxValue / 4);
        long askedAt = StateCheck.Range(section, "time of the last question", reader.ReadInt64(), -Silence, long.MaxValue / 4);
        return () =>
        {
            _reports.Clear();
            foreach (byte[] report in reports)
                _reports.Enqueue(report);
            // The newest is changed in place while it waits.
            _newest = count > 0 ? reports[^1] : newest;
            (_last, _idle, _sentAt, _askedAt) = (last, idle, sentAt, askedAt);
        };
    }

    private static byte[] ReadReport(StateReader reader, string section) =>
        StateCheck.Length(section, "a report", reader.ReadBytes(ReportSize), ReportSize);

    // The wheel's steps are told once.
    private static byte[] Without(byte[] report) => [.. report.AsSpan(0, ReportSize - 1), 0];
}
