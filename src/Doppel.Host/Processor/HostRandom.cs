namespace Doppel.Host.Processor;

/// <summary>
/// The kernel's random numbers: as good as those of a cryptographic library, without the megabytes and milliseconds that
/// loading one takes. getrandom(2).
/// </summary>
public static unsafe class HostRandom
{
    private const int Whole = 256;

    /// <summary>Fills a span. Any thread.</summary>
    /// <exception cref="HostException">The host refuses.</exception>
    public static void Fill(Span<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            // Calls for more bytes may return fewer, or none when a signal comes.
            for (int done = 0; done < bytes.Length;)
                done += (int)HostError.Check(LibC.GetRandom(start + done, (nuint)Math.Min(bytes.Length - done, Whole), 0), "getrandom", $"of {bytes.Length} bytes");
        }
    }

    /// <summary>A random quadword. Any thread.</summary>
    public static ulong Next()
    {
        ulong value;
        Fill(new Span<byte>(&value, sizeof(ulong)));
        return value;
    }
}
