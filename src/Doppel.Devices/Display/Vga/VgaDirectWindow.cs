using Doppel.Machine.Memory;

namespace Doppel.Devices.Display.Vga;

/// <summary>
/// Shows the windows at A0000h to BFFFFh as plain memory while the registers do nothing to what the CPU reads and writes: chained modes,
/// such as 13h, and banks of the Bochs extensions where their memory lies; text by a copy, since characters and attributes lie in two of
/// four planes. Otherwise each access would be a device's: twice as slow as under QEMU for text that scrolls. With the I/O lock held.
/// </summary>
/// <param name="registers">The adapter's.</param>
/// <param name="memory">Its memory.</param>
/// <param name="text">32 KiB for the copy of text; null for text by the bus only.</param>
internal sealed class VgaDirectWindow(VgaRegisters registers, DeviceRam memory, DeviceRam? text)
{
    /// <summary>Bytes of the copy.</summary>
    internal const int TextLength = 0x8000;

    private const ulong Monochrome = 0xB0000, Color = 0xB8000;
    private readonly ulong[] _pages = new ulong[1];
    private ulong _lateWrites;
    private (DeviceRam Memory, ulong Address, int Offset, int Length)? _shown;

    /// <summary>True while other memory is where the windows are.</summary>
    internal bool IsCovered
    {
        get;
        set
        {
            field = value;
            Update();
        }
    }

    /// <summary>Must follow every change of registers that the windows depend on.</summary>
    internal void Update()
    {
        (DeviceRam Memory, ulong Address, int Offset, int Length)? wanted = IsCovered || !IsTransparent ? null : IsChained ? FindLinear() : FindText();
        if (wanted == _shown)
            return;
        Hide();
        if (wanted is not { } window)
            return;
        if (window.Memory == text)
            Copy(window.Memory.Bytes);
        if (window.Memory.TryShow(window.Address, window.Offset, window.Length))
            _shown = window;
    }

    /// <summary>Shows nothing as memory.</summary>
    internal void Hide()
    {
        if (_shown is not { } window)
            return;
        Collect();
        Collect();
        window.Memory.Hide(window.Address);
        _shown = null;
    }

    /// <summary>Brings what was written as text to where the planes have it.</summary>
    internal void Collect()
    {
        if (text is null || _shown is not { } window || window.Memory != text)
            return;
        // A store that was under way when pages were last looked at may have landed since.
        (ulong late, _pages[0]) = (_lateWrites, 0);
        text.TakeWritten(_pages);
        _lateWrites = _pages[0];
        ulong written = late | _lateWrites;
        for (int page = 0; page < TextLength / GuestMemory.PageSize; page++)
        {
            if ((written & (1UL << page)) == 0)
                continue;
            int start = page * GuestMemory.PageSize / 2, end = start + (GuestMemory.PageSize / 2);
            Span<byte> planes = memory.Bytes;
            ReadOnlySpan<byte> cells = text.Bytes;
            for (int cell = start; cell < end; cell++)
            {
                planes[4 * cell] = cells[2 * cell];
                planes[(4 * cell) + 1] = cells[(2 * cell) + 1];
            }

            memory.NoteWrite(4 * start, 4 * (end - start));
        }
    }

    private bool IsChained => (registers.Sequencer[4] & 8) != 0;

    // Write mode 0 and read mode 0 with nothing set, rotated, combined or masked, and memory that answers.
    private bool IsTransparent =>
        ((registers.Misc & 2) != 0 || registers.Vbe.IsEnabled) && (registers.Graphics[5] & 0x0B) == 0 &&
        registers.Graphics[1] == 0 && registers.Graphics[3] == 0 && registers.Graphics[8] == 0xFF;

    private int Map => (registers.Graphics[6] >> 2) & 3;

    private (DeviceRam Memory, ulong Address, int Offset, int Length)? FindLinear()
    {
        int bank = registers.Vbe.IsEnabled ? registers.Vbe.BankOffset : 0, length = Map == 0 ? 0x20000 : 0x10000;
        bool isWhole = (registers.Sequencer[2] & 15) == 15 && Map <= 1 && bank % GuestMemory.PageSize == 0 && bank <= memory.Length - length;
        return isWhole ? (memory, VgaController.WindowStart, bank, length) : null;
    }

    private (DeviceRam Memory, ulong Address, int Offset, int Length)? FindText()
    {
        bool isOddEven = (registers.Sequencer[4] & 4) == 0 && (registers.Graphics[5] & 0x10) != 0 && (registers.Graphics[4] & 2) == 0;
        if (text is null || registers.Vbe.IsEnabled || !isOddEven || (registers.Sequencer[2] & 15) != 3 || Map < 2)
            return null;
        return (text, Map == 2 ? Monochrome : Color, 0, TextLength);
    }

    private void Copy(Span<byte> cells)
    {
        ReadOnlySpan<byte> planes = memory.Bytes;
        for (int cell = 0; cell < TextLength / 2; cell++)
        {
            cells[2 * cell] = planes[4 * cell];
            cells[(2 * cell) + 1] = planes[(4 * cell) + 1];
        }
    }
}
