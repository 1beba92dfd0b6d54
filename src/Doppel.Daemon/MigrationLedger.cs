using System.Text;
using Doppel.Host.Files;
using Doppel.Vmm;

namespace Doppel.Daemon;

/// <summary>What a daemon keeps of migrations outside its machines' folders, which their processes can read, and for longer than those are there. Any thread.</summary>
/// <param name="state">Where machines are.</param>
internal sealed class MigrationLedger(StateDirectory state)
{
    private string Arrivals => Path.Combine(state.Path, "arrivals");

    private string Tokens => Path.Combine(state.Path, "handovers");

    /// <summary>Keeps that a machine has arrived, whatever becomes of it.</summary>
    internal void KeepArrival(Guid id, string machine) => Write(Arrivals, id, machine);

    /// <summary>True when a machine has arrived by a migration.</summary>
    internal bool HasArrived(Guid id) => File.Exists(Path.Combine(Arrivals, id.ToString()));

    /// <summary>Keeps what lets this daemon ask the other one.</summary>
    internal void KeepToken(Guid id, string token) => Write(Tokens, id, token);

    /// <summary>What lets this daemon ask the other one; null for nothing.</summary>
    internal string? TokenOf(Guid id)
    {
        try
        {
            return File.ReadAllText(Path.Combine(Tokens, id.ToString())).Trim();
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }

    /// <summary>There is nothing more to ask.</summary>
    internal void ForgetToken(Guid id)
    {
        if (Directory.Exists(Tokens))
            File.Delete(Path.Combine(Tokens, id.ToString()));
    }

    private static void Write(string folder, Guid id, string text)
    {
        PrivateDirectory.Ensure(folder);
        string path = Path.Combine(folder, id.ToString());
        AtomicFile.Write(path, Encoding.UTF8.GetBytes(text + "\n"));
    }
}
