using System.Buffers.Binary;
using Doppel.Devices.Tests.Virtio;

namespace Doppel.Devices.Tests.Vsock;

/// <summary>A guest's side of vsock: packets as virtio lays them out.</summary>
public sealed class VsockDriver(VirtioDriver driver)
{
    public const uint Cid = 5;
    public const ushort Request = 1, Response = 2, Reset = 3, Shutdown = 4, Data = 5, CreditUpdate = 6, CreditRequest = 7;
    private const int HeaderLength = 44, Piece = 4096;

    /// <summary>Bytes that the guest says it keeps.</summary>
    public uint BufferSize { get; set; } = 1 << 16;

    /// <summary>Bytes that the guest says it has passed on.</summary>
    public uint Forwarded { get; set; }

    /// <summary>A header from and to addresses that may be right, with any operation.</summary>
    public static byte[] RandomHeader(Random random)
    {
        byte[] bytes = new byte[HeaderLength + 20];
        random.NextBytes(bytes);
        Write(bytes, (ushort)random.Next(9), (uint)random.Next(4), random.Next(3) == 0 ? VsockHost.EchoPort : (uint)random.Next(4), (uint)random.Next(30), (uint)random.Next(4), (uint)random.Next(1 << 17), (uint)random.Next(100));
        if (random.Next(10) == 0)
            random.NextBytes(bytes.AsSpan(random.Next(40), 4));
        return bytes;
    }

    public async Task SendAsync(ushort operation, uint guestPort, uint hostPort, byte[]? data = null, uint flags = 0, ulong to = 2, ushort type = 1, uint? length = null)
    {
        byte[] header = new byte[HeaderLength];
        Write(header, operation, guestPort, hostPort, length ?? (uint)(data?.Length ?? 0), flags, BufferSize, Forwarded);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), to);
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(28), type);
        List<DriverBuffer> buffers = [new(driver.Allocate(header), HeaderLength)];
        if (data is { Length: > 0 })
            buffers.Add(new DriverBuffer(driver.Allocate(data), (uint)data.Length));
        Assert.Equal(0u, await driver.DoAsync(1, buffers));
    }

    /// <summary>Gives the device a buffer and waits for what it puts there.</summary>
    public async Task<VsockMessage> ReceiveAsync(ushort? operation = null, TimeSpan? patience = null)
    {
        ulong into = driver.Allocate(HeaderLength + Piece);
        _ = driver.Queues[0].Add([new DriverBuffer(into, HeaderLength + Piece, IsWritable: true)]);
        driver.Queues[0].Kick();
        Task<(int Id, uint Written)> used = driver.NextUsedAsync(0);
        (_, uint written) = patience is TimeSpan time ? await used.WaitAsync(time) : await used;
        byte[] bytes = driver.Bytes(into, (int)written);
        var message = new VsockMessage(
            BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(30)), BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(20)), BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(16)),
            BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(32)), BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(36)), BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(40)), bytes[HeaderLength..]);
        Assert.Equal((uint)message.Data.Length, BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(24)));
        Assert.Equal((2UL, (ulong)Cid), (BinaryPrimitives.ReadUInt64LittleEndian(bytes), BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(8))));
        if (operation is ushort expected)
            Assert.Equal(expected, message.Operation);
        return message;
    }

    private static void Write(Span<byte> bytes, ushort operation, uint guestPort, uint hostPort, uint length, uint flags, uint bufferSize, uint forwarded)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, Cid);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], 2);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[16..], guestPort);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[20..], hostPort);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[24..], length);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[28..], 1);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[30..], operation);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[32..], flags);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[36..], bufferSize);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[40..], forwarded);
    }
}

/// <summary>A packet that the guest has received.</summary>
public sealed record VsockMessage(ushort Operation, uint GuestPort, uint HostPort, uint Flags, uint BufferSize, uint Forwarded, byte[] Data);
