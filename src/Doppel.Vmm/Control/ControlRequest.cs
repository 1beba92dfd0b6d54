namespace Doppel.Vmm.Control;

/// <summary>What is asked of a running machine: one line of JSON.</summary>
/// <param name="Verb">What to do, for example <see cref="Statistics"/>.</param>
public sealed record ControlRequest(string Verb)
{
    /// <summary>Asks for <see cref="ControlReply.Statistics"/>.</summary>
    public const string Statistics = "statistics";
}
