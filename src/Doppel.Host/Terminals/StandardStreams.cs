using Microsoft.Win32.SafeHandles;

namespace Doppel.Host.Terminals;

/// <summary>
/// Standard input and output as plain descriptors. The runtime's console class is not used for them: it changes the
/// terminal's settings and edits lines.
/// </summary>
public static class StandardStreams
{
    /// <summary>Standard input, unbuffered.</summary>
    public static Stream OpenInput() => new FileStream(new SafeFileHandle(HostTerminal.StandardInput, ownsHandle: false), FileAccess.Read, bufferSize: 0);

    /// <summary>Standard output, unbuffered.</summary>
    public static Stream OpenOutput() => new OutputStream(HostTerminal.StandardOutput);

    /// <summary>Standard error, unbuffered.</summary>
    public static Stream OpenError() => new OutputStream(HostTerminal.StandardError);
}
