namespace Doppel.Engines.Tests.Kvm;

/// <summary>As <see cref="KvmFactAttribute"/>, for a test with arguments.</summary>
internal sealed class KvmTheoryAttribute : TheoryAttribute
{
    public KvmTheoryAttribute() => Skip = KvmFactAttribute.Obstacle.Value;
}
