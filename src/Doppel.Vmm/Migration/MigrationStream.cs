using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Doppel.Vmm.Migration;

/// <summary>What a frame is. docs/migration.md has the order in which they come.</summary>
internal enum FrameKind : byte
{
    /// <summary>Source: a <see cref="MachineOffer"/>.</summary>
    Offer = 1,

    /// <summary>Target: a <see cref="MachineWelcome"/>.</summary>
    Welcome = 2,

    /// <summary>Either: it ends here; why, as text.</summary>
    Abort = 3,

    /// <summary>Source: a <see cref="JoinRequest"/>, the first frame of a further connection.</summary>
    Join = 4,

    /// <summary>Source: bytes of a file; an empty one ends it.</summary>
    File = 5,

    /// <summary>Source: a <see cref="PageBatch"/>.</summary>
    Pages = 6,

    /// <summary>Source, on every connection with memory: the end of a round, by its number.</summary>
    Fence = 7,

    /// <summary>Target: everything before the fence of that number is in place.</summary>
    Reached = 8,

    /// <summary>Source: the guest was reset; forget its memory.</summary>
    Anew = 9,

    /// <summary>Source: the sections of all parts.</summary>
    Sections = 10,

    /// <summary>Source: a <see cref="MachineRemainder"/>; the disks are released, and everything is said.</summary>
    Remainder = 11,

    /// <summary>Target: the machine is whole and could run.</summary>
    Ready = 12,

    /// <summary>Source: the machine is the target's, if it takes it.</summary>
    Commit = 13,

    /// <summary>Target: it has taken the machine, for good.</summary>
    Accepted = 14,

    /// <summary>Target: it has not taken the machine and never will.</summary>
    Declined = 15,

    /// <summary>Source: bytes of a disk that is copied along.</summary>
    Blocks = 16,

    /// <summary>Target: users can reach the machine there.</summary>
    Served = 17,

    /// <summary>Source, after <see cref="Accepted"/>: what its networks have brought for the guest (<see cref="LateFrames"/>).</summary>
    Late = 18,

    /// <summary>Source: <see cref="PostCopy.PageRuns"/> that come when the machine runs at the target.</summary>
    Missing = 19,

    /// <summary>Target's pager: a <see cref="PostCopy.PageRequest"/>.</summary>
    Request = 20,

    /// <summary>Source: where code has been translated (<see cref="CodePlaces"/>).</summary>
    Code = 21,

    /// <summary>Target: it has translated that, too, as far as there was time.</summary>
    Translated = 22,
}

/// <summary>A connection of the protocol: frames of a kind, a length and bytes. One sender and one receiver at a time.</summary>
/// <param name="stream">The connection; owned.</param>
internal sealed class MigrationStream(Stream stream) : IAsyncDisposable
{
    /// <summary>Longest frame.</summary>
    internal const int LongestFrame = 64 << 20;

    private const int HeaderLength = 5;
    private readonly byte[] _sentHeader = new byte[HeaderLength];
    private readonly byte[] _receivedHeader = new byte[HeaderLength];

    /// <summary>Bytes sent.</summary>
    internal ulong SentBytes { get; private set; }

    /// <summary>Sends a frame.</summary>
    /// <exception cref="IOException">The connection is broken.</exception>
    internal async Task SendAsync(FrameKind kind, ReadOnlyMemory<byte> bytes, CancellationToken cancel)
    {
        _sentHeader[0] = (byte)kind;
        BinaryPrimitives.WriteInt32LittleEndian(_sentHeader.AsSpan(1), bytes.Length);
        await stream.WriteAsync(_sentHeader, cancel).ConfigureAwait(false);
        if (bytes.Length != 0)
            await stream.WriteAsync(bytes, cancel).ConfigureAwait(false);
        await stream.FlushAsync(cancel).ConfigureAwait(false);
        SentBytes += (ulong)(HeaderLength + bytes.Length);
    }

    /// <summary>Sends a frame of JSON.</summary>
    internal Task SendAsync<T>(FrameKind kind, T value, JsonTypeInfo<T> type, CancellationToken cancel) => SendAsync(kind, JsonSerializer.SerializeToUtf8Bytes(value, type), cancel);

    /// <summary>Sends a frame with a number.</summary>
    internal Task SendAsync(FrameKind kind, int number, CancellationToken cancel)
    {
        byte[] bytes = new byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, number);
        return SendAsync(kind, bytes, cancel);
    }

    /// <summary>Sends why it ends here.</summary>
    internal Task AbortAsync(string why, CancellationToken cancel) => SendAsync(FrameKind.Abort, Encoding.UTF8.GetBytes(why), cancel);

    /// <summary>Waits for the next frame.</summary>
    /// <exception cref="IOException">The connection is broken, or what came is no frame.</exception>
    internal async Task<Frame> ReceiveAsync(CancellationToken cancel)
    {
        try
        {
            await stream.ReadExactlyAsync(_receivedHeader, cancel).ConfigureAwait(false);
            int length = BinaryPrimitives.ReadInt32LittleEndian(_receivedHeader.AsSpan(1));
            if (length is < 0 or > LongestFrame)
                throw new IOException($"a frame of {length} bytes: at most {LongestFrame} would be right");
            byte[] bytes = length == 0 ? [] : GC.AllocateUninitializedArray<byte>(length);
            await stream.ReadExactlyAsync(bytes, cancel).ConfigureAwait(false);
            return new Frame((FrameKind)_receivedHeader[0], bytes);
        }
        catch (EndOfStreamException e)
        {
            throw new IOException("the other side has closed the connection", e);
        }
    }

    /// <summary>Waits for a frame of one kind.</summary>
    /// <exception cref="MigrationException">The other side ends it; the message says why.</exception>
    /// <exception cref="IOException">The connection is broken, or another frame came.</exception>
    internal async Task<Frame> ExpectAsync(FrameKind kind, CancellationToken cancel)
    {
        Frame frame = await ReceiveAsync(cancel).ConfigureAwait(false);
        if (frame.Kind == FrameKind.Abort)
            throw new MigrationException(frame.Text);
        return frame.Kind == kind ? frame : throw new IOException($"the other side has sent {frame.Kind} where {kind} was expected");
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => stream.DisposeAsync();
}

/// <summary>A frame that was received.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Bytes">Its bytes.</param>
internal readonly record struct Frame(FrameKind Kind, byte[] Bytes)
{
    /// <summary>Its text.</summary>
    internal string Text => Encoding.UTF8.GetString(Bytes);

    /// <summary>Its number.</summary>
    /// <exception cref="IOException">It has none.</exception>
    internal int Number => Bytes.Length == sizeof(int) ? BinaryPrimitives.ReadInt32LittleEndian(Bytes) : throw new IOException($"a frame {Kind} of {Bytes.Length} bytes: 4 would be right");

    /// <summary>Its JSON.</summary>
    /// <exception cref="IOException">It is none.</exception>
    internal T Read<T>(JsonTypeInfo<T> type)
        where T : class
    {
        try
        {
            return JsonSerializer.Deserialize(Bytes, type) ?? throw new IOException($"a frame {Kind} with nothing in it");
        }
        catch (JsonException e)
        {
            throw new IOException($"a frame {Kind} that can't be read: {e.Message}", e);
        }
    }
}
