using System.Buffers.Binary;
using System.Text;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// Console device (virtio 1.2, 5.3) with ports. Each port has a queue for what the guest receives and one for what it
/// sends; a pair of control queues tells guest and device of each other's ports. A guest without multiport has port 0.
/// What a slow far end does not take yet stays with the guest.
/// </summary>
public sealed class VirtioConsole : VirtioDevice
{
    /// <summary>Device type.</summary>
    public const ushort DeviceType = 3;

    /// <summary>PCI class: other communication controller.</summary>
    public const uint PciClass = 0x078000;

    /// <summary>Most ports.</summary>
    public const int MaximumPorts = 31;

    private const ulong MultiplePorts = 1UL << 1, EmergencyWrite = 1UL << 2;
    private const ushort QueueSize = 128;
    private const int ControlReceive = 2, ControlSend = 3;
    private const int EmergencyField = 8;
    private const int Piece = 4096;
    private readonly Port[] _ports;

    /// <summary>Creates the device.</summary>
    /// <param name="name">Name of its saved section, for example "virtio-console0".</param>
    /// <param name="ports">The ports, 1 to <see cref="MaximumPorts"/>.</param>
    /// <param name="platform">What it is given of the machine.</param>
    public VirtioConsole(string name, IReadOnlyList<VirtioConsolePort> ports, DevicePlatform platform)
        : base(name, DeviceType, MultiplePorts | EmergencyWrite, [.. Enumerable.Repeat(QueueSize, 2 * (CheckPorts(ports).Count + 1))], platform)
    {
        _ports = [.. ports.Select((port, i) => new Port(i, port))];
        foreach (Port port in _ports)
        {
            port.OnInput = () => Locked(() => PumpInput(port));
            port.OnDrained = () => Locked(() => PumpOutput(port));
            port.Settings.Backend.InputAvailable += port.OnInput;
            port.Settings.Backend.OutputDrained += port.OnDrained;
        }
    }

    private enum ControlEvent : ushort
    {
        DeviceReady = 0,
        AddPort = 1,
        PortReady = 3,
        IsConsole = 4,
        Open = 6,
        Name = 7,
    }

    /// <inheritdoc/>
    public override int ConfigLength => 12;

    private bool HasPorts => Has(MultiplePorts);

    /// <summary>True while a program of the guest has a port open.</summary>
    /// <param name="port">Number of the port.</param>
    public bool IsOpen(int port)
    {
        lock (Platform.IoLock)
            return IsOpen(_ports[port]);
    }

    /// <inheritdoc/>
    public override void ReadConfig(Span<byte> config) => BinaryPrimitives.WriteUInt32LittleEndian(config[4..], (uint)_ports.Length);

    /// <inheritdoc/>
    public override void WriteConfig(int offset, ReadOnlySpan<byte> bytes)
    {
        // Works before there are queues, for the last words of a guest that is failing (5.3.4).
        if (offset <= EmergencyField && offset + bytes.Length > EmergencyField)
            _ports[0].Settings.Backend.Write(bytes.Slice(EmergencyField - offset, 1));
    }

    /// <inheritdoc/>
    protected override void Dispose(bool isDisposing)
    {
        foreach (Port port in _ports)
        {
            port.Settings.Backend.InputAvailable -= port.OnInput;
            port.Settings.Backend.OutputDrained -= port.OnDrained;
        }

        base.Dispose(isDisposing);
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        foreach (Port port in _ports)
            port.Reset();
    }

    /// <inheritdoc/>
    protected override void OnQueueReset(int queue)
    {
        if (PortOf(queue) is not Port port || (queue & 1) == 0)
            return;
        port.Sending = null;
        port.Sent = 0;
    }

    /// <inheritdoc/>
    protected override bool TakesAtOnce(int queue) => queue == ControlSend;

    /// <inheritdoc/>
    protected override void OnAvailable(VirtioQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (queue.Index == ControlReceive)
            PumpControl();
        else if (PortOf(queue.Index) is Port port && (queue.Index & 1) == 0)
            PumpInput(port);
        else if (PortOf(queue.Index) is Port sender)
            PumpOutput(sender);
    }

    /// <inheritdoc/>
    protected override void Handle(VirtioQueue queue, VirtioChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        ArgumentNullException.ThrowIfNull(chain);
        if (queue.Index == ControlSend)
        {
            Span<byte> message = stackalloc byte[8];
            if (chain.Read(0, message) == message.Length)
                OnControl(BinaryPrimitives.ReadUInt32LittleEndian(message), (ControlEvent)BinaryPrimitives.ReadUInt16LittleEndian(message[4..]), BinaryPrimitives.ReadUInt16LittleEndian(message[6..]));
            Complete(chain, 0);
        }
        else if (PortOf(queue.Index) is Port port)
        {
            // A chain that was being sent when the machine was saved.
            port.Sending = chain;
            PumpOutput(port);
        }
    }

    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        foreach (Port port in _ports)
        {
            writer.Write(port.IsGuestOpen);
            writer.Write(port.ToTell);
            writer.Write(port.Sent);
            writer.Write(port.Rest.Span);
        }
    }

    /// <inheritdoc/>
    protected override Action ReadDevice(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        var states = _ports.Select(_ => (IsOpen: reader.ReadBool(), ToTell: reader.ReadByte(), Sent: reader.ReadUInt32(), Kept: reader.ReadBytes(Piece))).ToArray();
        return () =>
        {
            foreach ((Port port, (bool isOpen, byte toTell, uint sent, byte[] kept)) in _ports.Zip(states))
            {
                port.Reset();
                port.IsGuestOpen = isOpen;
                port.ToTell = (byte)(toTell & Port.Everything);
                port.Sent = sent;
                port.Rest = kept;
            }
        };
    }

    private static IReadOnlyList<VirtioConsolePort> CheckPorts(IReadOnlyList<VirtioConsolePort> ports)
    {
        ArgumentNullException.ThrowIfNull(ports);
        return ports.Count is >= 1 and <= MaximumPorts
            ? ports
            : throw new ArgumentOutOfRangeException(nameof(ports), ports.Count, $"a console has 1 to {MaximumPorts} ports");
    }

    private static int ReceiveQueue(Port port) => port.Number == 0 ? 0 : 2 + (2 * port.Number);

    private bool IsOpen(Port port) => HasPorts ? port.IsGuestOpen : port.Number == 0;

    // Queues 0 and 1 are port 0's, 2 and 3 for control, then two for each further port.
    private Port? PortOf(int queue)
    {
        int number = queue < 2 ? 0 : (queue / 2) - 1;
        return queue is not (ControlReceive or ControlSend) && number < _ports.Length && (number == 0 || HasPorts) ? _ports[number] : null;
    }

    private void Locked(Action action)
    {
        lock (Platform.IoLock)
            action();
    }

    private void PumpInput(Port port)
    {
        VirtioQueue queue = Queues[ReceiveQueue(port)];
        Span<byte> buffer = stackalloc byte[Piece];
        while (IsRunning && IsOpen(port))
        {
            // The queue is asked first: what has been taken from the far end can't be put back.
            if (!queue.HasAvailable)
            {
                queue.SetNotifications(true);
                if (!queue.HasAvailable)
                    return;
            }

            if (port.Rest.IsEmpty)
            {
                int count = port.Settings.Backend.Read(buffer);
                if (count == 0)
                    return;
                port.Rest = buffer[..count].ToArray();
            }

            if (Take(queue) is not VirtioChain chain)
                return;
            int written = chain.Write(0, port.Rest.Span);
            port.Rest = port.Rest[written..];
            Complete(chain, (uint)written);
        }
    }

    private void PumpOutput(Port port)
    {
        // The far end may answer while it is being written to.
        if (port.IsSending)
            return;
        port.IsSending = true;
        SendWaiting(port, Queues[ReceiveQueue(port) + 1]);
        port.IsSending = false;
        // The far end is slow: the chain waits, and is none that a pause or a reset has to wait for.
        if (port.Sending is not null)
            Postpone(port.Sending);
    }

    private void SendWaiting(Port port, VirtioQueue queue)
    {
        Span<byte> buffer = stackalloc byte[Piece];
        while (IsRunning && port.Settings.Backend.CanAcceptOutput)
        {
            if (port.Sending is null)
            {
                port.Sent = 0;
                port.Sending = Take(queue);
                if (port.Sending is null)
                    return;
            }

            VirtioChain chain = port.Sending;
            int count = chain.Read(port.Sent, buffer);
            port.Settings.Backend.Write(buffer[..count]);
            port.Sent += (uint)count;
            if (count == Piece && port.Sent < chain.ReadableLength)
                continue;
            port.Sending = null;
            port.Sent = 0;
            Complete(chain, 0);
        }
    }

    private void OnControl(uint id, ControlEvent what, ushort value)
    {
        if (what == ControlEvent.DeviceReady)
        {
            foreach (Port port in _ports)
                port.ToTell |= value == 1 ? Port.Presence : (byte)0;
        }
        else if (id < (uint)_ports.Length && what == ControlEvent.PortReady && value == 1)
        {
            Port port = _ports[id];
            port.ToTell |= (byte)(Port.Openness | (port.Settings.IsConsole ? Port.Kind : 0) | (port.Settings.Name.Length > 0 ? Port.Title : 0));
        }
        else if (id < (uint)_ports.Length && what == ControlEvent.Open)
        {
            _ports[id].IsGuestOpen = value != 0;
            PumpInput(_ports[id]);
        }

        PumpControl();
    }

    /// <summary>Sends what is to be told about ports, as far as the guest has given buffers for it.</summary>
    private void PumpControl()
    {
        VirtioQueue queue = Queues[ControlReceive];
        foreach (Port port in _ports)
        {
            while (port.ToTell != 0)
            {
                if (Take(queue) is not VirtioChain chain)
                    return;
                byte bit = (byte)(port.ToTell & -port.ToTell);
                port.ToTell &= (byte)~bit;
                Complete(chain, (uint)chain.Write(0, Message(port, bit)));
            }
        }
    }

    private static byte[] Message(Port port, byte bit)
    {
        (ControlEvent what, ushort value) = bit switch
        {
            Port.Presence => (ControlEvent.AddPort, (ushort)1),
            Port.Kind => (ControlEvent.IsConsole, (ushort)1),
            Port.Title => (ControlEvent.Name, (ushort)1),
            _ => (ControlEvent.Open, (ushort)1),
        };
        byte[] message = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(message, (uint)port.Number);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(4), (ushort)what);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(6), value);
        return what == ControlEvent.Name ? [.. message, .. Encoding.UTF8.GetBytes(port.Settings.Name)] : message;
    }

    private sealed class Port(int number, VirtioConsolePort settings)
    {
        /// <summary>What the guest is still to be told, lowest bit first.</summary>
        internal const byte Presence = 1, Kind = 2, Title = 4, Openness = 8, Everything = 15;

        internal int Number => number;

        internal VirtioConsolePort Settings => settings;

        internal Action? OnInput { get; set; }

        internal Action? OnDrained { get; set; }

        internal bool IsGuestOpen { get; set; }

        internal byte ToTell { get; set; }

        /// <summary>The chain that is being sent, and how many of its bytes have been.</summary>
        internal VirtioChain? Sending { get; set; }

        internal uint Sent { get; set; }

        internal bool IsSending { get; set; }

        /// <summary>Input for which the guest's last buffer had no room.</summary>
        internal ReadOnlyMemory<byte> Rest { get; set; }

        internal void Reset()
        {
            IsGuestOpen = false;
            ToTell = 0;
            Sending = null;
            Sent = 0;
            Rest = default;
        }
    }
}
