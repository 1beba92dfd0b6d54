using System.Globalization;
using Xunit.Abstractions;

namespace Doppel.Machine.Tests;

/// <summary>The seed of a random test: printed, and DOPPEL_TEST_SEED repeats a run.</summary>
internal static class TestSeed
{
    private const string Variable = "DOPPEL_TEST_SEED";

    /// <summary>Takes the seed that is asked for, or a new one.</summary>
    /// <param name="output">Where it is printed.</param>
    /// <param name="what">What is tested, when one test does it several times.</param>
    /// <param name="below">A new one is less than this.</param>
    internal static int Take(ITestOutputHelper output, string? what = null, int below = int.MaxValue)
    {
        string? wanted = Environment.GetEnvironmentVariable(Variable);
        int seed = wanted is null ? Random.Shared.Next(below) : int.Parse(wanted, CultureInfo.InvariantCulture);
        output.WriteLine($"{(what is null ? "" : what + ": ")}{Variable}={seed}");
        return seed;
    }
}
