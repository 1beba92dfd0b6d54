using Doppel.Machine.Memory;

namespace Doppel.Machine.Tests.Execution;

/// <summary>A page is protected for its code only as long as some cache holds code of it: writes to a protected page are slow.</summary>
public sealed unsafe class CodeProtectionTests
{
    private const ulong Page = ProgramGuest.Code;
    private const ulong Next = Page + GuestMemory.PageSize;

    [Fact]
    public void A_page_is_protected_while_its_code_is_held()
    {
        using var guest = new ProgramGuest();
        guest.Run(0x90);
        Assert.True(IsProtected(guest, Page));
        Write(guest, Page + 0x800);
        Assert.True(IsProtected(guest, Page));
        Write(guest, Page);
        Assert.False(IsProtected(guest, Page));
    }

    [Fact]
    public void A_write_frees_a_page_whose_only_instruction_goes_on_in_the_next()
    {
        using var guest = new ProgramGuest();
        // MOV EAX, imm32; HLT
        guest.Load(Next - 2, [0xB8, 1, 2, 3, 4, 0xF4]);
        guest.State->Rip = Next - 2;
        _ = guest.Continue();
        Write(guest, Page);
        Assert.False(IsProtected(guest, Page));
    }

    [Fact]
    public void Code_that_is_forgotten_is_not_protected_any_more()
    {
        using var guest = new ProgramGuest();
        guest.Run(0x90);
        guest.Forget();
        Assert.False(IsProtected(guest, Page));
    }

    private static bool IsProtected(ProgramGuest guest, ulong page) => (guest.Cpu.Physical.Memory.FlagsOf(page) & PageFlags.Code) != 0;

    private static void Write(ProgramGuest guest, ulong address) => guest.Load(address, [0x90]);
}
