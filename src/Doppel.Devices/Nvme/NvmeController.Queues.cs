using System.Buffers.Binary;
using Doppel.Devices.Storage;

namespace Doppel.Devices.Nvme;

/// <content>The way of commands: from the doorbell to the back end, and back to the completion queue.</content>
public sealed partial class NvmeController
{
    // A driver could fill a queue again and again while a disk is slow, or never take what is told to it.
    private const int MaximumBusy = 1024;

    private bool _isBlocked;

    private void RingDoorbell(int number, uint value)
    {
        int queue = number / 2;
        if ((_status & (Ready | Fatal)) != Ready || queue >= _submission.Length)
            return;
        if ((number & 1) == 0)
        {
            if (_submission[queue] is not NvmeSubmissionQueue submission || value >= submission.Size)
                return;
            submission.Tail = (int)value;
            Fetch(submission);
        }
        else if (_completion[queue] is NvmeCompletionQueue completion && value < completion.Size)
        {
            completion.Head = (int)value;
            Post(completion);
            UpdateInterrupt();
            FetchIfBlocked();
        }
    }

    /// <summary>Looks at everything, after something has ended that kept the controller from doing so.</summary>
    private void Continue()
    {
        if (!IsReady)
            return;
        foreach (NvmeCompletionQueue? queue in _completion)
        {
            if (queue is not null)
                Post(queue);
        }

        NvmeCommand[] again = [.. _again];
        _again.Clear();
        foreach (NvmeCommand command in again)
            Begin(command);
        FetchAll();
        UpdateInterrupt();
    }

    private void FetchIfBlocked()
    {
        if (_isBlocked)
            FetchAll();
    }

    private void FetchAll()
    {
        _isBlocked = false;
        foreach (NvmeSubmissionQueue? queue in _submission)
        {
            if (queue is not null)
                Fetch(queue);
        }
    }

    private void Fetch(NvmeSubmissionQueue queue)
    {
        while (IsReady && queue.Head != queue.Tail && queue.Deletion is null && _submission[queue.Id] == queue)
        {
            if (_busy.Count >= MaximumBusy || _completion[queue.CompletionQueue]!.Waiting.Count >= MaximumBusy)
            {
                _isBlocked = true;
                return;
            }

            byte[] bytes = new byte[NvmeCommand.Length];
            _ = _memory.TryRead(queue.Address + ((ulong)queue.Head * NvmeCommand.Length), bytes);
            queue.Head = (queue.Head + 1) % queue.Size;
            queue.Busy++;
            Begin(new NvmeCommand(bytes, queue.Id));
        }
    }

    private void Begin(NvmeCommand command)
    {
        if (command.IsFused)
            End(command, NvmeStatus.InvalidField);
        else if (command.Queue == 0)
            DoAdmin(command);
        else
            DoDisk(command);
    }

    /// <summary>Ends a command.</summary>
    private void End(NvmeCommand command, NvmeStatus status, uint result = 0)
    {
        NvmeSubmissionQueue queue = _submission[command.Queue]!;
        queue.Busy--;
        NvmeCompletionQueue completion = _completion[queue.CompletionQueue]!;
        completion.Waiting.Enqueue(new NvmeCompletion(result, queue.Id, command.Id, status));
        Post(completion);
        if (queue is { Deletion: NvmeCommand deletion, Busy: 0 })
        {
            _submission[queue.Id] = null;
            End(deletion, NvmeStatus.Success);
        }
    }

    /// <summary>Writes what waits into a completion queue, as far as there is room.</summary>
    private void Post(NvmeCompletionQueue queue)
    {
        bool posted = false;
        Span<byte> entry = stackalloc byte[NvmeCompletionQueue.EntryLength];
        while (IsReady && !queue.IsFull && queue.Waiting.TryDequeue(out NvmeCompletion completion))
        {
            BinaryPrimitives.WriteUInt32LittleEndian(entry, completion.Result);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[4..], 0);
            BinaryPrimitives.WriteUInt16LittleEndian(entry[8..], (ushort)(_submission[completion.Queue]?.Head ?? 0));
            BinaryPrimitives.WriteUInt16LittleEndian(entry[10..], completion.Queue);
            // Errors are not to be tried again (bit 15): a retry would meet the same.
            int status = ((int)completion.Status << 1) | (completion.Status == NvmeStatus.Success ? 0 : 0x8000) | (queue.Phase ? 1 : 0);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[12..], completion.CommandId | ((uint)status << 16));
            ulong address = queue.Address + ((ulong)queue.Tail * NvmeCompletionQueue.EntryLength);
            // The driver looks at the phase in the last doubleword.
            _ = _memory.TryWrite(address, entry[..12]);
            _ = _memory.TryWrite(address + 12, entry[12..]);
            if (++queue.Tail == queue.Size)
            {
                queue.Tail = 0;
                queue.Phase = !queue.Phase;
            }

            posted = true;
        }

        if (!posted || !queue.Interrupts)
            return;
        if (UsesMessages)
            SendMessage(queue.Vector);
        else
            UpdateInterrupt();
    }

    private void UpdateInterrupt()
    {
        bool wanted = false;
        foreach (NvmeCompletionQueue? queue in _completion)
            wanted |= queue is { Interrupts: true } && queue.Head != queue.Tail && (_interruptMask >> Math.Min(queue.Vector, 31) & 1) == 0;
        SetInterrupt(wanted);
    }

    private void DoDisk(NvmeCommand command)
    {
        _busy.Add(command);
        if (_isDeterministic)
            Finish(command, TryAsync(command).AsTask().GetAwaiter().GetResult());
        else
            _ = RunAsync(command);
    }

    private async Task RunAsync(NvmeCommand command) => Finish(command, await TryAsync(command).ConfigureAwait(false));

    /// <summary>Does what a command asks for; needs no lock.</summary>
    private async ValueTask<Outcome> TryAsync(NvmeCommand command)
    {
        bool writes = command.Opcode != ReadOpcode;
        try
        {
            return new Outcome(await ExecuteAsync(command, _stop.Token).ConfigureAwait(false), null);
        }
        catch (StorageFullException e) when (_full is not null)
        {
            return new Outcome(NvmeStatus.Success, e);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // The guest learns of it by the status.
        }
        catch (Exception e)
        {
            _failed(new InvalidOperationException($"{SectionName}: command 0x{command.Opcode:x2} at block {command.FirstBlock} failed: {e.Message}", e));
        }

        return new Outcome(writes ? NvmeStatus.WriteFault : NvmeStatus.ReadError, null);
    }

    private void Finish(NvmeCommand command, Outcome outcome)
    {
        lock (_ioLock)
        {
            _ = _busy.Remove(command);
            if (_isStopping)
            {
                FinishStop();
            }
            else if (outcome.Full is not null)
            {
                _again.Add(command);
            }
            else
            {
                End(command, outcome.Status);
                FetchIfBlocked();
            }

            if (_idle is not null && _busy.Count == 0)
            {
                _idle.SetResult();
                _idle = null;
            }
        }

        if (outcome.Full is not null)
            _full!(outcome.Full);
    }

    private readonly record struct Outcome(NvmeStatus Status, StorageFullException? Full);
}
