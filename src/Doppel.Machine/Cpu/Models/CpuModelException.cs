namespace Doppel.Machine.Cpu.Models;

/// <summary>A CPU model that does not exist or that this host cannot run; the message says which would do.</summary>
public sealed class CpuModelException : Exception
{
    /// <summary>Without a message.</summary>
    public CpuModelException()
    {
    }

    /// <summary>With a message for the user.</summary>
    public CpuModelException(string message)
        : base(message)
    {
    }

    /// <summary>With a message for the user and a cause.</summary>
    public CpuModelException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
