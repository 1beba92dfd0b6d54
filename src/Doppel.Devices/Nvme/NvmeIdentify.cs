using System.Buffers.Binary;
using System.Text;
using Doppel.Devices.Storage;

namespace Doppel.Devices.Nvme;

/// <summary>The data structures by which a controller describes itself (NVMe 1.4, 5.15.2).</summary>
internal static class NvmeIdentify
{
    internal const int Length = 4096;

    /// <summary>Largest transfer: 2 to this power, in pages of 4 KiB.</summary>
    internal const int TransferShift = 8;

    /// <summary>Most asynchronous event requests that a driver may have waiting.</summary>
    internal const int MaximumEventRequests = 4;

    internal const uint Version = 0x0001_0400;

    internal static byte[] Controller(string serial, ushort vendor, int namespaces)
    {
        byte[] data = new byte[Length];
        Put16(data, 0, vendor);
        Put16(data, 2, vendor);
        PutText(data, 4, 20, serial);
        PutText(data, 24, 40, "Doppel NVMe disk");
        PutText(data, 64, 8, "1");
        data[77] = TransferShift;
        Put32(data, 80, Version);
        // Changes of a namespace are announced.
        Put32(data, 92, 1 << 8);
        data[111] = 1;
        data[258] = 3;
        data[259] = MaximumEventRequests - 1;
        // One firmware slot, read-only.
        data[260] = 3;
        Put16(data, 266, 343);
        Put16(data, 268, 353);
        data[512] = 0x66;
        data[513] = 0x44;
        Put32(data, 516, (uint)namespaces);
        // Dataset management and write zeroes.
        Put16(data, 520, 0x0C);
        // A write cache that loses its content with the power.
        data[525] = 1;
        // Scatter-gather lists, of any alignment, that may name more than is transferred.
        Put32(data, 536, 1 | (1 << 18));
        string name = $"nqn.2014-08.org.nvmexpress:doppel:{serial}";
        Encoding.ASCII.GetBytes(name.AsSpan(0, Math.Min(name.Length, 223)), data.AsSpan(768));
        return data;
    }

    internal static byte[] Namespace(NvmeNamespace disk)
    {
        byte[] data = new byte[Length];
        ulong blocks = disk.Backend.Length / IBlockBackend.SectorSize;
        BinaryPrimitives.WriteUInt64LittleEndian(data, blocks);
        BinaryPrimitives.WriteUInt64LittleEndian(data.AsSpan(8), blocks);
        BinaryPrimitives.WriteUInt64LittleEndian(data.AsSpan(16), blocks);
        // The preferred granularities below are meant.
        data[24] = 0x10;
        // Write zeroes may free.
        data[33] = 0x08;
        int write = disk.Backend.PreferredBlockSize / IBlockBackend.SectorSize;
        int discard = Math.Max(disk.Backend.DiscardGranularity / IBlockBackend.SectorSize, 1);
        Put16(data, 64, (ushort)(write - 1));
        Put16(data, 66, (ushort)(write - 1));
        Put16(data, 68, (ushort)(discard - 1));
        Put16(data, 70, (ushort)(discard - 1));
        data[99] = disk.Backend.IsReadOnly ? (byte)1 : (byte)0;
        // One format: blocks of 2^9 bytes without metadata.
        data[130] = 9;
        return data;
    }

    internal static byte[] Descriptors(NvmeNamespace disk)
    {
        byte[] data = new byte[Length];
        data[0] = 3;
        data[1] = 16;
        _ = disk.Identifier.TryWriteBytes(data.AsSpan(4), bigEndian: true, out _);
        return data;
    }

    /// <summary>Health: warm and as good as new.</summary>
    internal static byte[] Health()
    {
        byte[] data = new byte[512];
        Put16(data, 1, 313);
        data[3] = 100;
        data[4] = 10;
        return data;
    }

    internal static byte[] Firmware()
    {
        byte[] data = new byte[512];
        data[0] = 1;
        PutText(data, 8, 8, "1");
        return data;
    }

    private static void Put16(byte[] data, int at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(at), value);

    private static void Put32(byte[] data, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(at), value);

    private static void PutText(byte[] data, int at, int length, string text)
    {
        data.AsSpan(at, length).Fill((byte)' ');
        byte[] ascii = Encoding.ASCII.GetBytes(text);
        ascii.AsSpan(0, Math.Min(ascii.Length, length)).CopyTo(data.AsSpan(at));
    }
}
