namespace Doppel.Engines.Translator;

/// <summary>
/// Where each guest register lives while translated code runs. Most live in the host register of the same number. The
/// host's RSP is the host's stack, and three registers belong to the translator, so four guest registers move: RSP lives
/// in R9, and RCX, R9, R10 and R11 live in the vCPU's state. The latter three are the ones compilers use least.
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

    /// <summary>True when a guest register lives in the vCPU's state.</summary>
    internal static bool IsDisplaced(int guest) => guest is 1 or 9 or 10 or 11;

    /// <summary>The host register of a guest register that is not displaced.</summary>
    internal static HostRegister Home(int guest) => guest == 4 ? GuestStack : (HostRegister)guest;
}
