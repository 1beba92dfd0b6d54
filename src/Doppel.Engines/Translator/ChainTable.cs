using System.Runtime.InteropServices;
using Doppel.Host.Memory;

namespace Doppel.Engines.Translator;

/// <summary>
/// Branches that were patched to lead straight to another block. A block that is dropped takes the branches to it back to
/// their exits, so that its code is left as it is: another vCPU may be in the midst of it.
/// </summary>
/// <remarks>Under the lock of <see cref="TranslationCache"/>.</remarks>
internal sealed unsafe class ChainTable
{
    private readonly ExecutableMemory _code;
    private readonly List<CodeBlock> _blocks;
    private readonly List<Edge> _edges = [default];
    private int _free;

    /// <summary>Creates an empty table.</summary>
    /// <param name="code">The code cache.</param>
    /// <param name="blocks">Its blocks by number.</param>
    internal ChainTable(ExecutableMemory code, List<CodeBlock> blocks)
    {
        _code = code;
        _blocks = blocks;
    }

    /// <summary>Lets a branch lead to a block. Its displacement does not cross a line of the host's cache, so that other vCPUs see it whole.</summary>
    /// <param name="site">The displacement, in the writable mapping.</param>
    /// <param name="source">The branch's block.</param>
    /// <param name="target">Where to.</param>
    internal void Link(byte* site, int source, int target)
    {
        ref CodeBlock from = ref Block(source);
        ref CodeBlock to = ref Block(target);
        var edge = new Edge
        {
            Site = (uint)(site - _code.Writable),
            Unchained = *(int*)site,
            Target = target,
            NextIncoming = to.Incoming,
            NextOutgoing = from.Outgoing,
        };
        int number = _free;
        if (number == 0)
        {
            number = _edges.Count;
            _edges.Add(edge);
        }
        else
        {
            _free = Edges[number].NextOutgoing;
            Edges[number] = edge;
        }

        if (edge.NextIncoming != 0)
            Edges[edge.NextIncoming].PreviousIncoming = number;
        to.Incoming = number;
        from.Outgoing = number;
        Volatile.Write(ref *(int*)site, (int)(_code.Writable + to.Head - (site + sizeof(int))));
    }

    /// <summary>Takes all branches to a block back to their exits.</summary>
    internal void UnlinkIncoming(int block)
    {
        for (int number = Block(block).Incoming; number != 0; number = Edges[number].NextIncoming)
        {
            ref Edge edge = ref Edges[number];
            Volatile.Write(ref *(int*)(_code.Writable + edge.Site), edge.Unchained);
            // The edge stays in the list of the branch's block, which frees it.
            edge.Target = 0;
        }

        Block(block).Incoming = 0;
    }

    /// <summary>Forgets a block's own branches; their code is not changed.</summary>
    internal void ForgetOutgoing(int block)
    {
        for (int number = Block(block).Outgoing; number != 0;)
        {
            ref Edge edge = ref Edges[number];
            int next = edge.NextOutgoing;
            if (edge.Target != 0)
                Detach(ref edge);
            edge = new Edge { NextOutgoing = _free };
            _free = number;
            number = next;
        }

        Block(block).Outgoing = 0;
    }

    private Span<Edge> Edges => CollectionsMarshal.AsSpan(_edges);

    private ref CodeBlock Block(int number) => ref CollectionsMarshal.AsSpan(_blocks)[number];

    private void Detach(ref Edge edge)
    {
        if (edge.NextIncoming != 0)
            Edges[edge.NextIncoming].PreviousIncoming = edge.PreviousIncoming;
        if (edge.PreviousIncoming != 0)
            Edges[edge.PreviousIncoming].NextIncoming = edge.NextIncoming;
        else
            Block(edge.Target).Incoming = edge.NextIncoming;
    }

    private struct Edge
    {
        internal uint Site;
        internal int Unchained;
        internal int Target;
        internal int NextIncoming;
        internal int PreviousIncoming;
        internal int NextOutgoing;
    }
}
