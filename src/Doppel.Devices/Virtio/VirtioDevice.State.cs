using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <content>Save and restore.</content>
public abstract partial class VirtioDevice
{
    private readonly List<VirtioChain> _again = [];

    /// <summary>Writes the state. Chains that a back end works on are written as not yet begun: beginning them anew does no harm.</summary>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write((byte)Status);
        writer.Write(DriverFeatures);
        writer.Write(ConfigGeneration);
        writer.Write(_isResetting);
        foreach (VirtioQueue queue in _queues)
            queue.Save(writer);
        SaveDevice(writer);
    }

    /// <summary>Reads and checks what <see cref="Save"/> wrote.</summary>
    /// <returns>Takes it over. The device is held then until <see cref="Release"/>; guest memory must be restored before that.</returns>
    public Action ReadState(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        const VirtioStatus Known = VirtioStatus.Acknowledge | VirtioStatus.Driver | VirtioStatus.DriverOk | VirtioStatus.FeaturesOk | VirtioStatus.NeedsReset | VirtioStatus.Failed;
        var status = (VirtioStatus)reader.ReadByte() & Known;
        ulong features = reader.ReadUInt64();
        byte generation = reader.ReadByte();
        bool isResetting = reader.ReadBool();
        if ((features & ~OfferedFeatures) != 0 && (status & VirtioStatus.FeaturesOk) != 0)
            throw new InvalidDataException($"section {Name}: the driver accepted the features 0x{features:x}; the device offers 0x{OfferedFeatures:x}");
        var queues = new List<VirtioQueue>();
        foreach (VirtioQueue queue in _queues)
        {
            var restored = new VirtioQueue(Platform.Memory, queue.Index, queue.MaximumSize);
            restored.Restore(reader, Name, features);
            queues.Add(restored);
        }

        Action adoptDevice = ReadDevice(reader);
        return () =>
        {
            if (CountBusy() != 0)
                throw new InvalidOperationException($"{Name} can't be restored while its back end works for it");
            Status = status;
            DriverFeatures = features;
            ConfigGeneration = generation;
            Fault = (status & VirtioStatus.NeedsReset) != 0 ? "the device needed a reset before the machine was saved" : null;
            _kept.Clear();
            _again.Clear();
            for (int i = 0; i < _queues.Length; i++)
            {
                _queues[i].Adopt(queues[i]);
                _again.AddRange(_queues[i].Taken);
            }

            _isResetting = isResetting;
            _isHeld = true;
            adoptDevice();
            if (!isResetting)
                return;
            foreach (VirtioQueue queue in _queues)
                DropKept(queue);
            FinishResets();
        };
    }

    /// <summary>Writes what only this kind of device has.</summary>
    protected abstract void SaveDevice(StateWriter writer);

    /// <summary>Reads and checks what <see cref="SaveDevice"/> wrote.</summary>
    /// <returns>Takes it over.</returns>
    protected abstract Action ReadDevice(StateReader reader);

    private void BeginAgain()
    {
        if (!IsRunning || _again.Count == 0)
            return;
        VirtioChain[] again = [.. _again];
        _again.Clear();
        foreach (VirtioChain chain in again)
        {
            VirtioQueue queue = _queues[chain.Queue];
            if (!queue.IsResetting && queue.Reread(chain))
                Handle(queue, chain);
            else
                queue.Forget(chain);
            CheckFault(queue);
        }

        FinishResets();
    }
}
