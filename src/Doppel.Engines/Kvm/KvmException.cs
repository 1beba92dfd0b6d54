namespace Doppel.Engines.Kvm;

/// <summary>KVM can't run a machine, or can't go on with it; the message is one line that says why.</summary>
public sealed class KvmException : Exception
{
    /// <summary>Creates the exception.</summary>
    public KvmException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
