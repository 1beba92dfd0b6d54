using System.Buffers.Binary;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>The common configuration structure of the PCI transport (virtio 1.2, 4.1.4.3).</summary>
internal sealed class VirtioPciCommonConfig
{
    /// <summary>Bytes of the structure.</summary>
    internal const int Length = 60;

    private const ushort NoVector = 0xFFFF;

    // Offset and size of each field.
    private static readonly (int Offset, int Size)[] Fields =
    [
        (0, 4), (4, 4), (8, 4), (12, 4), (16, 2), (18, 2), (20, 1), (21, 1), (22, 2), (24, 2), (26, 2), (28, 2), (30, 2),
        (32, 8), (40, 8), (48, 8), (56, 2), (58, 2),
    ];

    private readonly VirtioDevice _device;
    private readonly int _vectors;
    private uint _deviceFeatureSelect;
    private uint _driverFeatureSelect;
    private ushort _queueSelect;

    internal VirtioPciCommonConfig(VirtioDevice device, int vectors)
    {
        _device = device;
        _vectors = vectors;
        QueueVectors = new ushort[device.Queues.Count];
        Reset();
    }

    /// <summary>MSI-X message for changes of the configuration.</summary>
    internal ushort ConfigVector { get; private set; }

    /// <summary>MSI-X message of each queue.</summary>
    internal ushort[] QueueVectors { get; }

    private VirtioQueue? Queue => _queueSelect < _device.Queues.Count ? _device.Queues[_queueSelect] : null;

    internal void Reset()
    {
        _deviceFeatureSelect = 0;
        _driverFeatureSelect = 0;
        _queueSelect = 0;
        ConfigVector = NoVector;
        Array.Fill(QueueVectors, NoVector);
    }

    internal ulong Read(int offset, int size)
    {
        Span<byte> image = stackalloc byte[Length + 16];
        image.Clear();
        foreach ((int at, int length) in Fields)
        {
            if (at < offset + size && offset < at + length)
                BinaryPrimitives.WriteUInt64LittleEndian(image[at..], Get(at));
        }

        if (offset >= Length)
            return 0;
        ulong value = BinaryPrimitives.ReadUInt64LittleEndian(image[offset..]);
        return size == 8 ? value : value & ((1UL << (8 * size)) - 1);
    }

    internal void Write(int offset, int size, ulong value)
    {
        foreach ((int at, int length) in Fields)
        {
            int first = Math.Max(at, offset), end = Math.Min(at + length, offset + size);
            if (first >= end)
                continue;
            // The bytes of the field that the access covers; the others keep their value.
            ulong mask = (end - first == 8 ? ulong.MaxValue : (1UL << (8 * (end - first))) - 1) << (8 * (first - at));
            ulong part = value >> (8 * (first - offset)) << (8 * (first - at));
            Set(at, (Get(at) & ~mask) | (part & mask));
        }
    }

    internal void Save(StateWriter writer)
    {
        writer.Write(_deviceFeatureSelect);
        writer.Write(_driverFeatureSelect);
        writer.Write(_queueSelect);
        writer.Write(ConfigVector);
        foreach (ushort vector in QueueVectors)
            writer.Write(vector);
    }

    internal Action ReadState(StateReader reader, string section)
    {
        uint deviceFeatureSelect = reader.ReadUInt32(), driverFeatureSelect = reader.ReadUInt32();
        ushort queueSelect = reader.ReadUInt16();
        ushort configVector = ReadVector(reader, section);
        ushort[] queueVectors = [.. QueueVectors.Select(_ => ReadVector(reader, section))];
        return () =>
        {
            _deviceFeatureSelect = deviceFeatureSelect;
            _driverFeatureSelect = driverFeatureSelect;
            _queueSelect = queueSelect;
            ConfigVector = configVector;
            queueVectors.CopyTo(QueueVectors, 0);
        };
    }

    private ushort ReadVector(StateReader reader, string section)
    {
        ushort vector = reader.ReadUInt16();
        return vector == NoVector ? vector : (ushort)StateCheck.Range(section, "MSI-X vector", vector, 0, _vectors - 1);
    }

    private ulong Get(int field) => field switch
    {
        0 => _deviceFeatureSelect,
        4 => _device.ReadFeatures(_deviceFeatureSelect),
        8 => _driverFeatureSelect,
        12 => _device.ReadDriverFeatures(_driverFeatureSelect),
        16 => ConfigVector,
        18 => (ulong)_device.Queues.Count,
        20 => (ulong)_device.Status,
        21 => _device.ConfigGeneration,
        22 => _queueSelect,
        24 => Queue?.Size ?? 0u,
        26 => Queue is null ? NoVector : QueueVectors[_queueSelect],
        28 => Queue is { IsEnabled: true } ? 1u : 0u,
        30 => Queue is null ? 0u : _queueSelect,
        32 => Queue?.Descriptors ?? 0,
        40 => Queue?.Driver ?? 0,
        48 => Queue?.Device ?? 0,
        58 => Queue is { IsResetting: true } ? 1u : 0u,
        _ => 0,
    };

    private void Set(int field, ulong value)
    {
        switch (field)
        {
            case 0:
                _deviceFeatureSelect = (uint)value;
                break;
            case 8:
                _driverFeatureSelect = (uint)value;
                break;
            case 12:
                _device.WriteFeatures(_driverFeatureSelect, (uint)value);
                break;
            case 16:
                ConfigVector = Existing(value);
                break;
            case 20:
                _device.WriteStatus((byte)value);
                if (value == 0)
                    Reset();
                break;
            case 22:
                _queueSelect = (ushort)value;
                break;
            case 24:
                _device.ConfigureQueue(_queueSelect, q => q.Size = value <= q.MaximumSize ? (ushort)value : q.Size);
                break;
            case 26:
                if (Queue is not null)
                    QueueVectors[_queueSelect] = Existing(value);
                break;
            case 28:
                // A queue is disabled by a reset only (4.1.4.3.2).
                if (value == 1)
                    _device.EnableQueue(_queueSelect);
                break;
            case 32:
                _device.ConfigureQueue(_queueSelect, q => q.Descriptors = value);
                break;
            case 40:
                _device.ConfigureQueue(_queueSelect, q => q.Driver = value);
                break;
            case 48:
                _device.ConfigureQueue(_queueSelect, q => q.Device = value);
                break;
            case 58:
                if (value == 1)
                    _device.ResetQueue(_queueSelect);
                break;
            default:
                break;
        }
    }

    // A message that doesn't exist reads back as none: that is how a driver learns of it (4.1.5.1.2).
    private ushort Existing(ulong vector) => vector < (ulong)_vectors ? (ushort)vector : NoVector;
}
