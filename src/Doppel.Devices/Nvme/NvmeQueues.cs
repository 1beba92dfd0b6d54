using Doppel.Machine.State;

namespace Doppel.Devices.Nvme;

/// <summary>A submission queue (NVMe 1.4, 4.1): the driver writes at the tail, the controller fetches at the head.</summary>
internal sealed class NvmeSubmissionQueue(ushort id, ushort completionQueue, ulong address, int size)
{
    internal ushort Id => id;

    internal ushort CompletionQueue => completionQueue;

    internal ulong Address => address;

    internal int Size => size;

    internal int Head { get; set; }

    internal int Tail { get; set; }

    /// <summary>Commands fetched and not completed.</summary>
    internal int Busy { get; set; }

    /// <summary>The command that deletes the queue and waits for what is under way; null for none.</summary>
    internal NvmeCommand? Deletion { get; set; }

    internal void Save(StateWriter writer)
    {
        writer.Write(id);
        writer.Write(completionQueue);
        writer.Write(address);
        writer.Write(size);
        writer.Write(Head);
        writer.Write(Tail);
    }
}

/// <summary>What is told of a command that has ended.</summary>
internal readonly record struct NvmeCompletion(uint Result, ushort Queue, ushort CommandId, NvmeStatus Status);

/// <summary>A completion queue: the controller writes at the tail, the driver reads at the head. What doesn't fit waits.</summary>
internal sealed class NvmeCompletionQueue(ushort id, ulong address, int size, int vector, bool interrupts)
{
    internal const int EntryLength = 16;

    internal ushort Id => id;

    internal ulong Address => address;

    internal int Size => size;

    internal int Vector => vector;

    internal bool Interrupts => interrupts;

    internal int Head { get; set; }

    internal int Tail { get; set; }

    internal bool Phase { get; set; } = true;

    internal Queue<NvmeCompletion> Waiting { get; } = new();

    internal bool IsFull => (Tail + 1) % size == Head;

    internal void Save(StateWriter writer)
    {
        writer.Write(id);
        writer.Write(address);
        writer.Write(size);
        writer.Write(vector);
        writer.Write(interrupts);
        writer.Write(Head);
        writer.Write(Tail);
        writer.Write(Phase);
        writer.Write(Waiting.Count);
        foreach (NvmeCompletion completion in Waiting)
        {
            writer.Write(completion.Result);
            writer.Write(completion.Queue);
            writer.Write(completion.CommandId);
            writer.Write((ushort)completion.Status);
        }
    }
}
