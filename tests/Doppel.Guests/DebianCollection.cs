namespace Doppel.Guests;

/// <summary>Guests run one after the other: each wants a processor of the host for itself.</summary>
[CollectionDefinition("Debian")]
public sealed class DebianCollection : ICollectionFixture<DebianImage>;
