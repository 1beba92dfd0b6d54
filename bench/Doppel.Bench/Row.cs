namespace Doppel.Bench;

/// <summary>One line of the table: a guest program with its size, or the boot itself.</summary>
/// <param name="Name">Name on the command line, in the protocol and in the JSON.</param>
/// <param name="Title">What the table prints.</param>
/// <param name="Count">Iterations at scale 1.</param>
/// <param name="Minimum">Fewest iterations that still give a figure, for slow engines.</param>
/// <param name="EachInMicroseconds">The table shows microseconds for one iteration, instead of milliseconds for all of them.</param>
internal sealed record Row(string Name, string Title, long Count, long Minimum, bool EachInMicroseconds)
{
    /// <summary>The name of <see cref="Boot"/>.</summary>
    public const string BootName = "boot";

    /// <summary>From the start of the VMM's process to the first line of the guest's first process, on the host's clock.</summary>
    public static readonly Row Boot = new(BootName, "boot to init", 1, 1, false);

    /// <summary>
    /// From the start of the VMM's process to the login prompt of the whole Debian image on the serial console, on the host's
    /// clock; runs only when it is named.
    /// </summary>
    public static readonly Row System = new("system", "Debian to the login prompt", 1, 1, false);

    /// <summary>Every row, in the order of the table.</summary>
    public static readonly IReadOnlyList<Row> All =
    [
        new("alu", "integer ALU loop", 64, 1, false),
        new("fib", "recursive calls", 80, 1, false),
        new("sieve", "sieve", 16, 1, false),
        new("qsort", "quicksort", 24, 1, false),
        new("matmul", "double matrix product", 16, 1, false),
        new("memcpy-sse", "copy 1 GiB, SSE", 1024, 4, false),
        new("memcpy-rep", "copy 1 GiB, rep movsb", 1024, 4, false),
        new("getppid", "getppid", 500_000, 10_000, true),
        new("fault", "anonymous page fault", 16_384, 1_024, true),
        new("mmap", "mmap + touch + munmap", 4_000, 200, true),
        new("pipe", "pipe round trip", 5_000, 200, true),
        new("fork", "fork + exit + wait", 300, 10, true),
        new("exec", "300 x fork + exec of true", 300, 10, false),
        new("shell", "shell loop of 300,000", 300_000, 5_000, false),
        new("sha256", "sha256sum of 64 MiB", 16, 1, false),
        new("gzip", "gzip of 8 MiB", 2, 1, false),
        new("xz", "xz -d to 16 MiB", 4, 1, false),
        Boot,
    ];

    /// <summary>Rows that need a network card, which machines have only if one of these is asked for: connections to the runner through user-mode NAT.</summary>
    public static readonly IReadOnlyList<Row> Network =
    [
        new("net-send", "TCP, 512 MiB to the host", 512, 16, false),
        new("net-receive", "TCP, 512 MiB from the host", 512, 16, false),
        new("net-echo", "TCP, a byte and back", 2_000, 100, true),
        new("net-ping", "ping of the gateway", 2_000, 100, true),
    ];

    /// <summary>Rows that need a disk, which machines have only if one of these is asked for.</summary>
    public static readonly IReadOnlyList<Row> Disk =
    [
        new("disk-read", "disk, 1 GiB read", 1024, 16, false),
        new("disk-write", "disk, 1 GiB written", 1024, 16, false),
        new("disk-random-read", "disk, 4 KiB read, 16 at a time", 20_000, 500, true),
        new("disk-random-write", "disk, 4 KiB written, 16 at a time", 20_000, 500, true),
        new("disk-latency", "disk, 4 KiB read, one at a time", 10_000, 500, true),
    ];

    /// <summary>Rows in which a second machine of the same kind, on a switch with the first, is what the network rows' runner is.</summary>
    public static readonly IReadOnlyList<Row> Switch =
    [
        new("switch-send", "TCP, 512 MiB to another VM", 512, 16, false),
        new("switch-receive", "TCP, 512 MiB from another VM", 512, 16, false),
        new("switch-echo", "TCP, a byte to another VM and back", 2_000, 100, true),
    ];

    /// <summary>Rows of Debian's fio on a disk of their own, which machines have, beside the image with fio, only if one of these is asked for.</summary>
    public static readonly IReadOnlyList<Row> Fio =
    [
        new("fio-read-direct", "fio, 4 GiB read, direct", 4096, 64, false),
        new("fio-write-direct", "fio, 4 GiB written, direct", 4096, 64, false),
        new("fio-randread-direct", "fio, 4 KiB read, direct", 40_000, 2_000, true),
        new("fio-randwrite-direct", "fio, 4 KiB written, direct", 40_000, 2_000, true),
        new("fio-read-cached", "fio, 1 GiB read, cached", 1024, 64, false),
        new("fio-write-cached", "fio, 1 GiB written, cached", 1024, 64, false),
        new("fio-randread-cached", "fio, 4 KiB read, cached", 40_000, 2_000, true),
        new("fio-randwrite-cached", "fio, 4 KiB written, cached", 40_000, 2_000, true),
    ];

    /// <summary>True for what runs in guests only.</summary>
    public bool IsForGuests => Fio.Contains(this) || Switch.Contains(this) || Name == "net-ping";

    /// <summary>Rows that move a running machine between two daemons, and between two QEMUs; they have a table of their own.</summary>
    public static readonly IReadOnlyList<Row> Migration =
    [
        new("migrate-idle", "moved: idle", 1, 1, false),
        new("migrate-dirty", "moved: 50 MiB/s written", 1, 1, false),
        new("migrate-web", "moved: busy web server", 1, 1, false),
    ];

    /// <summary>Rows of a guest that firmware boots and that fills its screen; they have a table of their own.</summary>
    public static readonly IReadOnlyList<Row> Screen =
    [
        new("screen-text", "screen of text scrolled 2000 times", 1, 1, false),
        new("screen-frame", "1024x768x32 scrolled 100 times", 1, 1, false),
        new("screen-loop", "the same 25 times without REP", 1, 1, false),
    ];

    /// <summary>The name of the row of GRUB's menu.</summary>
    public const string GrubName = "bios-grub";

    /// <summary>Rows of what a BIOS starts; they have a table of their own.</summary>
    public static readonly IReadOnlyList<Row> Bios =
    [
        new(GrubName, "BIOS and GRUB from CD to its menu", 1, 1, false),
        new("bios-memtest", "memtest86+ to 40 % of its pass, 64 MiB", 1, 1, false),
    ];

    /// <summary>Rows of what a daemon does with machines; they have a table of their own.</summary>
    public static readonly IReadOnlyList<Row> Life =
    [
        new("life-boot", "default guest, from start to an answer of its shell", 1, 1, false),
        new("life-snapshot", "snapshot of a running machine: it stands still", 1, 1, false),
        new("life-restore", "restore of 512 MiB", 1, 1, false),
        new("life-clone", "clone of a running machine", 1, 1, false),
        new("life-clones", "20 clones of one snapshot", 1, 1, false),
        new("life-many", "many machines at once", 100, 1, false),
    ];

    /// <summary>True for what guest/init runs, false for what is seen from outside: the boots.</summary>
    public bool IsProgram => this != Boot && this != System;

    /// <summary>Iterations at a scale of 1 or below.</summary>
    public long CountAt(double scale) => Math.Max(Minimum, (long)Math.Round(Count * scale));

    /// <summary>The value that the table shows, from the nanoseconds of one iteration.</summary>
    public double Shown(double nanosecondsEach) =>
        EachInMicroseconds ? nanosecondsEach / 1e3 : nanosecondsEach * Count / 1e6;

    /// <summary>Unit of <see cref="Shown"/>.</summary>
    public string Unit => EachInMicroseconds ? "us" : "ms";
}
