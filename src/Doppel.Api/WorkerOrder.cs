using Doppel.Host.Confinement;

namespace Doppel.Api;

/// <summary>What a process that was started ahead of need (<c>doppel worker --spare</c>) is told on its standard input: which machine it is to run. One line of JSON.</summary>
/// <param name="Machine">The machine's name.</param>
/// <param name="Temporary">Its folder for temporary files.</param>
/// <param name="Rules">What it may use from then on.</param>
public sealed record WorkerOrder(string Machine, string Temporary, IReadOnlyList<PathRule> Rules)
{
    /// <summary>The folder of the snapshot that the machine goes on from; null for none.</summary>
    public string? Snapshot { get; init; }

    /// <summary>True for a machine that arrives from another host: the <see cref="ArrivalRequest"/> follows, up to the end of the input.</summary>
    public bool IsArrival { get; init; }
}

/// <summary>What a pager (<c>doppel worker --pager</c>) is told on its standard input. One line of JSON; the memory follows in another.</summary>
/// <param name="Id">The migration.</param>
/// <param name="Address">The address of this host to listen on; null for all.</param>
/// <param name="Descriptor">The descriptor of page faults that it has inherited.</param>
/// <param name="Process">The machine's process, which it ends when pages are lost.</param>
public sealed record PagerOrder(Guid Id, string? Address, int Descriptor, int Process);
