using Doppel.Machine.State;

namespace Doppel.Devices;

/// <summary>
/// A device of the machine: registers on a bus, state to save, a reset. Everything but construction is called with
/// the machine's I/O lock held, unless a member says otherwise. So are the delegates that a device was given (reset,
/// power-off, A20): they note what is asked and return, and never wait for another thread.
/// </summary>
public interface IDevice : IStateful
{
    /// <summary>Port ranges that the device answers, at their usual addresses; empty for none.</summary>
    IReadOnlyList<IoRange> Ports => [];

    /// <summary>Guest-physical ranges that the device answers; empty for none.</summary>
    IReadOnlyList<IoRange> Memory => [];

    /// <summary>Puts the device into its state after power-on or a hard reset, its interrupt lines included.</summary>
    void Reset();
}
