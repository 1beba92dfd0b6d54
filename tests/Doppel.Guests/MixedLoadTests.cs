using System.Globalization;
using System.Security.Cryptography;
using Doppel.Vmm;
using Xunit.Abstractions;

namespace Doppel.Guests;

/// <summary>
/// An hour of mixed work on two vCPUs: every round must give the same answers, none may hang, and the process may not grow.
/// DOPPEL_MIXED_MINUTES makes it shorter or longer.
/// </summary>
[Collection("Debian")]
[Trait("Category", "Slow")]
public sealed class MixedLoadTests(DebianImage image, ITestOutputHelper output)
{
    private const int GrowthLimit = 32 << 20;

    // Two of each at once; what they write is compared, in the order of their names.
    private const string Script = """
        set -e
        one() {
          d=/tmp/w$1
          mkdir -p $d
          yes doppel | head -c 8388608 | sha256sum > $d/a
          tar c -C / bin etc 2>/dev/null | gzip -1 | gunzip | sha256sum > $d/b
          i=0; n=0; while [ $i -lt 20000 ]; do i=$((i+1)); n=$((n+i)); done; echo $n > $d/c
          i=0; n=0; while [ $i -lt 150 ]; do i=$((i+1)); (exit 3) || n=$((n+$?)); done; echo $n > $d/d
          seq 1 20000 | sort -rn | awk '{ n += $1 * NR } END { printf "%d\n", n }' > $d/e
          dd if=/dev/urandom of=$d/r bs=65536 count=64 2>/dev/null
          cp $d/r $d/s; cmp $d/r $d/s; rm $d/r $d/s
          find / -xdev -type f 2>/dev/null | grep -v '^/tmp\|^/proc\|^/sys' | wc -l > $d/f
          usleep 20000
        }
        one 1 & p=$!; one 2 & q=$!
        wait $p; wait $q
        cat /tmp/w1/? /tmp/w2/? | sha256sum
        cat /tmp/w1/a
        """;

    [Fact]
    public async Task Answers_stay_the_same_and_memory_does_not_grow()
    {
        double minutes = double.Parse(Environment.GetEnvironmentVariable("DOPPEL_MIXED_MINUTES") ?? "60", CultureInfo.InvariantCulture);
        DateTime end = DateTime.UtcNow + TimeSpan.FromMinutes(minutes);
        await using DebianGuest guest = await DebianGuest.BootAsync(image.Image, s => s with { Engine = EngineNames.Translator, Cpus = 2 });
        // What the kernel says of a host that leaves it no time is no answer.
        _ = await guest.RunAsync("dmesg -n 1");
        foreach (string line in Script.Split('\n'))
            _ = await guest.RunAsync($"echo '{line.Replace("'", "'\\''", StringComparison.Ordinal)}' >> /tmp/load");
        string expected = await RoundAsync(guest);
        byte[] data = new byte[8 << 20];
        for (int i = 0; i < data.Length; i++)
            data[i] = (byte)"doppel\n"[i % 7];
        Assert.Contains(Convert.ToHexStringLower(SHA256.HashData(data)), expected, StringComparison.Ordinal);

        // What is translated, and what the runtime keeps, settles in the first rounds.
        for (int i = 0; i < 3; i++)
            Assert.Equal(expected, await RoundAsync(guest));
        long before = PrivateBytes();
        int rounds = 4;
        for (; DateTime.UtcNow < end; rounds++)
        {
            Assert.Equal(expected, await RoundAsync(guest));
            if (rounds % 10 == 0)
            {
                await guest.Machine.PauseAsync();
                guest.Machine.Resume();
            }
        }

        long after = PrivateBytes();
        output.WriteLine($"{rounds} rounds, {before >> 20} MiB of private memory after four, {after >> 20} MiB at the end");
        Assert.True(after - before < GrowthLimit, $"private memory has grown from {before} to {after} bytes in {rounds} rounds");
    }

    private static async Task<string> RoundAsync(DebianGuest guest)
    {
        string answer = await guest.RunAsync("sh /tmp/load; echo status $?");
        Assert.EndsWith("status 0", answer, StringComparison.Ordinal);
        return answer;
    }

    // Without the guest's RAM, which is shared memory.
    private static long PrivateBytes()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        string line = File.ReadLines("/proc/self/status").First(l => l.StartsWith("RssAnon:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
    }
}
