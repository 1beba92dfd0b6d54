using System.Text;

namespace Doppel.Vmm.Tests.Firmware;

/// <summary>
/// Reads the part of ACPI machine language that the DSDT uses, checking that every length encloses its content exactly.
/// Collects each named object by its absolute path.
/// </summary>
internal sealed class AmlReader
{
    private readonly byte[] _code;
    private int _at;

    private AmlReader(byte[] code, int start)
    {
        _code = code;
        _at = start;
    }

    /// <summary>Values of names: ulong, string, byte[] or List&lt;object&gt;; devices, scopes and methods have their kind.</summary>
    internal Dictionary<string, object> Objects { get; } = [];

    internal static AmlReader Read(byte[] code, int start = 0)
    {
        var reader = new AmlReader(code, start);
        reader.Terms(code.Length, "");
        Assert.Equal(code.Length, reader._at);
        return reader;
    }

    private void Terms(int end, string scope)
    {
        while (_at < end)
            Term(scope);
        Assert.Equal(end, _at);
    }

    private void Term(string scope)
    {
        int opcode = _code[_at++];
        if (opcode == 0x5B)
            opcode = 0x5B00 | _code[_at++];
        switch (opcode)
        {
            case 0x08:
                string name = Path(scope);
                Objects.Add(name, Value(scope));
                break;
            case 0x10 or 0x5B82:
                int end = Length();
                string inner = Path(scope);
                if (opcode != 0x10)
                    Objects.Add(inner, "device");
                Terms(end, inner);
                break;
            case 0x14:
                int methodEnd = Length();
                string method = Path(scope);
                Objects.Add(method, $"method {_code[_at++]}");
                Terms(methodEnd, method);
                break;
            case 0xA0:
                int ifEnd = Length();
                _ = Value(scope);
                Terms(ifEnd, scope);
                break;
            case 0xA4:
                _ = Value(scope);
                break;
            case 0x86:
                _ = Path(scope);
                _ = Value(scope);
                break;
            case 0x70:
                _ = Value(scope);
                _ = Value(scope);
                break;
            default:
                Assert.Fail($"opcode 0x{opcode:x} at {_at - 1}");
                break;
        }
    }

    private object Value(string scope)
    {
        int opcode = _code[_at++];
        switch (opcode)
        {
            case 0 or 1:
                return (ulong)opcode;
            case 0x0A:
                return Integer(1);
            case 0x0B:
                return Integer(2);
            case 0x0C:
                return Integer(4);
            case 0x0E:
                return Integer(8);
            case 0x0D:
                int zero = Array.IndexOf(_code, (byte)0, _at);
                string text = Encoding.ASCII.GetString(_code, _at, zero - _at);
                _at = zero + 1;
                return text;
            case 0x11:
                int bufferEnd = Length();
                var size = (ulong)Value(scope);
                Assert.Equal((ulong)(bufferEnd - _at), size);
                byte[] content = _code[_at..bufferEnd];
                _at = bufferEnd;
                return content;
            case 0x12:
                int end = Length();
                int count = _code[_at++];
                var elements = new List<object>();
                for (int i = 0; i < count; i++)
                    elements.Add(Value(scope));
                Assert.Equal(end, _at);
                return elements;
            case 0x68:
                return "Arg0";
            default:
                _at--;
                return Path(scope);
        }
    }

    private ulong Integer(int size)
    {
        ulong value = 0;
        for (int i = 0; i < size; i++)
            value |= (ulong)_code[_at++] << (8 * i);
        return value;
    }

    private int Length()
    {
        int start = _at;
        int lead = _code[_at++], more = lead >> 6;
        int length = more == 0 ? lead & 0x3F : lead & 0xF;
        for (int i = 0; i < more; i++)
            length |= _code[_at++] << (4 + (8 * i));
        return start + length;
    }

    private string Path(string scope)
    {
        string prefix = scope.Length == 0 ? "\\" : scope + ".";
        if (_code[_at] == '\\')
        {
            prefix = "\\";
            _at++;
        }

        int count = _code[_at] switch { 0x2E => 2, 0x2F => _code[_at + 1], 0 => 0, _ => 1 };
        _at += _code[_at] switch { 0x2E or 0 => 1, 0x2F => 2, _ => 0 };
        var segments = new List<string>();
        for (int i = 0; i < count; i++, _at += 4)
        {
            string segment = Encoding.ASCII.GetString(_code, _at, 4);
            Assert.Matches("^[A-Z_][A-Z0-9_]{3}$", segment);
            segments.Add(segment);
        }

        return prefix + string.Join('.', segments);
    }
}
