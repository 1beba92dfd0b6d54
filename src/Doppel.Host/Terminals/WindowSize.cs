using System.Runtime.InteropServices;

namespace Doppel.Host.Terminals;

/// <summary>struct winsize of the kernel.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct WindowSize
{
    internal ushort Rows;
    internal ushort Columns;
    internal ushort PixelWidth;
    internal ushort PixelHeight;
}
