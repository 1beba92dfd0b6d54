using System.Runtime.InteropServices;

namespace Doppel.Host.Terminals;

/// <summary>struct termios of the C library.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Termios
{
    internal uint InputFlags;
    internal uint OutputFlags;
    internal uint ControlFlags;
    internal uint LocalFlags;
    internal byte LineDiscipline;
    internal fixed byte ControlCharacters[32];
    internal uint InputSpeed;
    internal uint OutputSpeed;
}
