namespace Doppel.Engines.Kvm;

/// <summary>What an exit from the guest was for, as statistics name it.</summary>
internal enum KvmExitKind
{
    Port,
    Memory,
    Halt,
    EndOfInterrupt,
    Window,
    Msr,
    TaskPriority,
    Kick,
    Interpreted,
    Debug,
    Shutdown,
    Other,
}
