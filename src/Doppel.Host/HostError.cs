using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;

namespace Doppel.Host;

/// <summary>Turns the result of a system call into an exception.</summary>
internal static class HostError
{
    /// <summary>Returns the result, or throws for -1 with the errno of the last P/Invoke.</summary>
    internal static nint Check(nint result, string call, string detail)
    {
        if (result == -1)
            Throw(call, detail);
        return result;
    }

    [DoesNotReturn]
    internal static void Throw(string call, string detail) => throw new HostException(call, Marshal.GetLastPInvokeError(), detail);
}
