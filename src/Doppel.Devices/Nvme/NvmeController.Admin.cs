using System.Buffers.Binary;

namespace Doppel.Devices.Nvme;

/// <content>The admin command set (NVMe 1.4, chapter 5). Every command ends at once, but for requests for events and the deletion of a queue that works.</content>
public sealed partial class NvmeController
{
    private const int WriteCacheFeature = 6, QueueCountFeature = 7, EventFeature = 0x0B;
    private const uint NamespaceChanged = 1 << 8;
    private const int LogOfErrors = 1, LogOfHealth = 2, LogOfFirmware = 3, LogOfNamespaces = 4;

    // Arbitration, power, temperature, error recovery, write cache, (queues,) coalescing, vectors, atomicity, events.
    private static readonly int[] StoredFeatures = [1, 2, 4, 5, WriteCacheFeature, 8, 9, 0x0A, EventFeature];

    private readonly uint[] _features = new uint[16];
    private readonly Queue<ushort> _eventRequests = new();
    private readonly SortedSet<uint> _changed = [];
    private bool _isChangeAnnounced;

    private void ResetFeatures()
    {
        Array.Clear(_features);
        _features[WriteCacheFeature] = 1;
        _eventRequests.Clear();
        _changed.Clear();
        _isChangeAnnounced = false;
    }

    private void DoAdmin(NvmeCommand command)
    {
        switch (command.Opcode)
        {
            case 0x00:
                DeleteSubmissionQueue(command);
                break;
            case 0x01:
                End(command, CreateSubmissionQueue(command));
                break;
            case 0x02:
                End(command, GetLog(command));
                break;
            case 0x04:
                End(command, DeleteCompletionQueue(command));
                break;
            case 0x05:
                End(command, CreateCompletionQueue(command));
                break;
            case 0x06:
                End(command, Identify(command));
                break;
            case 0x08:
                // What is under way can't be stopped: bit 0 says that it was not.
                End(command, NvmeStatus.Success, 1);
                break;
            case 0x09:
                SetFeature(command);
                break;
            case 0x0A:
                GetFeature(command);
                break;
            case 0x0C:
                RequestEvent(command);
                break;
            default:
                End(command, NvmeStatus.InvalidOpcode);
                break;
        }
    }

    private NvmeStatus CreateCompletionQueue(NvmeCommand command)
    {
        int id = (int)(command.Word(10) & 0xFFFF), size = (int)(command.Word(10) >> 16) + 1, vector = (int)(command.Word(11) >> 16);
        if (id == 0 || id >= _completion.Length || _completion[id] is not null)
            return NvmeStatus.InvalidQueueId;
        if (size is < 2 or > MaximumEntries)
            return NvmeStatus.InvalidQueueSize;
        // Entries of 2^4 bytes, as CC says, and contiguous.
        if ((command.Word(11) & 1) == 0 || ((_configuration >> 20) & 0xF) != 4)
            return NvmeStatus.InvalidField;
        if (vector >= _completion.Length)
            return NvmeStatus.InvalidVector;
        if (command.Prp1 % 4096 != 0)
            return NvmeStatus.InvalidPrpOffset;
        if (!_memory.IsRam(command.Prp1, (ulong)size * NvmeCompletionQueue.EntryLength))
            return NvmeStatus.DataTransferError;
        _completion[id] = new NvmeCompletionQueue((ushort)id, command.Prp1, size, vector, (command.Word(11) & 2) != 0);
        return NvmeStatus.Success;
    }

    private NvmeStatus CreateSubmissionQueue(NvmeCommand command)
    {
        int id = (int)(command.Word(10) & 0xFFFF), size = (int)(command.Word(10) >> 16) + 1, completion = (int)(command.Word(11) >> 16);
        if (id == 0 || id >= _submission.Length || _submission[id] is not null)
            return NvmeStatus.InvalidQueueId;
        if (completion == 0 || completion >= _completion.Length || _completion[completion] is null)
            return NvmeStatus.InvalidCompletionQueue;
        if (size is < 2 or > MaximumEntries)
            return NvmeStatus.InvalidQueueSize;
        // Entries of 2^6 bytes, as CC says, and contiguous.
        if ((command.Word(11) & 1) == 0 || ((_configuration >> 16) & 0xF) != 6)
            return NvmeStatus.InvalidField;
        if (command.Prp1 % 4096 != 0)
            return NvmeStatus.InvalidPrpOffset;
        if (!_memory.IsRam(command.Prp1, (ulong)size * NvmeCommand.Length))
            return NvmeStatus.DataTransferError;
        _submission[id] = new NvmeSubmissionQueue((ushort)id, (ushort)completion, command.Prp1, size);
        return NvmeStatus.Success;
    }

    private void DeleteSubmissionQueue(NvmeCommand command)
    {
        int id = (int)(command.Word(10) & 0xFFFF);
        if (id == 0 || id >= _submission.Length || _submission[id] is not { Deletion: null } queue)
        {
            End(command, NvmeStatus.InvalidQueueId);
        }
        else if (queue.Busy != 0)
        {
            queue.Deletion = command;
        }
        else
        {
            _submission[id] = null;
            End(command, NvmeStatus.Success);
        }
    }

    private NvmeStatus DeleteCompletionQueue(NvmeCommand command)
    {
        int id = (int)(command.Word(10) & 0xFFFF);
        if (id == 0 || id >= _completion.Length || _completion[id] is null)
            return NvmeStatus.InvalidQueueId;
        if (_submission.Any(queue => queue?.CompletionQueue == id))
            return NvmeStatus.InvalidQueueDeletion;
        _completion[id] = null;
        UpdateInterrupt();
        return NvmeStatus.Success;
    }

    private NvmeStatus Identify(NvmeCommand command)
    {
        byte[]? data = new byte[NvmeIdentify.Length];
        switch (command.Word(10) & 0xFF)
        {
            case 0:
                if (FindNamespace(command.Namespace) is not NvmeNamespace disk)
                    return NvmeStatus.InvalidNamespace;
                data = NvmeIdentify.Namespace(disk);
                break;
            case 1:
                data = NvmeIdentify.Controller(_serial, VendorId, _namespaces.Length);
                break;
            case 2:
                if (command.Namespace >= uint.MaxValue - 1)
                    return NvmeStatus.InvalidNamespace;
                for (uint number = command.Namespace + 1, at = 0; number <= _namespaces.Length; number++, at += 4)
                    BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan((int)at), number);
                break;
            case 3:
                if (FindNamespace(command.Namespace) is not NvmeNamespace described)
                    return NvmeStatus.InvalidNamespace;
                data = NvmeIdentify.Descriptors(described);
                break;
            default:
                return NvmeStatus.InvalidField;
        }

        return Answer(command, data);
    }

    private NvmeStatus GetLog(NvmeCommand command)
    {
        ulong length = 4 * (((ulong)(command.Word(11) & 0xFFFF) << 16 | command.Word(10) >> 16) + 1);
        ulong offset = command.Word(12) | ((ulong)command.Word(13) << 32);
        int page = (int)(command.Word(10) & 0xFF);
        byte[]? log = page switch
        {
            LogOfErrors => new byte[64],
            LogOfHealth => NvmeIdentify.Health(),
            LogOfFirmware => NvmeIdentify.Firmware(),
            LogOfNamespaces => ChangedNamespaces(),
            _ => null,
        };
        if (log is null)
            return NvmeStatus.InvalidLogPage;
        if (offset % 4 != 0 || offset > (ulong)log.Length || length > NvmeIdentify.Length)
            return NvmeStatus.InvalidField;
        byte[] answer = new byte[length];
        log.AsSpan((int)offset, (int)Math.Min(length, (ulong)log.Length - offset)).CopyTo(answer);
        NvmeStatus status = Answer(command, answer);
        // Reading it allows the next announcement, unless that is to be kept back (bit 15).
        if (status == NvmeStatus.Success && page == LogOfNamespaces && (command.Word(10) & 0x8000) == 0)
        {
            _changed.Clear();
            _isChangeAnnounced = false;
        }

        return status;
    }

    private byte[] ChangedNamespaces()
    {
        byte[] log = new byte[NvmeIdentify.Length];
        int at = 0;
        foreach (uint number in _changed)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(log.AsSpan(at), number);
            at += 4;
        }

        return log;
    }

    private NvmeStatus Answer(NvmeCommand command, byte[] data)
    {
        if (command.PointerKind != 0)
            return NvmeStatus.InvalidField;
        NvmeStatus status = NvmeDataPointer.Read(_memory, command, (ulong)data.Length, out NvmeDataPointer pointer);
        if (status == NvmeStatus.Success)
            pointer.Write(data);
        return status;
    }

    private void SetFeature(NvmeCommand command)
    {
        int feature = (int)(command.Word(10) & 0xFF);
        if ((command.Word(10) & 0x8000_0000) != 0)
        {
            End(command, NvmeStatus.NotSaveable);
        }
        else if (feature == QueueCountFeature)
        {
            // Settled before there are queues (5.21.1.7).
            bool hasQueues = _submission.Skip(1).Any(queue => queue is not null) || _completion.Skip(1).Any(queue => queue is not null);
            bool isPossible = (command.Word(11) & 0xFFFF) != 0xFFFF && command.Word(11) >> 16 != 0xFFFF;
            End(command, hasQueues ? NvmeStatus.SequenceError : isPossible ? NvmeStatus.Success : NvmeStatus.InvalidField, QueueCounts());
        }
        else if (StoredFeatures.Contains(feature))
        {
            _features[feature] = command.Word(11);
            End(command, NvmeStatus.Success);
            Announce();
        }
        else
        {
            End(command, NvmeStatus.InvalidField);
        }
    }

    private void GetFeature(NvmeCommand command)
    {
        int feature = (int)(command.Word(10) & 0xFF);
        bool wantsDefault = ((command.Word(10) >> 8) & 7) is not 0;
        if (feature == QueueCountFeature)
            End(command, NvmeStatus.Success, QueueCounts());
        else if (StoredFeatures.Contains(feature))
            End(command, NvmeStatus.Success, wantsDefault ? feature == WriteCacheFeature ? 1u : 0 : _features[feature]);
        else
            End(command, NvmeStatus.InvalidField);
    }

    private uint QueueCounts() => (uint)(_submission.Length - 2) | ((uint)(_completion.Length - 2) << 16);

    private void RequestEvent(NvmeCommand command)
    {
        if (_eventRequests.Count == NvmeIdentify.MaximumEventRequests)
        {
            End(command, NvmeStatus.TooManyEventRequests);
            return;
        }

        // It waits without being work: no pause and no reset waits for it.
        _submission[0]!.Busy--;
        _eventRequests.Enqueue(command.Id);
        Announce();
    }

    private void OnResized(int index)
    {
        lock (_ioLock)
        {
            if ((_status & Ready) == 0)
                return;
            _ = _changed.Add((uint)index + 1);
            Announce();
        }
    }

    private void Announce()
    {
        const uint Notice = 2 | (LogOfNamespaces << 16);
        if (_changed.Count == 0 || _isChangeAnnounced || (_features[EventFeature] & NamespaceChanged) == 0 || _completion[0] is not NvmeCompletionQueue queue || !_eventRequests.TryDequeue(out ushort id))
            return;
        _isChangeAnnounced = true;
        queue.Waiting.Enqueue(new NvmeCompletion(Notice, 0, id, NvmeStatus.Success));
        Post(queue);
    }
}
