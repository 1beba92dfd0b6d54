using System.Buffers.Binary;
using System.Text;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// Input device (virtio 1.2, 5.8): what a person does becomes events in the manner of Linux's evdev. A derived device says
/// what it can send and holds what is to be sent; here is how the driver asks and how it is told. What comes while the driver
/// has no buffers there waits.
/// </summary>
public abstract class VirtioInput : VirtioDevice
{
    /// <summary>Device type.</summary>
    public const ushort DeviceType = 18;

    /// <summary>Bytes of an event.</summary>
    internal const int EventLength = 8;

    private const int EventQueue = 0;
    private const int PayloadOffset = 8, PayloadLength = 128;
    // The most events of one update: no device here sends more than a dozen.
    private const int MostEvents = 32;
    // A driver sends the state of a few indicators; what is beyond that in one chain is nothing that a keyboard has.
    private const int MostStatuses = 64;
    private readonly Queue<InputEvent> _outgoing = [];
    private readonly List<VirtioChain> _filled = [];
    private byte _select;
    private byte _subselect;

    /// <summary>Creates a device that is not behind a transport yet.</summary>
    /// <param name="name">Name of its saved section, for example "virtio-keyboard0".</param>
    /// <param name="identity">What the driver is told of it.</param>
    /// <param name="platform">What it is given of the machine.</param>
    private protected VirtioInput(string name, InputIdentity identity, DevicePlatform platform)
        : base(name, DeviceType, 0, [64, 64], platform) => Identity = identity;

    /// <summary>True when a driver is there. It stays so while the machine is paused.</summary>
    public bool IsReady => (Status & (VirtioStatus.DriverOk | VirtioStatus.NeedsReset | VirtioStatus.Failed)) == VirtioStatus.DriverOk;

    /// <inheritdoc/>
    public override int ConfigLength => PayloadOffset + PayloadLength;

    /// <summary>What the driver is told of the device.</summary>
    private protected InputIdentity Identity { get; }

    /// <inheritdoc/>
    public override void ReadConfig(Span<byte> config)
    {
        config[0] = _select;
        config[1] = _subselect;
        Span<byte> payload = config.Slice(PayloadOffset, PayloadLength);
        config[2] = (byte)Answer(payload);
    }

    /// <inheritdoc/>
    public override void WriteConfig(int offset, ReadOnlySpan<byte> bytes)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            if (offset + i == 0)
                _select = bytes[i];
            else if (offset + i == 1)
                _subselect = bytes[i];
        }
    }

    /// <summary>Sends what there is, as far as the driver has buffers.</summary>
    private protected void Send()
    {
        if (IsRunning)
            Flush(Queues[EventQueue]);
    }

    /// <summary>True while an update waits that has events.</summary>
    private protected abstract bool HasUpdate { get; }

    /// <summary>Adds the events of the next update that waits, without the one that ends it.</summary>
    private protected abstract void NextUpdate(ICollection<InputEvent> events);

    /// <summary>Drops all updates that wait, and what was sent: the device is as after power-on.</summary>
    private protected abstract void ResetInput();

    /// <summary>The driver sets an indicator or another output.</summary>
    private protected virtual void SetStatus(InputEvent status)
    {
    }

    /// <summary>Writes what the derived device has.</summary>
    private protected abstract void SaveInput(StateWriter writer);

    /// <summary>Reads and checks it; calling the result takes it over.</summary>
    private protected abstract Action ReadInput(StateReader reader);

    /// <inheritdoc/>
    protected override bool TakesAtOnce(int queue) => queue != EventQueue;

    /// <inheritdoc/>
    protected override void OnAvailable(VirtioQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        Flush(queue);
    }

    /// <inheritdoc/>
    protected override void Handle(VirtioQueue queue, VirtioChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        ArgumentNullException.ThrowIfNull(chain);
        Span<byte> bytes = stackalloc byte[EventLength];
        for (uint at = 0; at < MostStatuses * EventLength && queue.Index != EventQueue && chain.Read(at, bytes) == EventLength; at += EventLength)
            SetStatus(InputEvent.Read(bytes));
        // A buffer for events that was taken before a restore goes back empty; no event is lost by that.
        Complete(chain, 0);
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        (_select, _subselect) = (0, 0);
        _outgoing.Clear();
        ResetInput();
    }

    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write(_select);
        writer.Write(_subselect);
        writer.Write((byte)_outgoing.Count);
        Span<byte> bytes = stackalloc byte[EventLength];
        foreach (InputEvent next in _outgoing)
        {
            next.Write(bytes);
            writer.Write(BinaryPrimitives.ReadUInt64LittleEndian(bytes));
        }

        SaveInput(writer);
    }

    /// <inheritdoc/>
    protected override Action ReadDevice(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        byte select = reader.ReadByte(), subselect = reader.ReadByte();
        int count = (int)StateCheck.Range(Name, "events under way", reader.ReadByte(), 0, MostEvents);
        var outgoing = new InputEvent[count];
        byte[] bytes = new byte[EventLength];
        for (int i = 0; i < count; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, reader.ReadUInt64());
            outgoing[i] = InputEvent.Read(bytes);
        }

        Action adopt = ReadInput(reader);
        return () =>
        {
            (_select, _subselect) = (select, subselect);
            _outgoing.Clear();
            foreach (InputEvent next in outgoing)
                _outgoing.Enqueue(next);
            adopt();
        };
    }

    private void Flush(VirtioQueue queue)
    {
        Span<byte> bytes = stackalloc byte[EventLength];
        _filled.Clear();
        while ((_outgoing.Count > 0 || HasUpdate) && Take(queue) is VirtioChain chain)
        {
            chain.Written = 0;
            // A buffer that can't hold an event goes back empty, and the event waits for one that can.
            if (chain.WritableLength >= EventLength)
            {
                // Until there is a buffer for its first event, an update may still become one with the next.
                if (_outgoing.Count == 0)
                    BeginUpdate();
                _outgoing.Dequeue().Write(bytes);
                chain.Written = (uint)chain.Write(0, bytes);
            }

            _filled.Add(chain);
        }

        CompleteTogether(queue, [.. _filled]);
        _filled.Clear();
    }

    private void BeginUpdate()
    {
        var events = new List<InputEvent>();
        NextUpdate(events);
        foreach (InputEvent next in events)
            _outgoing.Enqueue(next);
        _outgoing.Enqueue(new InputEvent(InputEventType.Synchronization, 0, 0));
    }

    // What the driver has selected (5.8.5); 0 for what the device hasn't.
    private int Answer(Span<byte> payload)
    {
        const byte Label = 1, Serial = 2, Identifiers = 3, Properties = 0x10, EventBits = 0x11, AbsoluteAxis = 0x12;
        switch (_select)
        {
            case Label when _subselect == 0:
                return Encoding.UTF8.GetBytes(Identity.Label, payload);
            case Serial when _subselect == 0:
                return Encoding.UTF8.GetBytes(Identity.Serial, payload);
            case Identifiers when _subselect == 0:
                BinaryPrimitives.WriteUInt16LittleEndian(payload, InputIdentity.VirtualBus);
                BinaryPrimitives.WriteUInt16LittleEndian(payload[2..], InputIdentity.Vendor);
                BinaryPrimitives.WriteUInt16LittleEndian(payload[4..], Identity.Product);
                BinaryPrimitives.WriteUInt16LittleEndian(payload[6..], InputIdentity.Version);
                return 8;
            case Properties when _subselect == 0:
                return SetBits(payload, Identity.Properties);
            case EventBits when Identity.Codes.TryGetValue((InputEventType)_subselect, out IReadOnlyList<ushort>? codes):
                return SetBits(payload, codes);
            case AbsoluteAxis when Identity.Codes.TryGetValue(InputEventType.Absolute, out IReadOnlyList<ushort>? axes) && axes.Contains(_subselect):
                // Least, greatest, noise, flat and resolution: the last three are 0.
                BinaryPrimitives.WriteUInt32LittleEndian(payload[4..], Input.GuestInput.Range);
                return 20;
            default:
                return 0;
        }
    }

    private static int SetBits(Span<byte> payload, IReadOnlyList<ushort> codes)
    {
        int length = 0;
        foreach (ushort code in codes)
        {
            payload[code >> 3] |= (byte)(1 << (code & 7));
            length = Math.Max(length, (code >> 3) + 1);
        }

        return length;
    }
}
