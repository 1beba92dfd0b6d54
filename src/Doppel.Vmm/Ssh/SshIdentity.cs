using Doppel.Vmm.Images;

namespace Doppel.Vmm.Ssh;

/// <summary>Doppel's own SSH key pair of a user, with which it opens the guests that it has given the public key.</summary>
/// <param name="KeyPath">Path of the private key.</param>
/// <param name="PublicKey">The public key, a line of authorized_keys.</param>
public sealed record SshIdentity(string KeyPath, string PublicKey)
{
    /// <summary>The key pair below a state directory, made at the first use.</summary>
    /// <returns>Null when the host has no ssh-keygen.</returns>
    /// <exception cref="IOException">It can't be made or read.</exception>
    public static async Task<SshIdentity?> EnsureAsync(StateDirectory state, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(state);
        string directory = Path.Combine(state.Path, "ssh"), key = Path.Combine(directory, "id_ed25519");
        if (!File.Exists(key))
        {
            if (HostTool.Find("ssh-keygen") is not string program)
                return null;
            _ = Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            string made = Path.Combine(directory, $".{Guid.NewGuid():N}");
            HostToolResult result = await HostTool.RunAsync(program, ["-q", "-t", "ed25519", "-N", "", "-C", "doppel", "-f", made], null, null, cancel).ConfigureAwait(false);
            if (result.ExitCode != 0)
                throw new IOException($"{directory}: no SSH key can be made there: {result.FirstError}");
            // The private key comes last: where it is, the public one is. Who was faster has made as good a pair.
            File.Move(made + ".pub", key + ".pub", overwrite: true);
            File.Move(made, key, overwrite: true);
        }

        return new SshIdentity(key, (await File.ReadAllTextAsync(key + ".pub", cancel).ConfigureAwait(false)).Trim());
    }
}
