using System.Collections;

namespace Doppel.Machine.Cpu.Models;

/// <summary>An immutable set of <see cref="CpuFeature"/>.</summary>
public readonly struct CpuFeatureSet : IEquatable<CpuFeatureSet>, IEnumerable<CpuFeature>
{
    private readonly UInt128 _bits;

    private CpuFeatureSet(UInt128 bits) => _bits = bits;

    /// <summary>True when the set holds the feature.</summary>
    public bool Has(CpuFeature feature) => (_bits & Bit(feature)) != 0;

    /// <summary>The set and these features.</summary>
    public CpuFeatureSet With(params ReadOnlySpan<CpuFeature> features)
    {
        UInt128 bits = _bits;
        foreach (CpuFeature feature in features)
            bits |= Bit(feature);
        return new CpuFeatureSet(bits);
    }

    /// <summary>The set without these features.</summary>
    public CpuFeatureSet Without(params ReadOnlySpan<CpuFeature> features)
    {
        UInt128 bits = _bits;
        foreach (CpuFeature feature in features)
            bits &= ~Bit(feature);
        return new CpuFeatureSet(bits);
    }

    /// <inheritdoc/>
    public IEnumerator<CpuFeature> GetEnumerator()
    {
        foreach (CpuFeatureInfo info in CpuFeatureCatalog.All)
        {
            if (Has(info.Feature))
                yield return info.Feature;
        }
    }

    /// <inheritdoc/>
    public bool Equals(CpuFeatureSet other) => _bits == other._bits;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is CpuFeatureSet other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => _bits.GetHashCode();

    /// <summary>Same features.</summary>
    public static bool operator ==(CpuFeatureSet left, CpuFeatureSet right) => left.Equals(right);

    /// <summary>Different features.</summary>
    public static bool operator !=(CpuFeatureSet left, CpuFeatureSet right) => !left.Equals(right);

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private static UInt128 Bit(CpuFeature feature) => UInt128.One << (int)feature;
}
