namespace Doppel.Devices.Display.Vga;

/// <summary>The characters of the PC's own font, IBM code page 437.</summary>
internal static class CodePage437
{
    private const string Low = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
    private const string High =
        "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";

    /// <summary>The character of a code; a blank for code 0.</summary>
    internal static char ToCharacter(byte code) => code switch
    {
        < 0x20 => Low[code],
        < 0x7F => (char)code,
        0xFF => ' ',
        _ => High[code - 0x7F],
    };
}
