using System.Buffers.Binary;
using Doppel.Devices.Ata;
using Doppel.Devices.Storage;

namespace Doppel.Devices.Ahci;

/// <content>Queued commands (ATA8-ACS, 4.16): the medium does them side by side, without a copy.</content>
internal sealed partial class AhciPort
{
    private readonly List<Queued> _busy = [];
    private readonly List<Queued> _again = [];
    private TaskCompletionSource? _idle;
    private bool _isEnding;
    private bool _reconnects;

    /// <summary>As <see cref="IBackgroundDevice.HoldAsync"/>.</summary>
    internal Task HoldAsync()
    {
        Task queued = Task.CompletedTask;
        lock (_ioLock)
        {
            _isHeld = true;
            if (_busy.Count != 0)
            {
                _idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                queued = _idle.Task;
            }
        }

        return Task.WhenAll(queued, _drive?.HoldAsync() ?? Task.CompletedTask);
    }

    /// <summary>As <see cref="IBackgroundDevice.Release"/>.</summary>
    internal void Release()
    {
        lock (_ioLock)
        {
            _isHeld = false;
            _drive?.Release();
            if (!_isEnding)
            {
                Queued[] again = [.. _again];
                _again.Clear();
                foreach (Queued each in again)
                    Do(each);
            }

            Continue();
        }
    }

    /// <summary>Nobody waits for what was begun; what uses guest memory ends first.</summary>
    internal void Abandon()
    {
        _again.Clear();
        _isPumping = true;
        _drive?.BeginReset();
        _isPumping = false;
        _current = null;
    }

    /// <summary>Stops the list; when nothing uses guest memory any more, it is empty.</summary>
    private void Stop(bool reconnects)
    {
        _reconnects |= reconnects;
        _again.Clear();
        if (_current is not null || reconnects)
        {
            // The drive forgets the command, too.
            _isPumping = true;
            _drive?.BeginReset();
            _drive?.SoftReset();
            _isPumping = false;
            _current = null;
        }

        _isEnding = true;
        if (_busy.Count == 0)
            EndStop();
    }

    private void EndStop()
    {
        _isEnding = false;
        if (_reconnects)
        {
            Connect();
        }
        else
        {
            (_active, _issued, _taken, _isStopped) = (0, 0, 0, false);
        }

        Continue();
    }

    private void BeginQueued(AhciCommand command, AtaDisk disk)
    {
        byte[] frame = command.Frame;
        uint bit = 1u << command.Slot;
        int tag = frame[12] >> 3, count = (frame[11] << 8) | frame[3];
        if (count == 0)
            count = 65536;
        ulong lba = frame[4] | ((ulong)frame[5] << 8) | ((ulong)frame[6] << 16) | ((ulong)frame[8] << 24) | ((ulong)frame[9] << 32) | ((ulong)frame[10] << 40);
        bool writes = frame[2] == WriteQueued;
        var queued = new Queued(command, tag, lba, count, writes, (frame[7] & 0x80) != 0);
        // The drive has taken it: the driver may issue others, and hears of its end by the active bits.
        _issued &= ~bit;
        if (lba >= disk.Sectors || (ulong)count > disk.Sectors - lba)
        {
            FailQueued(queued, AtaDevice.NotFound);
            return;
        }

        if (writes && disk.Medium.IsReadOnly)
        {
            FailQueued(queued, AtaDevice.Aborted);
            return;
        }

        if (command.GetRegions((uint)count * IBlockBackend.SectorSize) is not List<(ulong, uint)> regions)
        {
            FailQueued(queued, AtaDevice.Aborted);
            return;
        }

        queued.Regions = regions;
        Do(queued);
    }

    private void Do(Queued queued)
    {
        _busy.Add(queued);
        ValueTask<(bool Succeeded, StorageFullException? Full)> outcome = TryAsync(queued, (AtaDisk)_drive!);
        if (outcome.IsCompleted || _platform.IsDeterministic)
            Finish(queued, outcome.AsTask().GetAwaiter().GetResult());
        else
            _ = FinishAsync(queued, outcome);
    }

    private async Task FinishAsync(Queued queued, ValueTask<(bool, StorageFullException?)> outcome)
    {
        (bool, StorageFullException?) result = await outcome.ConfigureAwait(false);
        lock (_ioLock)
        {
            try
            {
                Finish(queued, result);
            }
            catch (Exception e)
            {
                _platform.Failed(new InvalidOperationException($"{Name}: the end of a queued command failed: {e.Message}", e));
            }
        }
    }

    /// <summary>Does what a command asks for; needs no lock.</summary>
    private async ValueTask<(bool Succeeded, StorageFullException? Full)> TryAsync(Queued queued, AtaDisk drive)
    {
        IBlockBackend disk = drive.Medium;
        ulong offset = queued.Lba * IBlockBackend.SectorSize;
        var views = new List<Memory<byte>>();
        foreach ((ulong address, uint length) in queued.Regions)
            _ = _memory.TryGetViews(address, length, views);
        try
        {
            if (queued.Writes)
            {
                await disk.WriteAsync(offset, views.ConvertAll(view => (ReadOnlyMemory<byte>)view)).ConfigureAwait(false);
                if (queued.IsForced || !drive.HasWriteCache)
                    await disk.FlushAsync().ConfigureAwait(false);
                return (true, null);
            }

            try
            {
                await disk.ReadAsync(offset, views).ConfigureAwait(false);
            }
            finally
            {
                foreach ((ulong address, uint length) in queued.Regions)
                    _memory.NoteWrite(address, (int)length);
            }

            return (true, null);
        }
        catch (StorageFullException e) when (_full is not null)
        {
            return (false, e);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // The guest learns of it by the error register.
        }
        catch (Exception e)
        {
            _platform.Failed(new InvalidOperationException($"{Name}: a queued command at sector {queued.Lba} failed: {e.Message}", e));
        }

        return (false, null);
    }

    private void Finish(Queued queued, (bool Succeeded, StorageFullException? Full) outcome)
    {
        _ = _busy.Remove(queued);
        if (!_isEnding && _current is null && outcome.Full is StorageFullException full)
        {
            _again.Add(queued);
            // The pause takes locks that come before the I/O lock.
            _ = Task.Run(() => _full!(full));
        }
        else if (!_isEnding && !outcome.Succeeded)
        {
            FailQueued(queued, queued.Writes ? AtaDevice.Aborted : AtaDevice.Uncorrectable);
        }
        else if (!_isEnding)
        {
            CompleteQueued(queued);
        }

        if (_busy.Count != 0)
            return;
        if (_isEnding)
            EndStop();
        _idle?.SetResult();
        _idle = null;
        _changed(false);
    }

    private void CompleteQueued(Queued queued)
    {
        uint bit = 1u << queued.Tag;
        _active &= ~bit;
        queued.Command.StoreCount();
        SendDeviceBits(bit, AtaDevice.Ready, 0);
        Interrupt(DeviceBits);
    }

    /// <summary>Ends the queue with an error: its log says which command it was.</summary>
    private void FailQueued(Queued queued, byte error)
    {
        var disk = (AtaDisk)_drive!;
        byte[] log = new byte[IBlockBackend.SectorSize];
        (log[0], log[2], log[3]) = ((byte)queued.Tag, AtaDevice.Ready | AtaDevice.ErrorBit, error);
        (log[4], log[5], log[6], log[8], log[9], log[10]) =
            ((byte)queued.Lba, (byte)(queued.Lba >> 8), (byte)(queued.Lba >> 16), (byte)(queued.Lba >> 24), (byte)(queued.Lba >> 32), (byte)(queued.Lba >> 40));
        disk.QueuedErrorLog = log;
        StopQueue(error);
    }

    /// <summary>A command came that may not come among queued ones.</summary>
    private void FailQueue(AhciCommand command)
    {
        byte[] log = new byte[IBlockBackend.SectorSize];
        (log[0], log[2], log[3]) = (0x80, AtaDevice.Ready | AtaDevice.ErrorBit, AtaDevice.Aborted);
        ((AtaDisk)_drive!).QueuedErrorLog = log;
        _taken &= ~(1u << command.Slot);
        StopQueue(AtaDevice.Aborted);
    }

    private void StopQueue(byte error)
    {
        _isStopped = true;
        _taskFile = AtaDevice.Ready | AtaDevice.ErrorBit | ((uint)error << 8);
        SendDeviceBits(0, AtaDevice.Ready | AtaDevice.ErrorBit, error);
        Interrupt(DeviceBits | TaskFileError);
    }

    private void SendDeviceBits(uint ended, byte status, byte error)
    {
        Span<byte> frame = stackalloc byte[8];
        // Of the status only the bits that are neither BSY nor DRQ.
        (frame[0], frame[1], frame[2], frame[3]) = (DeviceBitsFrame, InterruptBit, (byte)(status & 0x77), error);
        BinaryPrimitives.WriteUInt32LittleEndian(frame[4..], ended);
        Send(DeviceBitsAt, frame);
    }

    /// <summary>A queued command.</summary>
    private sealed class Queued(AhciCommand command, int tag, ulong lba, int count, bool writes, bool isForced)
    {
        internal AhciCommand Command => command;

        internal int Tag => tag;

        internal ulong Lba => lba;

        internal int Count => count;

        internal bool Writes => writes;

        internal bool IsForced => isForced;

        internal List<(ulong Address, uint Length)> Regions { get; set; } = [];
    }
}
