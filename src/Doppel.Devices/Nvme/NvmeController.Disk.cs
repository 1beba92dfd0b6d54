using System.Buffers.Binary;
using Doppel.Devices.Storage;

namespace Doppel.Devices.Nvme;

/// <content>The NVM command set (NVMe 1.4, chapter 6).</content>
public sealed partial class NvmeController
{
    private const byte FlushOpcode = 0x00, WriteOpcode = 0x01, ReadOpcode = 0x02, WriteZeroesOpcode = 0x08, DatasetOpcode = 0x09;
    private const uint EveryNamespace = uint.MaxValue;

    private bool IsWriteThrough => (_features[WriteCacheFeature] & 1) == 0;

    private NvmeNamespace? FindNamespace(uint number) => number - 1 < (uint)_namespaces.Length ? _namespaces[number - 1] : null;

    private async ValueTask<NvmeStatus> ExecuteAsync(NvmeCommand command, CancellationToken cancel)
    {
        if (command is { Opcode: FlushOpcode, Namespace: EveryNamespace })
        {
            foreach (NvmeNamespace each in _namespaces)
                await each.Backend.FlushAsync(cancel).ConfigureAwait(false);
            return NvmeStatus.Success;
        }

        if (FindNamespace(command.Namespace) is not NvmeNamespace disk)
            return NvmeStatus.InvalidNamespace;
        switch (command.Opcode)
        {
            case FlushOpcode:
                await disk.Backend.FlushAsync(cancel).ConfigureAwait(false);
                return NvmeStatus.Success;
            case ReadOpcode:
            case WriteOpcode:
                return await TransferAsync(command, disk.Backend, cancel).ConfigureAwait(false);
            case WriteZeroesOpcode:
                return await WriteZeroesAsync(command, disk.Backend, cancel).ConfigureAwait(false);
            case DatasetOpcode:
                return await ManageDatasetAsync(command, disk.Backend, cancel).ConfigureAwait(false);
            default:
                return NvmeStatus.InvalidOpcode;
        }
    }

    private async ValueTask<NvmeStatus> TransferAsync(NvmeCommand command, IBlockBackend disk, CancellationToken cancel)
    {
        const uint ForceUnitAccess = 1 << 30;
        ulong length = ((ulong)(command.Word(12) & 0xFFFF) + 1) * IBlockBackend.SectorSize;
        if (length > (ulong)NvmeIdentify.Length << NvmeIdentify.TransferShift)
            return NvmeStatus.InvalidField;
        if (Locate(command.FirstBlock, length, disk) is not ulong offset)
            return NvmeStatus.OutOfRange;
        bool writes = command.Opcode == WriteOpcode;
        if (writes && disk.IsReadOnly)
            return NvmeStatus.WriteProtected;
        NvmeStatus status = NvmeDataPointer.Read(_memory, command, length, out NvmeDataPointer data);
        if (status != NvmeStatus.Success)
            return status;
        List<Memory<byte>> views = data.GetViews();
        if (!writes)
        {
            try
            {
                await disk.ReadAsync(offset, views, cancel).ConfigureAwait(false);
            }
            finally
            {
                data.NoteWritten();
            }

            return NvmeStatus.Success;
        }

        await disk.WriteAsync(offset, views.ConvertAll(view => (ReadOnlyMemory<byte>)view), cancel).ConfigureAwait(false);
        if (IsWriteThrough || (command.Word(12) & ForceUnitAccess) != 0)
            await disk.FlushAsync(cancel).ConfigureAwait(false);
        return NvmeStatus.Success;
    }

    private async ValueTask<NvmeStatus> WriteZeroesAsync(NvmeCommand command, IBlockBackend disk, CancellationToken cancel)
    {
        const uint Deallocate = 1 << 25, ForceUnitAccess = 1 << 30;
        ulong length = ((ulong)(command.Word(12) & 0xFFFF) + 1) * IBlockBackend.SectorSize;
        if (Locate(command.FirstBlock, length, disk) is not ulong offset)
            return NvmeStatus.OutOfRange;
        if (disk.IsReadOnly)
            return NvmeStatus.WriteProtected;
        await disk.WriteZeroesAsync(offset, length, (command.Word(12) & Deallocate) != 0, cancel).ConfigureAwait(false);
        if (IsWriteThrough || (command.Word(12) & ForceUnitAccess) != 0)
            await disk.FlushAsync(cancel).ConfigureAwait(false);
        return NvmeStatus.Success;
    }

    private async ValueTask<NvmeStatus> ManageDatasetAsync(NvmeCommand command, IBlockBackend disk, CancellationToken cancel)
    {
        const int RangeLength = 16;
        const uint Deallocate = 4;
        byte[] ranges = new byte[((command.Word(10) & 0xFF) + 1) * RangeLength];
        NvmeStatus status = NvmeDataPointer.Read(_memory, command, (ulong)ranges.Length, out NvmeDataPointer data);
        if (status != NvmeStatus.Success)
            return status;
        if (disk.IsReadOnly)
            return NvmeStatus.WriteProtected;
        // The other attributes are hints.
        if ((command.Word(11) & Deallocate) == 0)
            return NvmeStatus.Success;
        data.Read(ranges);
        // Everything is checked before anything is done.
        for (int i = 0; i < ranges.Length; i += RangeLength)
        {
            if (Range(i) is null)
                return NvmeStatus.OutOfRange;
        }

        for (int i = 0; i < ranges.Length; i += RangeLength)
        {
            (ulong offset, ulong length) = Range(i)!.Value;
            await disk.DiscardAsync(offset, length, cancel).ConfigureAwait(false);
        }

        return NvmeStatus.Success;

        (ulong Offset, ulong Length)? Range(int at)
        {
            ulong length = (ulong)BinaryPrimitives.ReadUInt32LittleEndian(ranges.AsSpan(at + 4)) * IBlockBackend.SectorSize;
            return Locate(BinaryPrimitives.ReadUInt64LittleEndian(ranges.AsSpan(at + 8)), length, disk) is ulong offset ? (offset, length) : null;
        }
    }

    private static ulong? Locate(ulong block, ulong length, IBlockBackend disk)
    {
        ulong blocks = disk.Length / IBlockBackend.SectorSize;
        return block <= blocks && length / IBlockBackend.SectorSize <= blocks - block ? block * IBlockBackend.SectorSize : null;
    }
}
