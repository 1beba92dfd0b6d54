namespace Doppel.Engines.Translator;

/// <summary>
/// Where each guest register lives while translated code runs. Most live in the host register of the same number. The
/// host's RSP is the host's stack, and three registers belong to the translator. RCX, which the translator needs for JRCXZ
/// and compilers use a lot, lives in R15, RSP in R9; R9, R10, R11 and R15, which compilers use least, live in the vCPU's
/// state.
/// </summary>
internal static class RegisterMap
{
    /// <summary>Holds the effective address, then the host address of a memory operand.</summary>
    internal const HostRegister Address = HostRegister.R10;

    /// <summary>Holds a displaced register operand, or the second part of an address.</summary>
    internal const HostRegister Temporary = HostRegister.R11;

    /// <summary>Holds what JRCXZ tests, and the guest's CL for shifts.</summary>
    internal const HostRegister Check = HostRegister.Rcx;

    /// <summary>Where the guest's RSP lives.</summary>
    internal const HostRegister GuestStack = HostRegister.R9;

    /// <summary>Where the guest's RCX lives.</summary>
    internal const HostRegister GuestCounter = HostRegister.R15;

    /// <summary>True when a guest register lives in the vCPU's state.</summary>
    internal static bool IsDisplaced(int guest) => guest is 9 or 10 or 11 or 15;

    /// <summary>The host register of a guest register that is not displaced.</summary>
    internal static HostRegister Home(int guest) => guest switch
    {
        1 => GuestCounter,
        4 => GuestStack,
        _ => (HostRegister)guest,
    };
}
