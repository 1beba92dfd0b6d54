namespace Doppel.Devices.Pc;

/// <summary>
/// The encoding of the MC146818's time registers: BCD or binary, 12- or 24-hour (data sheet, "Time, calendar and
/// alarm locations"; register B bits 2 and 1).
/// </summary>
/// <param name="Binary">Register B's DM: numbers are binary rather than BCD.</param>
/// <param name="Hours24">Register B's 24/12: hours are 0 to 23 rather than 1 to 12 with bit 7 for p.m.</param>
public readonly record struct RtcCalendar(bool Binary, bool Hours24)
{
    /// <summary>Encodes a number from 0 to 99.</summary>
    public byte Encode(int number) => Binary ? (byte)number : (byte)((number / 10 << 4) | (number % 10));

    /// <summary>Decodes a number; -1 when it is no BCD number.</summary>
    public int Decode(byte value)
    {
        if (Binary)
            return value;
        return (value & 0x0F) > 9 || value > 0x99 ? -1 : ((value >> 4) * 10) + (value & 0x0F);
    }

    /// <summary>Encodes an hour from 0 to 23.</summary>
    public byte EncodeHour(int hour)
    {
        if (Hours24)
            return Encode(hour);
        int twelve = hour % 12 == 0 ? 12 : hour % 12;
        return (byte)(Encode(twelve) | (hour >= 12 ? 0x80 : 0));
    }

    /// <summary>Decodes an hour to 0 to 23; -1 when it is none.</summary>
    public int DecodeHour(byte value)
    {
        int hour;
        if (Hours24)
        {
            hour = Decode(value);
            return hour > 23 ? -1 : hour;
        }

        hour = Decode((byte)(value & 0x7F));
        if (hour is < 1 or > 12)
            return -1;
        return (hour % 12) + ((value & 0x80) != 0 ? 12 : 0);
    }

    /// <summary>Decodes a date and time; false when the registers hold none.</summary>
    public bool TryDecode(byte century, byte year, byte month, byte day, byte hour, byte minute, byte second, out DateTime time)
    {
        time = default;
        int centuryNumber = new RtcCalendar(false, true).Decode(century);
        int yearNumber = Decode(year), monthNumber = Decode(month), dayNumber = Decode(day);
        int hourNumber = DecodeHour(hour), minuteNumber = Decode(minute), secondNumber = Decode(second);
        if (centuryNumber < 1 || yearNumber is < 0 or > 99 || monthNumber is < 1 or > 12 || hourNumber < 0
            || minuteNumber is < 0 or > 59 || secondNumber is < 0 or > 59)
            return false;
        int fullYear = (centuryNumber * 100) + yearNumber;
        if (dayNumber < 1 || dayNumber > DateTime.DaysInMonth(fullYear, monthNumber))
            return false;
        time = new DateTime(fullYear, monthNumber, dayNumber, hourNumber, minuteNumber, secondNumber, DateTimeKind.Utc);
        return true;
    }
}
