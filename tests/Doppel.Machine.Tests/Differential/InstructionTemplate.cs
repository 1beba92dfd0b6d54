namespace Doppel.Machine.Tests.Differential;

/// <summary>
/// An encoding in the notation of the manuals, from which random encodings are made: opcode bytes, "/r" or "/digit" for a
/// ModRM byte, "+r" for a register in the opcode, "ib", "iw", "iz" (2 or 4 bytes), "iv" (up to 8) for an immediate. The
/// word "lock" allows the prefix on memory forms, "mem" and "reg" restrict the form, "no66" and "norex" the prefixes,
/// "addr32" allows the address-size prefix, "w" forces REX.W.
/// </summary>
internal sealed class InstructionTemplate
{
    private readonly List<byte> _prefixes = [];
    private readonly List<byte> _opcode = [];
    private int _extension = -1;
    private bool _hasModRm;
    private bool _hasOpcodeRegister;
    private string _immediate = "";
    private readonly HashSet<string> _options = [];

    internal InstructionTemplate(string text)
    {
        Text = text;
        foreach (string token in text.Split(' '))
        {
            switch (token)
            {
                case "/r":
                    _hasModRm = true;
                    break;
                case ['/', char digit]:
                    _hasModRm = true;
                    _extension = digit - '0';
                    break;
                case "+r":
                    _hasOpcodeRegister = true;
                    break;
                case "ib" or "iw" or "iz" or "iv":
                    _immediate = token;
                    break;
                case "lock" or "mem" or "reg" or "no66" or "norex" or "addr32" or "w":
                    _options.Add(token);
                    break;
                default:
                    byte value = Convert.ToByte(token, 16);
                    if (_opcode.Count == 0 && value is 0xF2 or 0xF3)
                        _prefixes.Add(value);
                    else
                        _opcode.Add(value);
                    break;
            }
        }
    }

    internal string Text { get; }

    /// <summary>A random encoding.</summary>
    internal byte[] Encode(Random random)
    {
        var code = new List<byte>(15);
        int mod = _options.Contains("mem") ? random.Next(3) : _options.Contains("reg") ? 3 : random.Next(2) == 0 ? 3 : random.Next(3);
        bool isMemory = _hasModRm && mod != 3;
        if (_options.Contains("lock") && isMemory && random.Next(4) == 0)
            code.Add(0xF0);
        bool is16 = !_options.Contains("no66") && random.Next(4) == 0;
        if (is16)
            code.Add(0x66);
        if (_options.Contains("addr32") && random.Next(4) == 0)
            code.Add(0x67);
        code.AddRange(_prefixes);
        int rex = _options.Contains("norex") || random.Next(3) == 0 ? 0 : 0x40 | random.Next(16);
        if (_options.Contains("w"))
            rex |= 0x48;
        bool isWide = (rex & 8) != 0;
        if (rex != 0)
            code.Add((byte)rex);
        code.AddRange(_opcode);
        if (_hasOpcodeRegister)
            code[^1] |= (byte)random.Next(8);
        if (_hasModRm)
            AddModRm(code, random, mod);
        int size = _immediate switch { "ib" => 1, "iw" => 2, "iz" => is16 && !isWide ? 2 : 4, "iv" => isWide ? 8 : is16 ? 2 : 4, _ => 0 };
        for (int i = 0; i < size; i++)
            code.Add((byte)(random.Next(4) == 0 ? random.Next(2) * 0xFF : random.Next(256)));
        return [.. code];
    }

    private void AddModRm(List<byte> code, Random random, int mod)
    {
        int reg = _extension >= 0 ? _extension : random.Next(8);
        int rm = random.Next(8);
        code.Add((byte)((mod << 6) | (reg << 3) | rm));
        if (mod == 3)
            return;
        int @base = rm;
        if (rm == 4)
        {
            byte sib = (byte)random.Next(256);
            code.Add(sib);
            @base = sib & 7;
        }

        int displacement = mod switch { 1 => 1, 2 => 4, _ => @base == 5 ? 4 : 0 };
        for (int i = 0; i < displacement; i++)
            code.Add((byte)random.Next(256));
    }
}
