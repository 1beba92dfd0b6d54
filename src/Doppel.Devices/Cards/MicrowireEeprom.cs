using Doppel.Machine.State;

namespace Doppel.Devices.Cards;

/// <summary>
/// A 93C46 of 64 words behind Microwire's four wires (National Semiconductor data sheet): a command of nine bits, then, when it
/// is to read, the words from the one that it names on. Writing isn't supported.
/// </summary>
internal sealed class MicrowireEeprom
{
    /// <summary>Number of words.</summary>
    internal const int WordCount = 64;

    private const int CommandBits = 9;
    private readonly ushort[] _words = new ushort[WordCount];
    private bool _wasSelected;
    private bool _wasHigh;
    private uint _shifted;
    private int _bits;
    private bool _reads;
    private int _out;

    /// <summary>A word.</summary>
    internal ushort this[int word]
    {
        get => _words[word % WordCount];
        set => _words[word % WordCount] = value;
    }

    /// <summary>All words.</summary>
    internal Span<ushort> Words => _words;

    /// <summary>Its data output.</summary>
    internal bool Output => !_reads || ((_words[(_out >> 4) & (WordCount - 1)] >> (15 - (_out & 15))) & 1) != 0;

    /// <summary>Drives its inputs.</summary>
    internal void Drive(bool isSelected, bool clock, bool data)
    {
        bool began = isSelected && !_wasSelected, rises = clock && !_wasHigh, falls = !clock && _wasHigh;
        (_wasSelected, _wasHigh) = (isSelected, clock);
        if (!isSelected)
            return;
        if (began)
            (_shifted, _bits, _reads, _out) = (0, 0, false, 0);
        if (falls)
        {
            // A bit goes out with each falling edge.
            if (_reads)
                _out = (_out + 1) & ((WordCount * 16) - 1);
        }
        else if (rises && _bits < CommandBits)
        {
            _shifted = (_shifted << 1) | (data ? 1u : 0);
            // Zeros before the start bit don't count.
            if (_shifted != 0 && ++_bits == CommandBits && _shifted >> 6 == 6)
                (_reads, _out) = (true, (((int)(_shifted & (WordCount - 1)) << 4) - 1) & ((WordCount * 16) - 1));
        }
    }

    internal void Save(StateWriter writer)
    {
        writer.Write(_shifted);
        writer.Write(_bits);
        writer.Write(_reads);
        writer.Write(_out);
    }

    /// <summary>Reads what was saved.</summary>
    /// <param name="reader">Where from.</param>
    /// <param name="section">The card's section, for errors.</param>
    /// <returns>Takes it over, with the wires as they are then.</returns>
    internal Action<bool, bool> ReadState(StateReader reader, string section)
    {
        uint shifted = reader.ReadUInt32();
        int bits = (int)StateCheck.Range(section, "bits", reader.ReadInt32(), 0, CommandBits);
        bool reads = reader.ReadBool();
        int place = (int)StateCheck.Range(section, "place", reader.ReadInt32(), 0, (WordCount * 16) - 1);
        return (isSelected, clock) => (_shifted, _bits, _reads, _out, _wasSelected, _wasHigh) = (shifted, bits, reads, place, isSelected, clock);
    }
}
