namespace Doppel.Devices;

/// <summary>A device whose back end works beside the vCPUs, so that it must be asked to stand still before a machine is paused, saved or moved.</summary>
public interface IBackgroundDevice
{
    /// <summary>
    /// Stops taking work and telling of work done. Completes when no back end works for the device any more; what was done
    /// by then is told after <see cref="Release"/>. Takes the I/O lock by itself.
    /// </summary>
    Task HoldAsync();

    /// <summary>Goes on after <see cref="HoldAsync"/> or after a restore, beginning with what was under way. Takes the I/O lock by itself.</summary>
    void Release();
}
