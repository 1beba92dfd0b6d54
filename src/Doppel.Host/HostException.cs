namespace Doppel.Host;

/// <summary>A system call that failed: names the call, the error and what was asked.</summary>
public sealed class HostException : IOException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="call">The system call, for example "mmap".</param>
    /// <param name="errno">The error number.</param>
    /// <param name="detail">What was asked, for example "of 4096 bytes".</param>
    public HostException(string call, int errno, string detail)
        : base($"{call} {detail}: {System.Runtime.InteropServices.Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})")
    {
        Call = call;
        Errno = errno;
    }

    /// <summary>The system call.</summary>
    public string Call { get; }

    /// <summary>The error number.</summary>
    public int Errno { get; }
}
