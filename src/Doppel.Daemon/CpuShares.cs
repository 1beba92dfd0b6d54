namespace Doppel.Daemon;

/// <summary>
/// Shares the host's processors among machines in proportion to their weights, by caps. The machines that want more than they
/// get have together what they have; each is capped at its weight's part of that. A machine that wants less is left alone, and
/// as soon as nobody waits for a processor the caps grow. Who else uses the host needs not be known. One thread.
/// </summary>
internal sealed class CpuShares
{
    // Of a period: less time on a run queue than this is none, and a machine that stood still for less was not held up.
    private const double Waits = 0.02, HeldUp = 0.01, Smoothing = 0.5;

    // Growth begins so small that looking for the limit again and again costs nobody a twentieth, and soon becomes fast.
    private const double FirstGrowth = 0.01, LastGrowth = 1;
    private readonly Dictionary<string, double> _rates = new(StringComparer.Ordinal);
    private double? _level;
    private double _growth = FirstGrowth;

    /// <summary>A machine in one period.</summary>
    /// <param name="Name">Its name.</param>
    /// <param name="Weight">Its weight.</param>
    /// <param name="Cpus">Processors that it could use at most.</param>
    /// <param name="Used">Processors that it has used.</param>
    /// <param name="Waited">Threads that could run and had no processor, on average.</param>
    /// <param name="Throttled">Part of the period in which its vCPUs stood still for a cap.</param>
    internal readonly record struct Machine(string Name, int Weight, int Cpus, double Used, double Waited, double Throttled);

    /// <summary>Says what each machine may use in the next period.</summary>
    /// <returns>Processors, by name; null for all.</returns>
    internal IReadOnlyDictionary<string, double?> Share(IReadOnlyList<Machine> machines)
    {
        foreach (Machine machine in machines)
            _rates[machine.Name] = _rates.TryGetValue(machine.Name, out double before) ? before + (Smoothing * (machine.Used - before)) : machine.Used;
        Machine[] hungry = [.. machines.Where(machine => machine.Waited > Waits || machine.Throttled > HeldUp)];
        if (hungry.Any(machine => machine.Waited > Waits) && hungry.Length > 1)
        {
            _level = hungry.Sum(machine => _rates[machine.Name]) / hungry.Sum(machine => machine.Weight);
            _growth = FirstGrowth;
        }
        else
        {
            _level *= 1 + _growth;
            _growth = Math.Min(2 * _growth, LastGrowth);
        }

        if (_level is double level && machines.All(machine => level * machine.Weight >= machine.Cpus))
            _level = null;
        return machines.ToDictionary(machine => machine.Name, machine => _level * machine.Weight is double cap && cap < machine.Cpus ? cap : (double?)null, StringComparer.Ordinal);
    }
}
