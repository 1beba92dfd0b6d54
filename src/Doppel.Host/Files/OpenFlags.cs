namespace Doppel.Host.Files;

/// <summary>O_* of open(2).</summary>
internal static class OpenFlags
{
    internal const int ReadOnly = 0;
    internal const int Directory = 0x10000;
    internal const int NoFollow = 0x20000;
    internal const int CloseOnExec = 0x80000;
}
