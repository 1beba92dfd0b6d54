using System.Runtime.InteropServices;

namespace Doppel.Vmm.Migration;

/// <summary>Where the source has translated code, as it goes over the wire: 8 bytes each, what the target's translator makes of them is its matter.</summary>
internal static class CodePlaces
{
    /// <summary>Most that are sent.</summary>
    internal const int Most = 1 << 16;

    /// <summary>Writes them.</summary>
    internal static byte[] Write(ulong[] places) => MemoryMarshal.AsBytes<ulong>(places).ToArray();

    /// <summary>Reads them.</summary>
    /// <exception cref="IOException">They are none.</exception>
    internal static ulong[] Read(byte[] bytes) => bytes.Length % sizeof(ulong) == 0 && bytes.Length / sizeof(ulong) <= Most
        ? MemoryMarshal.Cast<byte, ulong>(bytes).ToArray()
        : throw new IOException($"{bytes.Length} bytes are no places of code: 8 for each, at most {Most}, would be right");
}
