namespace Doppel.Vmm;

/// <summary>What a network card's cable leads to.</summary>
public enum NetworkKind
{
    /// <summary>User-mode NAT, which needs no rights (libslirp).</summary>
    User,

    /// <summary>A tap interface of the host.</summary>
    Tap,

    /// <summary>A switch between this user's machines.</summary>
    Switch,
}
