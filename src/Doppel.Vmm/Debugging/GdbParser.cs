using System.Text;

namespace Doppel.Vmm.Debugging;

/// <summary>
/// Takes a debugger's bytes apart, however they are cut. Whatever arrives, it goes on with the next packet: bytes
/// between packets are ignored, a packet that begins inside another replaces it.
/// </summary>
public sealed class GdbParser
{
    /// <summary>The longest payload, in bytes as sent.</summary>
    public const int MaximumPayload = 0x4000;

    private readonly StringBuilder _payload = new();
    private State _state;
    private int _length;
    private byte _sum;
    private int _high;
    private bool _isEscaped;

    private enum State
    {
        Between,
        Payload,
        FirstDigit,
        SecondDigit,
    }

    /// <summary>Takes the next byte; returns what it completes, or null.</summary>
    public GdbInput? Feed(byte b) => _state switch
    {
        State.Payload => FeedPayload(b),
        State.FirstDigit => FeedFirstDigit(b),
        State.SecondDigit => FeedSecondDigit(b),
        _ => FeedBetween(b),
    };

    private GdbInput? FeedBetween(byte b)
    {
        switch (b)
        {
            case (byte)'$':
                Begin();
                return null;
            case (byte)'+':
                return new GdbInput(GdbInputKind.Acknowledgement);
            case (byte)'-':
                return new GdbInput(GdbInputKind.Repeat);
            case 3:
                return new GdbInput(GdbInputKind.Interrupt);
            default:
                return null;
        }
    }

    private GdbInput? FeedPayload(byte b)
    {
        if (b == (byte)'$')
        {
            Begin();
            return null;
        }

        if (b == (byte)'#')
        {
            _state = State.FirstDigit;
            return null;
        }

        _sum += b;
        if (++_length > MaximumPayload)
            return null;
        if (b == (byte)'}' && !_isEscaped)
        {
            _isEscaped = true;
            return null;
        }

        _payload.Append((char)(_isEscaped ? b ^ 0x20 : b));
        _isEscaped = false;
        return null;
    }

    private GdbInput? FeedFirstDigit(byte b)
    {
        _high = GdbPacket.DigitValue(b);
        _state = State.SecondDigit;
        return null;
    }

    private GdbInput? FeedSecondDigit(byte b)
    {
        _state = State.Between;
        int low = GdbPacket.DigitValue(b);
        bool isWhole = (_high | low) >= 0 && ((_high << 4) | low) == _sum && _length <= MaximumPayload && !_isEscaped;
        return isWhole ? new GdbInput(GdbInputKind.Packet, _payload.ToString()) : new GdbInput(GdbInputKind.Damaged);
    }

    private void Begin()
    {
        _payload.Clear();
        _state = State.Payload;
        _length = 0;
        _sum = 0;
        _isEscaped = false;
    }
}
