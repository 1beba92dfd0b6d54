using System.Buffers.Binary;
using System.Text;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Qcow2;

/// <summary>The table of internal snapshots as the file has it (docs/interop/qcow2, "Snapshots").</summary>
internal static class SnapshotTable
{
    private const int FixedLength = 40;
    private const int KnownExtra = 16;
    private const int MaximumLength = 64 << 20;

    /// <summary>Reads the table.</summary>
    /// <returns>The snapshots, and the table's bytes.</returns>
    /// <exception cref="ImageDamageException">It is damaged.</exception>
    internal static (List<Qcow2Snapshot> Snapshots, int Length) Read(ImageFile file, Qcow2Header header)
    {
        var snapshots = new List<Qcow2Snapshot>();
        ulong at = header.SnapshotsOffset;
        for (uint i = 0; i < header.SnapshotCount; i++)
        {
            byte[] head = file.Read(at, FixedLength);
            int idLength = BinaryPrimitives.ReadUInt16BigEndian(head.AsSpan(12)), nameLength = BinaryPrimitives.ReadUInt16BigEndian(head.AsSpan(14));
            uint extraLength = BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(36));
            if (extraLength > 1024)
                throw new ImageDamageException($"snapshot {i} has {extraLength} bytes of extra data");
            byte[] rest = file.Read(at + FixedLength, (int)extraLength + idLength + nameLength);
            ReadOnlySpan<byte> extra = rest.AsSpan(0, (int)extraLength);
            snapshots.Add(new Qcow2Snapshot
            {
                L1Offset = BinaryPrimitives.ReadUInt64BigEndian(head),
                L1Entries = BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(8)),
                Id = Encoding.UTF8.GetString(rest, (int)extraLength, idLength),
                Name = Encoding.UTF8.GetString(rest, (int)extraLength + idLength, nameLength),
                Created = DateTimeOffset.FromUnixTimeSeconds(BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(16)))
                    .AddTicks(BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(20)) / TimeSpan.NanosecondsPerTick),
                GuestTime = TimeSpan.FromTicks((long)(BinaryPrimitives.ReadUInt64BigEndian(head.AsSpan(24)) / TimeSpan.NanosecondsPerTick)),
                StateLength = extra.Length >= 8 ? BinaryPrimitives.ReadUInt64BigEndian(extra) : BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(32)),
                Length = extra.Length >= KnownExtra ? BinaryPrimitives.ReadUInt64BigEndian(extra[8..]) : header.Size,
                Extra = extra.Length > KnownExtra ? extra[KnownExtra..].ToArray() : [],
            });
            at += (ulong)(FixedLength + rest.Length + 7) & ~7UL;
            if (at - header.SnapshotsOffset > MaximumLength)
                throw new ImageDamageException("the table of snapshots is longer than 64 MiB");
        }

        return (snapshots, (int)(at - header.SnapshotsOffset));
    }

    internal static byte[] Serialize(IEnumerable<Qcow2Snapshot> snapshots)
    {
        var stream = new MemoryStream();
        foreach (Qcow2Snapshot snapshot in snapshots)
        {
            byte[] id = Encoding.UTF8.GetBytes(snapshot.Id), name = Encoding.UTF8.GetBytes(snapshot.Name);
            byte[] head = new byte[FixedLength + KnownExtra];
            Span<byte> b = head;
            BinaryPrimitives.WriteUInt64BigEndian(b, snapshot.L1Offset);
            BinaryPrimitives.WriteUInt32BigEndian(b[8..], snapshot.L1Entries);
            BinaryPrimitives.WriteUInt16BigEndian(b[12..], (ushort)id.Length);
            BinaryPrimitives.WriteUInt16BigEndian(b[14..], (ushort)name.Length);
            BinaryPrimitives.WriteUInt32BigEndian(b[16..], (uint)snapshot.Created.ToUnixTimeSeconds());
            BinaryPrimitives.WriteUInt32BigEndian(b[20..], (uint)(snapshot.Created.UtcTicks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick));
            BinaryPrimitives.WriteUInt64BigEndian(b[24..], (ulong)snapshot.GuestTime.Ticks * TimeSpan.NanosecondsPerTick);
            BinaryPrimitives.WriteUInt32BigEndian(b[32..], (uint)Math.Min(snapshot.StateLength, uint.MaxValue));
            BinaryPrimitives.WriteUInt32BigEndian(b[36..], (uint)(KnownExtra + snapshot.Extra.Length));
            BinaryPrimitives.WriteUInt64BigEndian(b[40..], snapshot.StateLength);
            BinaryPrimitives.WriteUInt64BigEndian(b[48..], snapshot.Length);
            stream.Write(head);
            stream.Write(snapshot.Extra);
            stream.Write(id);
            stream.Write(name);
            stream.Write(new byte[-(int)stream.Length & 7]);
        }

        return stream.ToArray();
    }
}
