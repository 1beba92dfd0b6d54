using Doppel.Machine.State;

namespace Doppel.Devices.Nvme;

/// <content>Save and restore. Commands that a back end works on are saved as not yet begun: beginning them anew does no harm.</content>
public sealed partial class NvmeController
{
    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write(_configuration);
        writer.Write(_status);
        writer.Write(_interruptMask);
        writer.Write(_adminSizes);
        writer.Write(_adminSubmission);
        writer.Write(_adminCompletion);
        writer.Write(_isStopping);
        foreach (uint feature in _features)
            writer.Write(feature);
        writer.Write(_isChangeAnnounced);
        writer.Write(_changed.Count);
        foreach (uint number in _changed)
            writer.Write(number);
        writer.Write(_eventRequests.Count);
        foreach (ushort id in _eventRequests)
            writer.Write(id);
        foreach (NvmeCompletionQueue? queue in _completion)
        {
            writer.Write(queue is not null);
            queue?.Save(writer);
        }

        foreach (NvmeSubmissionQueue? queue in _submission)
        {
            writer.Write(queue is not null);
            queue?.Save(writer);
        }

        NvmeCommand[] begun = [.. _busy, .. _again, .. _submission.Where(queue => queue?.Deletion is not null).Select(queue => queue!.Deletion!)];
        writer.Write(begun.Length);
        foreach (NvmeCommand command in begun)
        {
            writer.Write(command.Queue);
            writer.Write(command.Bytes);
        }
    }

    /// <inheritdoc/>
    protected override Action ReadFunction(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        uint configuration = reader.ReadUInt32(), status = reader.ReadUInt32() & (Ready | Fatal | ShutdownMask), mask = reader.ReadUInt32(), sizes = reader.ReadUInt32();
        ulong adminSubmission = reader.ReadUInt64(), adminCompletion = reader.ReadUInt64();
        bool isStopping = reader.ReadBool();
        uint[] features = [.. _features.Select(_ => reader.ReadUInt32())];
        bool isAnnounced = reader.ReadBool();
        uint[] changed = [.. Enumerable.Range(0, Count(reader, "changed namespaces", _namespaces.Length)).Select(_ => reader.ReadUInt32())];
        ushort[] requests = [.. Enumerable.Range(0, Count(reader, "event requests", NvmeIdentify.MaximumEventRequests)).Select(_ => reader.ReadUInt16())];
        NvmeCompletionQueue?[] completion = [.. _completion.Select((_, i) => reader.ReadBool() ? ReadCompletionQueue(reader, i) : null)];
        NvmeSubmissionQueue?[] submission = [.. _submission.Select((_, i) => reader.ReadBool() ? ReadSubmissionQueue(reader, i, completion) : null)];
        if ((status & Ready) != 0 && (submission[0] is null || completion[0] is null))
            throw new InvalidDataException($"section {SectionName}: the controller is ready without admin queues");
        var begun = new List<NvmeCommand>();
        for (int left = Count(reader, "commands", 2 * MaximumBusy); left > 0; left--)
        {
            ushort queue = (ushort)StateCheck.Range(SectionName, "queue of a command", reader.ReadUInt16(), 0, submission.Length - 1);
            byte[] bytes = StateCheck.Length(SectionName, "command", reader.ReadBytes(NvmeCommand.Length), NvmeCommand.Length);
            if (submission[queue] is null)
                throw new InvalidDataException($"section {SectionName}: a command came from queue {queue}, which does not exist");
            begun.Add(new NvmeCommand(bytes, queue));
        }

        return () =>
        {
            if (_busy.Count != 0)
                throw new InvalidOperationException($"{SectionName} can't be restored while its back end works for it");
            _configuration = configuration;
            _status = status;
            _interruptMask = mask;
            _adminSizes = sizes;
            _adminSubmission = adminSubmission;
            _adminCompletion = adminCompletion;
            features.CopyTo(_features, 0);
            _isChangeAnnounced = isAnnounced;
            _changed.Clear();
            _changed.UnionWith(changed);
            _eventRequests.Clear();
            foreach (ushort id in requests)
                _eventRequests.Enqueue(id);
            completion.CopyTo(_completion, 0);
            submission.CopyTo(_submission, 0);
            _again.Clear();
            _again.AddRange(begun);
            foreach (NvmeCommand command in begun)
                _submission[command.Queue]!.Busy++;
            _isHeld = true;
            if (isStopping)
                Stop();
        };
    }

    private int Count(StateReader reader, string what, int most) => (int)StateCheck.Range(SectionName, what, reader.ReadInt32(), 0, most);

    private int ReadSize(StateReader reader) => (int)StateCheck.Range(SectionName, "queue size", reader.ReadInt32(), 2, 4096);

    private NvmeCompletionQueue ReadCompletionQueue(StateReader reader, int id)
    {
        _ = StateCheck.Range(SectionName, "completion queue", reader.ReadUInt16(), id, id);
        ulong address = reader.ReadUInt64();
        int size = ReadSize(reader);
        int vector = Count(reader, "vector", _completion.Length - 1);
        var queue = new NvmeCompletionQueue((ushort)id, address, size, vector, reader.ReadBool())
        {
            Head = Count(reader, "head", size - 1),
            Tail = Count(reader, "tail", size - 1),
            Phase = reader.ReadBool(),
        };
        for (int left = Count(reader, "waiting completions", 4 * MaximumBusy); left > 0; left--)
            queue.Waiting.Enqueue(new NvmeCompletion(reader.ReadUInt32(), (ushort)StateCheck.Range(SectionName, "queue of a completion", reader.ReadUInt16(), 0, _submission.Length - 1), reader.ReadUInt16(), (NvmeStatus)reader.ReadUInt16()));
        return queue;
    }

    private NvmeSubmissionQueue ReadSubmissionQueue(StateReader reader, int id, NvmeCompletionQueue?[] completion)
    {
        _ = StateCheck.Range(SectionName, "submission queue", reader.ReadUInt16(), id, id);
        int completionQueue = (int)StateCheck.Range(SectionName, "completion queue", reader.ReadUInt16(), 0, completion.Length - 1);
        if (completion[completionQueue] is null)
            throw new InvalidDataException($"section {SectionName}: submission queue {id} leads to completion queue {completionQueue}, which does not exist");
        ulong address = reader.ReadUInt64();
        int size = ReadSize(reader);
        return new NvmeSubmissionQueue((ushort)id, (ushort)completionQueue, address, size)
        {
            Head = Count(reader, "head", size - 1),
            Tail = Count(reader, "tail", size - 1),
        };
    }
}
