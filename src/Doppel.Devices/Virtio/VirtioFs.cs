using System.Buffers.Binary;
using System.Text;
using Doppel.Devices.SharedFolders;
using Doppel.Devices.Storage.Images;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// File system device (virtio 1.2, 5.11): a folder of the host, which the guest mounts by a tag. The queues carry FUSE
/// requests; they are worked on by threads of the device's own, and complete in any order. There is no shared memory window.
/// </summary>
public sealed class VirtioFs : VirtioDevice
{
    /// <summary>Device type.</summary>
    public const ushort DeviceType = 26;

    /// <summary>PCI class: mass storage controller, other.</summary>
    public const uint PciClass = 0x018000;

    /// <summary>Most bytes of a tag.</summary>
    public const int LongestTag = 36;

    private const ushort QueueSize = 1024;
    private const int MostThreads = 8;
    private readonly byte[] _tag;
    private readonly IFuseServer _server;
    private readonly IoThreads _threads;
    private readonly List<(int Queue, ushort Id, uint Written)> _done = [];

    /// <summary>Creates the device.</summary>
    /// <param name="name">Name of its saved section, for example "virtio-fs0".</param>
    /// <param name="tag">What the guest mounts: 1 to <see cref="LongestTag"/> bytes of UTF-8.</param>
    /// <param name="server">Serves the folder; it is disposed with the device.</param>
    /// <param name="platform">What it is given of the machine.</param>
    public VirtioFs(string name, string tag, IFuseServer server, DevicePlatform platform)
        : base(name, DeviceType, 0, [QueueSize, QueueSize], platform)
    {
        _tag = Encoding.UTF8.GetBytes(tag);
        if (_tag.Length is 0 or > LongestTag)
            throw new ArgumentOutOfRangeException(nameof(tag), tag, $"a tag has 1 to {LongestTag} bytes");
        _server = server;
        _threads = new IoThreads($"doppel-{name}", MostThreads);
    }

    /// <inheritdoc/>
    public override int ConfigLength => LongestTag + 4;

    /// <inheritdoc/>
    public override void ReadConfig(Span<byte> config)
    {
        _tag.CopyTo(config);
        // Request queues, besides the one for what must not wait behind them.
        BinaryPrimitives.WriteUInt32LittleEndian(config[LongestTag..], (uint)Queues.Count - 1);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool isDisposing)
    {
        base.Dispose(isDisposing);
        _threads.StopAsync().GetAwaiter().GetResult();
        _server.Dispose();
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        _done.Clear();
        _server.Reset();
    }

    /// <inheritdoc/>
    protected override void OnQueueReset(int queue) => _done.RemoveAll(done => done.Queue == queue);

    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        _server.Save(writer);
        // What has been done while the device was held must not be done twice: a file can't be made or removed again.
        (int Queue, ushort Id, uint Written)[] done = [.. Kept, .. _done];
        writer.Write(done.Length);
        foreach ((int queue, ushort id, uint written) in done)
        {
            writer.Write((byte)queue);
            writer.Write(id);
            writer.Write(written);
        }
    }

    /// <inheritdoc/>
    protected override Action ReadDevice(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        Action adopt = _server.Read(reader, Name);
        var done = new List<(int, ushort, uint)>();
        for (int count = (int)StateCheck.Range(Name, "number of requests done", reader.ReadInt32(), 0, 2 * QueueSize); count > 0; count--)
            done.Add((reader.ReadByte(), reader.ReadUInt16(), reader.ReadUInt32()));
        return () =>
        {
            adopt();
            _done.Clear();
            _done.AddRange(done);
        };
    }

    /// <inheritdoc/>
    protected override void Handle(VirtioQueue queue, VirtioChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        ArgumentNullException.ThrowIfNull(chain);
        int index = _done.FindIndex(done => done.Queue == queue.Index && done.Id == chain.Id);
        if (index >= 0)
        {
            uint written = _done[index].Written;
            _done.RemoveAt(index);
            Complete(chain, Math.Min(written, chain.WritableLength));
        }
        else if (chain.ReadableLength < FuseRequest.HeaderLength)
        {
            Break($"queue {queue.Index}: a request has {chain.ReadableLength} bytes to read; {FuseRequest.HeaderLength} are the least");
            Complete(chain, 0);
        }
        else if (Platform.IsDeterministic)
        {
            Complete(chain, Serve(chain));
        }
        else
        {
            _ = RunAsync(chain);
        }
    }

    // Not cancelled by a reset: every chain that was taken must come back.
    private async Task RunAsync(VirtioChain chain) =>
        await _threads.Run(() => Finish(chain, Serve(chain)), null, CancellationToken.None).ConfigureAwait(false);

    private void Finish(VirtioChain chain, uint written)
    {
        lock (Platform.IoLock)
            Complete(chain, written);
    }

    private uint Serve(VirtioChain chain)
    {
        try
        {
            return _server.Handle(chain);
        }
        catch (Exception e)
        {
            Platform.Failed(new InvalidOperationException($"{Name}: a request failed: {e.Message}", e));
            return 0;
        }
    }
}
