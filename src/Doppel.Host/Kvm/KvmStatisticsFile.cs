using System.Text;

namespace Doppel.Host.Kvm;

/// <summary>Counts that the kernel keeps of a VM, by their names (Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD). Any thread.</summary>
public sealed unsafe class KvmStatisticsFile : IDisposable
{
    private const int MostNames = 1024, LongestName = 256;
    private readonly KvmHandle _handle;
    private readonly Dictionary<string, uint> _places = [];

    internal KvmStatisticsFile(KvmHandle handle)
    {
        _handle = handle;
        try
        {
            KvmStatisticsHeader header;
            Read(&header, sizeof(KvmStatisticsHeader), 0);
            if (header.NameSize > LongestName || header.Count > MostNames)
                throw new HostException("read", 0, $"of KVM's statistics: {header.Count} names of {header.NameSize} bytes are more than there can be");
            int size = sizeof(KvmStatisticsDescriptor) + (int)header.NameSize;
            byte* descriptor = stackalloc byte[size];
            for (uint i = 0; i < header.Count; i++)
            {
                Read(descriptor, size, header.DescriptorOffset + (i * (uint)size));
                var name = new ReadOnlySpan<byte>(descriptor + sizeof(KvmStatisticsDescriptor), (int)header.NameSize);
                int end = name.IndexOf((byte)0);
                _places[Encoding.ASCII.GetString(end < 0 ? name : name[..end])] = header.DataOffset + ((KvmStatisticsDescriptor*)descriptor)->Offset;
            }
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>The names that there are.</summary>
    public IReadOnlyCollection<string> Names => _places.Keys;

    /// <summary>The present value of a count, the first one of several; 0 for a name that there isn't.</summary>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public ulong Read(string name)
    {
        ulong value = 0;
        if (_places.TryGetValue(name, out uint place))
            Read(&value, sizeof(ulong), place);
        return value;
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private void Read(void* destination, int length, long offset)
    {
        ObjectDisposedException.ThrowIf(_handle.IsClosed, this);
        if (HostError.Check(KvmCalls.ReadAt(_handle.Descriptor, destination, (nuint)length, offset), "read", "of KVM's statistics") != length)
            throw new HostException("read", 0, "of KVM's statistics ended early");
    }
}
