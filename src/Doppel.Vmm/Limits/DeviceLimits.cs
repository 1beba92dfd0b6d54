using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Doppel.Vmm.Limits;

/// <summary>What a disk or a network card may do in a second from now on; what is null stays.</summary>
/// <param name="Number">Its number in <see cref="MachineSpec.Disks"/> or <see cref="MachineSpec.Networks"/>.</param>
public sealed record DeviceLimits(int Number)
{
    /// <summary>Smallest limit of bytes: a large request of a guest must not take longer than its driver waits.</summary>
    public const ulong SmallestBytes = 64 << 10;

    /// <summary>Smallest limit of operations.</summary>
    public const int SmallestOperations = 10;

    /// <summary>What <see cref="TryParse"/> takes.</summary>
    public const string Choices = "NUMBER[,bps=SIZE][,iops=N]";

    /// <summary>Bytes a second, <see cref="SmallestBytes"/> and more; 0 for no limit.</summary>
    public ulong? BytesPerSecond { get; init; }

    /// <summary>Operations a second, <see cref="SmallestOperations"/> and more; 0 for no limit; disks only.</summary>
    public int? OperationsPerSecond { get; init; }

    /// <summary>Reads what a user writes: a number, and limits separated by commas.</summary>
    /// <param name="text">The text.</param>
    /// <param name="limits">The limits.</param>
    public static bool TryParse(string text, [NotNullWhen(true)] out DeviceLimits? limits)
    {
        ArgumentNullException.ThrowIfNull(text);
        limits = null;
        string[] words = text.Split(',');
        if (words.Length < 2 || !int.TryParse(words[0], NumberStyles.None, CultureInfo.InvariantCulture, out int number))
            return false;
        var found = new DeviceLimits(number);
        foreach (string word in words.Skip(1))
        {
            string[] parts = word.Split('=', 2);
            if (parts is ["bps", string rate] && TryBytes(rate, out ulong bytes))
                found = found with { BytesPerSecond = bytes };
            else if (parts is ["iops", string count] && TryOperations(count, out int operations))
                found = found with { OperationsPerSecond = operations };
            else
                return false;
        }

        limits = found;
        return true;
    }

    /// <summary>Reads bytes a second.</summary>
    internal static bool TryBytes(string text, out ulong bytes) => MemorySize.TryParse(text, out bytes) && IsBytes(bytes);

    /// <summary>Reads operations a second.</summary>
    internal static bool TryOperations(string text, out int operations) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out operations) && IsOperations(operations);

    /// <summary>True for what can be a limit.</summary>
    internal static bool IsBytes(ulong bytes) => bytes is 0 or >= SmallestBytes;

    /// <summary>True for what can be a limit.</summary>
    internal static bool IsOperations(int operations) => operations is 0 or >= SmallestOperations;
}
