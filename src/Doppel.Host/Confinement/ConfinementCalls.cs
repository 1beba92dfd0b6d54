using System.Runtime.InteropServices;

namespace Doppel.Host.Confinement;

/// <summary>System calls that take rights away: prctl(2), seccomp(2), landlock(7). glibc has no wrappers for the last two.</summary>
internal static unsafe partial class ConfinementCalls
{
    internal const int SetNoNewPrivileges = 38;
    internal const nint Seccomp = 317, LandlockCreateRuleset = 444, LandlockAddRule = 445, LandlockRestrictSelf = 446;
    internal const uint SetModeFilter = 1, FilterAllThreads = 1, CreateRulesetVersion = 1, RulePathBeneath = 1;
    internal const int OpenPath = 0x200000, CloseOnExec = 0x80000;

    [LibraryImport("libc", EntryPoint = "prctl", SetLastError = true)]
    internal static partial int Control(int option, nuint argument2, nuint argument3, nuint argument4, nuint argument5);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    internal static partial nint SystemCall(nint number, nint argument1, void* argument2, nint argument3, nint argument4);
}

/// <summary>struct sock_filter: an instruction of a classic BPF program.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FilterInstruction
{
    internal ushort Code;
    internal byte JumpIfTrue;
    internal byte JumpIfFalse;
    internal uint Operand;
}

/// <summary>struct sock_fprog: a program.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct FilterProgram
{
    internal ushort Length;
    internal FilterInstruction* Instructions;
}

/// <summary>struct landlock_ruleset_attr, as of ABI 6.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct LandlockRuleset
{
    internal ulong FileAccess;
    internal ulong NetworkAccess;
    internal ulong Scoped;
}

/// <summary>struct landlock_path_beneath_attr.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct LandlockPathBeneath
{
    internal ulong AllowedAccess;
    internal int Parent;
}
