using Doppel.Vmm;

namespace Doppel.Cli;

/// <summary>
/// Exit codes of the command. Doppel's own are even: an odd code comes from the guest, through isa-debug-exit, or,
/// from 128 on, from a signal.
/// </summary>
internal static class ExitCode
{
    /// <summary>The guest powered off, the user left with Ctrl-A x, or the command did what it was asked.</summary>
    internal const int Success = 0;

    /// <summary>A word, option or value on the command line is wrong.</summary>
    internal const int Usage = 2;

    /// <summary>A file is missing, no kernel or disk image, damaged, truncated, in use, or too large for the memory.</summary>
    internal const int Input = 4;

    /// <summary>The host refuses something: memory, a device, a permission.</summary>
    internal const int Host = 6;

    /// <summary>A guest image can't be had: no network, or a wrong checksum.</summary>
    internal const int Image = 8;

    /// <summary>The guest's processor shut down after a triple fault.</summary>
    internal const int TripleFault = 10;

    /// <summary>The guest's kernel crashed.</summary>
    internal const int GuestCrash = 12;

    /// <summary>The guest reset the machine under --no-reboot.</summary>
    internal const int Reset = 14;

    /// <summary>doppel lockstep found a difference between its engines.</summary>
    internal const int Difference = 16;

    /// <summary>No machine of that name or process runs.</summary>
    internal const int NoMachine = 18;

    /// <summary>doppel disk check found errors.</summary>
    internal const int DiskDamage = 20;

    /// <summary>doppel disk check found no error, but space that nothing uses.</summary>
    internal const int DiskLeak = 22;

    /// <summary>doppel migrate: the machine was not moved, and is what and where it was.</summary>
    internal const int NotMigrated = 24;

    /// <summary>A fault of Doppel itself.</summary>
    internal const int Internal = 70;

    /// <summary>The exit code for the end of a machine.</summary>
    internal static int Of(VmExit exit) => exit.Kind switch
    {
        VmExitKind.DebugExit => exit.DebugStatus & 0xFF,
        VmExitKind.TripleFault => TripleFault,
        VmExitKind.GuestCrash => GuestCrash,
        VmExitKind.Reset => Reset,
        VmExitKind.InternalError => Internal,
        _ => Success,
    };

    /// <summary>Ended by a signal: this plus its number.</summary>
    internal const int Signal = 128;

    /// <summary>Standard output was closed (128 + SIGPIPE).</summary>
    internal const int BrokenPipe = Signal + 13;
}
