namespace Doppel.Vmm.Ssh;

/// <summary>How a guest is reached by SSH from its host.</summary>
/// <param name="Port">Port of the host, on 127.0.0.1, that leads to the guest's SSH server.</param>
/// <param name="User">The account.</param>
/// <param name="HostKeyAlias">The name under which the guest's host key is known; null for a guest whose key is new at each run.</param>
public sealed record SshAccess(int Port, string User, string? HostKeyAlias);
