using Doppel.Devices.Storage;

namespace Doppel.Vmm;

/// <content>What happens when the host has no room for what a guest writes: the machine pauses until there is some.</content>
public sealed partial class VirtualMachine
{
    private static readonly TimeSpan RoomInterval = TimeSpan.FromSeconds(1);
    private const long RoomNeeded = 1 << 20;
    private bool _pausesForRoom;
    private bool _waitsForRoom;

    /// <summary>Bytes that an ordinary user may still write on the file system of a path.</summary>
    internal Func<string, long> AvailableRoom { get; set; } = path => new DriveInfo(path).AvailableFreeSpace;

    private async Task PauseForStorageAsync(StorageFullException full)
    {
        lock (_lock)
        {
            // Several requests may find at once that there is no room.
            if (_isPaused || _pausesForRoom)
                return;
            _pausesForRoom = true;
        }

        await PauseAsync().ConfigureAwait(false);
        lock (_lock)
        {
            _pausesForRoom = false;
            _waitsForRoom = _isPaused && full.Place is not null;
        }

        _connections.Paused?.Invoke(full.Message);
        if (full.Place is string place)
            await WaitForRoomAsync(place).ConfigureAwait(false);
    }

    /// <summary>Lets the machine go on when there is room again, unless somebody pauses or resumes it before.</summary>
    private async Task WaitForRoomAsync(string place)
    {
        try
        {
            long before = AvailableRoom(place);
            // No file system tells that it has room again.
            using var timer = new PeriodicTimer(RoomInterval);
            while (await timer.WaitForNextTickAsync().ConfigureAwait(false))
            {
                bool hasRoom = AvailableRoom(place) - before >= RoomNeeded;
                lock (_lock)
                {
                    if (!_waitsForRoom || _state != VmState.Paused)
                        return;
                }

                if (!hasRoom)
                    continue;
                Resume();
                _connections.Resumed?.Invoke();
                return;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Whoever makes room lets the machine go on.
        }
    }
}
