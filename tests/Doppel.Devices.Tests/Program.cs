using Doppel.Devices.Tests.Storage;

namespace Doppel.Devices.Tests;

/// <summary>What tests run as a process of its own, to kill it.</summary>
internal static class Program
{
    private static int Main(string[] arguments)
    {
        if (arguments is not ["write-image", string path, string seed, string start])
            return 2;
        StampedDisk.Write(path, int.Parse(seed), int.Parse(start));
        return 0;
    }
}
