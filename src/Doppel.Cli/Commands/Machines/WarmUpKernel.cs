using Doppel.Vmm.Boot;

namespace Doppel.Cli.Commands.Machines;

/// <summary>
/// A Multiboot kernel (Multiboot Specification 0.6.96, 3.1) that enters long mode and executes code of many kinds at many addresses, each
/// often enough that the translator takes it; then it says <see cref="Done"/> on its serial port and halts. What a guest's code
/// takes when it is new, the runtime has compiled by then.
/// </summary>
internal static class WarmUpKernel
{
    /// <summary>What it says at its end.</summary>
    internal const char Done = '.';

    private const uint Base = MultibootImage.Base, Start = MultibootImage.CodeOffset, Tables = 0x140000, Data = 0x200000, Stack = 0x180000;
    private const int Blocks = 1200;
    private const byte Turns = 24;

    // In 64-bit mode; RDI points at memory, RCX counts the turns.
    private static readonly byte[][] Pieces =
    [
        [0x48, 0x89, 0xC8, 0x48, 0x01, 0xC3, 0x48, 0x31, 0xD8, 0x48, 0x83, 0xC0, 0x05, 0x48, 0x39, 0xD8, 0x0F, 0x94, 0xC2], // mov, add, xor, add, cmp, sete
        [0x48, 0x8B, 0x07, 0x48, 0x89, 0x47, 0x08, 0x8B, 0x57, 0x10, 0x0F, 0xB6, 0x07, 0x88, 0x47, 0x20], // loads and stores of 8, 4 and 1 bytes
        [0x50, 0x53, 0x5B, 0x58, 0xE8, 0, 0, 0, 0, 0x58, 0x48, 0x8D, 0x44, 0x8B, 0x10], // push, pop, call, lea
        [0x48, 0xC1, 0xE0, 0x03, 0x48, 0xD1, 0xE8, 0x48, 0x0F, 0xAF, 0xC3, 0x85, 0xC0, 0x74, 0x02, 0x90, 0x90, 0x48, 0x0F, 0x44, 0xC3], // shl, shr, imul, test, jz, cmovz
        [0xF0, 0x48, 0x0F, 0xC1, 0x07, 0x48, 0x0F, 0xB1, 0x1F, 0x48, 0x87, 0x47, 0x18], // lock xadd, cmpxchg, xchg
        [0xF3, 0x0F, 0x6F, 0x07, 0x66, 0x0F, 0xFE, 0xC0, 0xF3, 0x0F, 0x7F, 0x47, 0x10], // movdqu, paddd, movdqu
        [0x51, 0x57, 0xB9, 0x08, 0, 0, 0, 0xF3, 0xAB, 0x5F, 0x59], // rep stosd
        [0x9C, 0x9D, 0x0F, 0x31, 0x51, 0x0F, 0xA2, 0x59], // pushf, popf, rdtsc, cpuid
    ];

    /// <summary>Makes it.</summary>
    internal static byte[] Create()
    {
        var code = new List<byte>();
        Emit(code, 0xBC, Stack); // mov esp
        foreach ((uint address, uint entry) in ((uint, uint)[])[(Tables, Tables + 0x1003), (Tables + 0x1000, Tables + 0x2003), (Tables + 0x2000, 0x83), (Tables + 0x2008, Data | 0x83)])
        {
            code.AddRange([0xC7, 0x05]); // mov dword [address], entry
            Add(code, address);
            Add(code, entry);
        }

        Emit(code, 0xB8, Tables);
        code.AddRange([0x0F, 0x22, 0xD8]); // mov cr3, eax
        Emit(code, 0xB8, 0x220); // PAE, OSFXSR
        code.AddRange([0x0F, 0x22, 0xE0]); // mov cr4, eax
        Emit(code, 0xB9, 0xC0000080); // EFER
        code.AddRange([0x0F, 0x32, 0x0D, 0x00, 0x01, 0, 0, 0x0F, 0x30]); // rdmsr; or eax, LME; wrmsr
        code.AddRange([0x0F, 0x20, 0xC0, 0x0D, 0, 0, 0, 0x80, 0x0F, 0x22, 0xC0]); // mov eax, cr0; or eax, PG; mov cr0, eax
        uint here = Base + Start + (uint)code.Count, descriptors = here + 14, next = descriptors + 22;
        code.AddRange([0x0F, 0x01, 0x15]); // lgdt
        Add(code, descriptors + 16);
        code.Add(0xEA); // jmp 8:next
        Add(code, next);
        code.AddRange([0x08, 0x00]);
        code.AddRange([0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0x9A, 0xAF, 0]); // nothing; code of 64 bits
        code.AddRange([15, 0]);
        Add(code, descriptors);
        Emit(code, 0xBF, Data); // mov edi
        for (int i = 0; i < Blocks; i++)
        {
            byte[] body = [.. Pieces[i % Pieces.Length], .. Pieces[((i * 5) + (i / Pieces.Length)) % Pieces.Length], 0xFF, 0xC9]; // dec ecx
            Emit(code, 0xB9, Turns); // mov ecx
            code.AddRange(body);
            code.AddRange([0x75, (byte)-(body.Length + 2)]); // jnz
        }

        code.AddRange([0x66, 0xBA, 0xF8, 0x03, 0xB0, (byte)Done, 0xEE, 0xF4, 0xEB, 0xFD]); // mov dx, 3F8h; mov al; out; hlt; jmp to it
        return MultibootImage.Create(code.ToArray());
    }

    private static void Emit(List<byte> code, byte opcode, uint operand)
    {
        code.Add(opcode);
        Add(code, operand);
    }

    private static void Add(List<byte> code, uint value)
    {
        for (int i = 0; i < sizeof(uint); i++)
            code.Add((byte)(value >> (8 * i)));
    }
}
