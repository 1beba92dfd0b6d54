namespace Doppel.Machine.State;

/// <summary>
/// Something whose state is part of a saved VM: a named, versioned section. Called with the VM paused and the I/O
/// lock held.
/// </summary>
public interface IStateful
{
    /// <summary>Name of the section, unique in the machine, for example "pit" or "serial0".</summary>
    string SectionName { get; }

    /// <summary>Version of the layout that <see cref="Save"/> writes, from 1.</summary>
    int SectionVersion { get; }

    /// <summary>Writes everything that a guest could tell apart.</summary>
    void Save(StateWriter writer);

    /// <summary>Takes over a state; checks every value before it keeps any.</summary>
    /// <exception cref="InvalidDataException">A value is out of range or the version is unknown; the message names the field.</exception>
    void Restore(StateReader reader, int version);
}
