using System.Buffers.Binary;
using Doppel.Vmm.Execution;

namespace Doppel.Vmm;

/// <content>The generation identifier (Virtual Machine Generation ID, Microsoft, 2012).</content>
public sealed partial class VirtualMachine
{
    private Guid _generation;

    /// <summary>
    /// Tells one life of this machine from another: the same over pauses and resets, another whenever the guest's past is not
    /// its only future any more, as after a restore. A guest that listens then gets new random numbers and addresses.
    /// </summary>
    public Guid GenerationId
    {
        get
        {
            lock (_lock)
                return _generation;
        }
    }

    /// <summary>Changes the generation identifier and tells the guest, which learns of it when the machine runs. Any thread.</summary>
    /// <param name="identifier">The identifier; null for a new one.</param>
    public void ChangeGeneration(Guid? identifier = null)
    {
        lock (_lock)
        {
            _generation = identifier ?? Guid.NewGuid();
            _machine?.ShowGeneration(_generation, notifies: true);
        }
    }

    // A restored guest isn't the only one with its past; but on deterministic time it is to do what it did before.
    private void ShowGeneration(PcMachine machine, bool isRestored)
    {
        bool changes = isRestored && !machine.Clock.IsDeterministic;
        if (changes)
            _generation = Guid.NewGuid();
        if (changes || !isRestored)
            machine.ShowGeneration(_generation, notifies: changes);
    }

    // A run that is repeated is the same one.
    private static Guid FirstGeneration(MachineSpec spec)
    {
        if ((spec.RandomSeed ?? (spec.Clock == ClockKind.Instructions ? 0 : null)) is not ulong seed)
            return Guid.NewGuid();
        byte[] bytes = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, seed);
        return new Guid(bytes);
    }
}
