using System.Net.Sockets;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Nbd;

/// <summary>
/// An export of an NBD server (the project's doc/proto.md), by TCP or a Unix socket, without TLS. Several requests are under
/// way at once on one connection. A connection that is lost stays lost.
/// </summary>
public sealed class NbdImage : DiskImage
{
    private const ushort ReadOnlyFlag = 1 << 1;
    private const ushort FlushFlag = 1 << 2;
    private const ushort WriteZeroesFlag = 1 << 6;
    private const long RequestLimit = 8 << 20;
    private readonly NbdConnection _connection;
    private readonly ushort _flags;

    private NbdImage(string name, bool isReadOnly, NbdConnection connection, ulong length, ushort flags)
        : base(name, isReadOnly)
    {
        _connection = connection;
        _flags = flags;
        Length = length & ~(ulong)(IBlockBackend.SectorSize - 1);
    }

    /// <inheritdoc/>
    public override DiskFormat Format => DiskFormat.Nbd;

    /// <inheritdoc/>
    public override ulong Length { get; }

    /// <inheritdoc/>
    public override int DiscardGranularity => (_flags & WriteZeroesFlag) != 0 ? 4096 : 0;

    /// <summary>Connects.</summary>
    /// <param name="address">nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH.</param>
    /// <param name="isReadOnly">True to read only.</param>
    /// <exception cref="DiskImageException">Nobody answers there, or the server refuses.</exception>
    public static NbdImage Open(string address, bool isReadOnly)
    {
        NbdAddress parsed = NbdAddress.Parse(address);
        Socket? socket = null;
        try
        {
            if (parsed.Socket.Length > 0)
            {
                socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                socket.Connect(new UnixDomainSocketEndPoint(parsed.Socket));
            }
            else
            {
                socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
                socket.Connect(parsed.Host, parsed.Port);
                socket.NoDelay = true;
            }

            (ulong length, ushort flags) = NbdHandshake.Negotiate(address, socket, parsed.Export);
            if ((flags & ReadOnlyFlag) != 0 && !isReadOnly)
                throw new DiskImageException($"{address}: the server lets the export only be read; \"ro\", \"ephemeral\" or an overlay would be right");
            return new NbdImage(address, isReadOnly, new NbdConnection(address, socket), length, flags);
        }
        catch (SocketException e)
        {
            socket?.Dispose();
            throw new DiskImageException($"{address}: no NBD server can be reached there ({e.Message})", e);
        }
        catch
        {
            socket?.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override void Read(ulong offset, BufferList buffers) => InPieces(NbdConnection.ReadCommand, offset, buffers);

    /// <inheritdoc/>
    public override void Write(ulong offset, BufferList buffers)
    {
        CheckWritable();
        InPieces(NbdConnection.WriteCommand, offset, buffers);
    }

    /// <inheritdoc/>
    public override void Flush()
    {
        if (!IsReadOnly && (_flags & FlushFlag) != 0)
            _connection.Execute(NbdConnection.FlushCommand, 0, 0, 0, default);
    }

    /// <inheritdoc/>
    public override void Discard(ulong offset, ulong length)
    {
        CheckWritable();
        // What a trimmed range reads is the server's to say each time anew, which a disk may not.
        if ((_flags & WriteZeroesFlag) != 0)
            WriteZeroes(offset, length, mayFree: true);
    }

    /// <inheritdoc/>
    public override void WriteZeroes(ulong offset, ulong length, bool mayFree)
    {
        CheckWritable();
        if ((_flags & WriteZeroesFlag) == 0)
        {
            base.WriteZeroes(offset, length, mayFree);
            return;
        }

        for (ulong done = 0; done < length;)
        {
            uint part = (uint)Math.Min(length - done, 1 << 30);
            _connection.Execute(NbdConnection.WriteZeroesCommand, mayFree ? (ushort)0 : NbdConnection.NoHole, offset + done, part, default);
            done += part;
        }
    }

    /// <inheritdoc/>
    public override ImageExtent GetExtent(ulong offset, ulong length) => new(ExtentKind.Data, Math.Min(length, Length - offset));

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _connection.Dispose();

    private void CheckWritable()
    {
        if (IsReadOnly)
            throw NotWritable();
    }

    private void InPieces(ushort command, ulong offset, BufferList buffers)
    {
        for (long done = 0; done < buffers.Length;)
        {
            BufferList part = buffers.Slice(done, Math.Min(buffers.Length - done, RequestLimit));
            _connection.Execute(command, 0, offset + (ulong)done, (uint)part.Length, part);
            done += part.Length;
        }
    }
}
