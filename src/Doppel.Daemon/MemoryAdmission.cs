using System.Globalization;
using Doppel.Api;
using Doppel.Vmm;

namespace Doppel.Daemon;

/// <summary>
/// Lets machines start as long as the RAM of all that run stays below the host's, times a ratio: guests take host memory only
/// where they touch theirs, so a ratio above 1 counts on their not all doing so. Any thread.
/// </summary>
/// <param name="hostMemory">Bytes that the host has.</param>
/// <param name="ratio">The ratio.</param>
internal sealed class MemoryAdmission(ulong hostMemory, double ratio)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, ulong> _starting = new(StringComparer.Ordinal);

    /// <summary>The host's memory, as the kernel counts it (proc(5), /proc/meminfo, MemTotal).</summary>
    internal static ulong HostMemory()
    {
        const string Field = "MemTotal:";
        string line = File.ReadLines("/proc/meminfo").First(each => each.StartsWith(Field, StringComparison.Ordinal));
        return ulong.Parse(line[Field.Length..].Replace("kB", "", StringComparison.Ordinal).Trim(), CultureInfo.InvariantCulture) << 10;
    }

    /// <summary>Admits a machine that is about to start; what is returned is disposed when it runs, or doesn't.</summary>
    /// <param name="spec">The machine.</param>
    /// <param name="running">The RAM of those that run.</param>
    /// <exception cref="ApiException">There is no room.</exception>
    internal IDisposable Admit(MachineSpec spec, Func<IEnumerable<ulong>> running)
    {
        lock (_lock)
        {
            ulong limit = (ulong)(hostMemory * ratio), used = running().Aggregate(0UL, (sum, each) => sum + each);
            foreach (ulong each in _starting.Values)
                used += each;
            ulong free = limit > used ? limit - used : 0;
            if (spec.Memory > free && !spec.Overcommit)
            {
                throw new ApiException(409, string.Create(
                    CultureInfo.InvariantCulture,
                    $"{spec.Name}: its {MemorySize.Format(spec.Memory)} of RAM are not free: {Round(used)} of {Round(limit)} ({ratio:0.##} of the host's {Round(hostMemory)}) are other running machines', {Round(free)} are free; less memory, stopping others, or \"doppeld --memory-overcommit\" with a higher ratio would be right"));
            }

            string key = Guid.NewGuid().ToString();
            _starting[key] = spec.Memory;
            return new Admission(this, key);
        }
    }

    private static string Round(ulong bytes) => MemorySize.Format(bytes & ~0xFFFFFUL);

    private sealed class Admission(MemoryAdmission owner, string key) : IDisposable
    {
        public void Dispose()
        {
            lock (owner._lock)
                _ = owner._starting.Remove(key);
        }
    }
}
