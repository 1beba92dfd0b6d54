namespace Doppel.Engines.Translator;

/// <summary>General registers of the host, by their number in an instruction's encoding.</summary>
internal enum HostRegister
{
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}
