using Doppel.Devices.Storage;

namespace Doppel.Devices.Nvme;

/// <summary>A namespace of a controller: one disk.</summary>
/// <param name="Backend">What it reads and writes; not disposed with the controller.</param>
/// <param name="Identifier">Identifies the namespace wherever it appears.</param>
public sealed record NvmeNamespace(IBlockBackend Backend, Guid Identifier);
