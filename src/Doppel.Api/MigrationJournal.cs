using Doppel.Vmm.Migration;

namespace Doppel.Api;

/// <summary>Keeps in a machine's folder, for its process, which host has it.</summary>
/// <param name="folder">The folder.</param>
/// <param name="accepted">For a machine that comes: what is kept of it when it has. Null for one that goes.</param>
public sealed class MigrationJournal(MachineFolder folder, Func<AcceptedRecord>? accepted) : IMigrationJournal
{
    /// <inheritdoc/>
    public void Permit()
    {
        HandoverRecord record = folder.Handover ?? throw new IOException($"{folder.Path}: nothing is kept of the migration");
        folder.Permit = new PermitRecord(record.Address.Id);
    }

    /// <inheritdoc/>
    public void TakeBack() => folder.Permit = null;

    /// <inheritdoc/>
    public void Accept() => folder.Accepted = accepted!();
}
