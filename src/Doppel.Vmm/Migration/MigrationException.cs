namespace Doppel.Vmm.Migration;

/// <summary>A machine that can't be moved, or wasn't; the message is one line that says why, and the machine goes on where it was.</summary>
public sealed class MigrationException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was given, what is wrong and what would be right.</param>
    /// <param name="inner">What it comes from.</param>
    public MigrationException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
