using Doppel.Machine.Bus;
using Doppel.Machine.State;

namespace Doppel.Devices.Chipset;

/// <summary>
/// The PIIX4's SMBus host controller (data sheet 290562, 11.3.6) on a bus without devices: whatever is addressed, nobody
/// acknowledges it.
/// </summary>
internal sealed class SmbusHost : IIoRegion
{
    /// <summary>Number of ports.</summary>
    internal const int Length = 16;

    private const int Status = 0, Control = 2;
    private const byte StatusBits = 0x1E, DeviceError = 0x04, Start = 0x40, KillTransaction = 0x02, Failed = 0x10;
    private readonly byte[] _registers = new byte[Length];

    public string Name => "smbus";

    public ulong Read(ulong offset, int size)
    {
        ulong value = 0;
        for (int i = 0; i < size; i++)
            value |= (ulong)(offset + (uint)i < Length ? _registers[(int)offset + i] : (byte)0xFF) << (8 * i);
        return value;
    }

    public void Write(ulong offset, int size, ulong value)
    {
        for (int i = 0; i < size && offset + (uint)i < Length; i++)
            Write((int)offset + i, (byte)(value >> (8 * i)));
    }

    internal void Reset() => Array.Clear(_registers);

    internal void Save(StateWriter writer) => writer.Write(_registers.AsSpan());

    internal static byte[] Read(StateReader reader, string section) => StateCheck.Length(section, "SMBus registers", reader.ReadBytes(Length), Length);

    internal void Adopt(byte[] registers) => registers.CopyTo(_registers, 0);

    private void Write(int offset, byte value)
    {
        switch (offset)
        {
            case Status:
                _registers[Status] &= (byte)~(value & StatusBits);
                break;
            case 1:
                break;
            case Control:
                _registers[Control] = (byte)(value & ~(Start | KillTransaction));
                if ((value & KillTransaction) != 0)
                    _registers[Status] |= Failed;
                else if ((value & Start) != 0)
                    _registers[Status] |= DeviceError;
                break;
            case <= 7:
                _registers[offset] = value;
                break;
        }
    }
}
