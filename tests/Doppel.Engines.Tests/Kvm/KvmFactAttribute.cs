using Doppel.Host.Kvm;

namespace Doppel.Engines.Tests.Kvm;

/// <summary>A test that needs /dev/kvm, if only one that emulates: guests of a few instructions run on any.</summary>
internal sealed class KvmFactAttribute : FactAttribute
{
    internal static readonly Lazy<string?> Obstacle = new(Look);

    public KvmFactAttribute() => Skip = Obstacle.Value;

    private static string? Look()
    {
        try
        {
            using var device = new KvmDevice();
            using KvmVm vm = device.CreateVm();
            return null;
        }
        catch (IOException e)
        {
            return $"no usable /dev/kvm here: {e.Message}";
        }
    }
}
