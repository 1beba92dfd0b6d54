using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// The two cascaded 8259As of a PC: interrupts 0 to 7 on the master, 8 to 15 on the slave behind the master's input 2,
/// with the edge/level control registers at 4D0h. <see cref="Line"/> and <see cref="Acknowledge"/> may be used by any
/// thread: the pair has a lock of its own, and never holds it while it drives its output.
/// </summary>
public sealed class PicPair : IDevice, IExternalInterruptSource
{
    private const int CascadePin = 2;
    private readonly Lock _lock = new();
    private readonly IInterruptLine _output;
    private readonly IInterruptLine[] _inputs;
    private readonly IoRange[] _ports;
    private Pic8259 _master = NewMaster();
    private Pic8259 _slave = NewSlave();
    private int _changes;

    /// <summary>Creates the pair in its power-on state.</summary>
    /// <param name="output">The INTR wire: to LINT0 of the local APICs, or to the vCPU.</param>
    public PicPair(IInterruptLine output)
    {
        ArgumentNullException.ThrowIfNull(output);
        _output = output;
        _inputs = new IInterruptLine[16];
        for (int irq = 0; irq < 16; irq++)
        {
            int number = irq;
            _inputs[irq] = irq == CascadePin ? DisconnectedLine.Instance : new CallbackLine(level => SetInput(number, level));
        }

        _ports =
        [
            new IoRange(PcPorts.MasterPic, 2, new BytePorts("pic-master", 2, o => ReadChip(false, o), (o, v) => WriteChip(false, o, v))),
            new IoRange(PcPorts.SlavePic, 2, new BytePorts("pic-slave", 2, o => ReadChip(true, o), (o, v) => WriteChip(true, o, v))),
            new IoRange(PcPorts.Elcr, 2, new BytePorts("elcr", 2, ReadElcr, WriteElcr)),
        ];
    }

    /// <inheritdoc/>
    public string SectionName => "pic";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <summary>Level of the INTR output. Any thread.</summary>
    public bool IsAsserted
    {
        get
        {
            lock (_lock)
                return _master.Output;
        }
    }

    /// <summary>The wire of an ISA interrupt, 0 to 15. Number 2 is the cascade: its wire leads nowhere.</summary>
    public IInterruptLine Line(int irq)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(irq);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(irq, 15);
        return _inputs[irq];
    }

    /// <summary>
    /// The CPU's interrupt acknowledge cycle: the vector, 0 to 255. When the request has gone meanwhile, the vector of
    /// the spurious interrupt (input 7 of the chip), as hardware answers. Any thread.
    /// </summary>
    public int Acknowledge()
    {
        int vector;
        lock (_lock)
        {
            int pin = _master.Acknowledge(out bool spurious);
            vector = _master.VectorBase + pin;
            if (pin == CascadePin && !spurious)
            {
                vector = _slave.VectorBase + _slave.Acknowledge(out _);
                CascadeAfterAcknowledge();
            }
        }

        Drive();
        return vector;
    }

    /// <summary>Sets the trigger mode of an input as firmware would through the ELCR; inputs 0, 1, 2, 8 and 13 stay edge-triggered. Any thread.</summary>
    public void SetLevelTriggered(int irq, bool level)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(irq);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(irq, 15);
        lock (_lock)
        {
            Pic8259 chip = irq < 8 ? _master : _slave;
            int bit = 1 << (irq & 7);
            chip.LevelTriggered = (byte)(level ? chip.LevelTriggered | bit : chip.LevelTriggered & ~bit);
            Cascade();
        }

        Drive();
    }

    /// <inheritdoc/>
    public void Reset()
    {
        lock (_lock)
        {
            _master.Reset();
            _slave.Reset();
            Cascade();
        }

        Drive();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        lock (_lock)
        {
            _master.Save(writer);
            _slave.Save(writer);
        }
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        Pic8259 master = NewMaster();
        Pic8259 slave = NewSlave();
        master.Restore(reader);
        slave.Restore(reader);
        lock (_lock)
        {
            _master = master;
            _slave = slave;
        }

        Drive();
    }

    private static Pic8259 NewMaster() => new("pic", 0xF8);

    private static Pic8259 NewSlave() => new("pic", 0xDE);

    private void SetInput(int irq, bool level)
    {
        lock (_lock)
        {
            (irq < 8 ? _master : _slave).SetInput(irq & 7, level);
            Cascade();
        }

        Drive();
    }

    private byte ReadChip(bool slave, int offset)
    {
        byte value;
        lock (_lock)
        {
            value = (slave ? _slave : _master).Read(offset);
            if (slave)
                CascadeAfterAcknowledge();
        }

        Drive();
        return value;
    }

    private void WriteChip(bool slave, int offset, byte value)
    {
        lock (_lock)
        {
            (slave ? _slave : _master).Write(offset, value);
            Cascade();
        }

        Drive();
    }

    private byte ReadElcr(int offset)
    {
        lock (_lock)
            return (offset == 0 ? _master : _slave).LevelTriggered;
    }

    private void WriteElcr(int offset, byte value)
    {
        lock (_lock)
        {
            (offset == 0 ? _master : _slave).LevelTriggered = value;
            Cascade();
        }

        Drive();
    }

    private void Cascade() => _master.SetInput(CascadePin, _slave.Output);

    private void CascadeAfterAcknowledge()
    {
        // The slave's output falls for an instant when it is acknowledged, even when automatic EOI lets the next
        // request raise it at once: the master's edge-triggered input needs that edge.
        _master.SetInput(CascadePin, false);
        Cascade();
    }

    private void Drive()
    {
        // Whoever makes the count leave 0 drives the output until no change is left, so that the last level that is
        // driven is the last one computed, without a lock held across the call.
        if (Interlocked.Increment(ref _changes) != 1)
            return;
        int pending = 1;
        do
        {
            _output.Set(IsAsserted);
            pending = Interlocked.Add(ref _changes, -pending);
        }
        while (pending != 0);
    }
}
