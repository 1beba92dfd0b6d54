using Microsoft.Win32.SafeHandles;

namespace Doppel.Host.Terminals;

/// <summary>
/// Standard input and output as plain descriptors. The runtime's console class is not used for them: it changes the
/// terminal's settings and edits lines.
/// </summary>
public static class StandardStreams
{
    /// <summary>Standard input, unbuffered.</summary>
    public static Stream OpenInput() => Open(HostTerminal.StandardInput, FileAccess.Read);

    /// <summary>Standard output, unbuffered.</summary>
    public static Stream OpenOutput() => Open(HostTerminal.StandardOutput, FileAccess.Write);

    /// <summary>Standard error, unbuffered.</summary>
    public static Stream OpenError() => Open(HostTerminal.StandardError, FileAccess.Write);

    private static FileStream Open(int descriptor, FileAccess access) =>
        new(new SafeFileHandle(descriptor, ownsHandle: false), access, bufferSize: 0);
}
