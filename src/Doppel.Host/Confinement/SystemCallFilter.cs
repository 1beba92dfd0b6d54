using System.Globalization;

namespace Doppel.Host.Confinement;

/// <summary>
/// Leaves to this process only the system calls that a machine's worker needs (seccomp(2), filter mode): no program is started,
/// no process made or looked into, no mount, module, key or namespace touched, and sockets are only of the families that it is
/// given. What is refused fails with EPERM. It can't be undone.
/// </summary>
public static unsafe class SystemCallFilter
{
    internal const ushort LoadWord = 0x20, JumpIfEqual = 0x15, JumpIfAnySet = 0x45, Return = 0x06;
    internal const uint Allow = 0x7FFF0000, Errno = 0x00050000, KillProcess = 0x80000000, Architecture = 0xC000003E;
    internal const uint NotPermitted = 1, NoSuchCall = 38;

    // struct seccomp_data: int nr, __u32 arch, __u64 instruction_pointer, __u64 args[6].
    internal const uint NumberOffset = 0, ArchitectureOffset = 4, FirstArgumentOffset = 16;

    private const uint CloneThread = 0x10000;

    // Files that are open, or that Landlock lets be opened.
    private const string Files = """
        read=0 write=1 open=2 close=3 stat=4 fstat=5 lstat=6 lseek=8 ioctl=16 pread64=17 pwrite64=18 readv=19 writev=20
        access=21 pipe=22 dup=32 dup2=33 sendfile=40 fcntl=72 flock=73 fsync=74 fdatasync=75 truncate=76 ftruncate=77
        getdents=78 getcwd=79 chdir=80 fchdir=81 rename=82 mkdir=83 rmdir=84 link=86 unlink=87 symlink=88 readlink=89 chmod=90
        fchmod=91 chown=92 fchown=93 lchown=94 umask=95 mknod=133 statfs=137 fstatfs=138 setxattr=188 lsetxattr=189
        fsetxattr=190 getxattr=191 lgetxattr=192 fgetxattr=193 listxattr=194 llistxattr=195 flistxattr=196 removexattr=197
        lremovexattr=198 fremovexattr=199 getdents64=217 fadvise64=221 utimes=235 openat=257 mkdirat=258 mknodat=259
        fchownat=260 futimesat=261 newfstatat=262 unlinkat=263 renameat=264 linkat=265 symlinkat=266 readlinkat=267
        fchmodat=268 faccessat=269 splice=275 tee=276 sync_file_range=277 utimensat=280 fallocate=285 dup3=292 pipe2=293
        preadv=295 pwritev=296 syncfs=306 renameat2=316 copy_file_range=326 preadv2=327 pwritev2=328 statx=332 close_range=436
        openat2=437 faccessat2=439 fchmodat2=452 inotify_init=253 inotify_add_watch=254 inotify_rm_watch=255 inotify_init1=294
        """;

    // Memory.
    private const string Memory = """
        mmap=9 mprotect=10 munmap=11 brk=12 mremap=25 msync=26 mincore=27 madvise=28 mlock=149 munlock=150 mlock2=325
        memfd_create=319 membarrier=324 get_mempolicy=239 mbind=237 set_mempolicy=238 rseq=334 pkey_alloc=330
        """;

    // Threads, signals of its own, and what it may know of itself.
    private const string Threads = """
        rt_sigaction=13 rt_sigprocmask=14 rt_sigreturn=15 sched_yield=24 pause=34 getpid=39 exit=60 uname=63 getrlimit=97
        getrusage=98 sysinfo=99 times=100 getuid=102 getgid=104 geteuid=107 getegid=108 getppid=110 getpgrp=111 getpgid=121
        getsid=124 rt_sigpending=127 rt_sigtimedwait=128 rt_sigsuspend=130 sigaltstack=131 getpriority=140 setpriority=141
        sched_setparam=142 sched_getparam=143 sched_setscheduler=144 sched_getscheduler=145 sched_get_priority_max=146
        sched_get_priority_min=147 arch_prctl=158 gettid=186 wait4=61 waitid=247 futex=202 sched_setaffinity=203 sched_getaffinity=204
        set_tid_address=218 restart_syscall=219 exit_group=231 set_robust_list=273 get_robust_list=274 getcpu=309
        getrandom=318 prctl=157 setfsuid=122 setfsgid=123 getgroups=115 setgroups=116 capget=125 sched_getattr=315
        """;

    // Time and waiting.
    private const string Waiting = """
        poll=7 select=23 nanosleep=35 getitimer=36 setitimer=38 gettimeofday=96 time=201 epoll_create=213 timer_create=222
        timer_settime=223 timer_gettime=224 timer_getoverrun=225 timer_delete=226 clock_gettime=228 clock_getres=229
        clock_nanosleep=230 epoll_wait=232 epoll_ctl=233 pselect6=270 ppoll=271 epoll_pwait=281 signalfd=282
        timerfd_create=283 eventfd=284 timerfd_settime=286 timerfd_gettime=287 signalfd4=289 eventfd2=290 epoll_create1=291
        epoll_pwait2=441
        """;

    // Sockets that it has: which it can have is decided where they are made.
    private const string Connections = """
        connect=42 accept=43 sendto=44 recvfrom=45 sendmsg=46 recvmsg=47 shutdown=48 bind=49 listen=50 getsockname=51
        getpeername=52 setsockopt=54 getsockopt=55 accept4=288 recvmmsg=299 sendmmsg=307
        """;

    /// <summary>The calls that are allowed whatever their arguments, by their numbers on x86-64 (asm/unistd_64.h).</summary>
    internal static IReadOnlyDictionary<string, uint> Allowed { get; } = string.Join(' ', Files, Memory, Threads, Waiting, Connections)
        .Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries)
        .Select(call => call.Split('='))
        .ToDictionary(call => call[0], call => uint.Parse(call[1], CultureInfo.InvariantCulture));

    internal const uint Socket = 41, Clone = 56, Clone3 = 435, Kill = 62, TgKill = 234, RtTgSigQueueInfo = 297, TKill = 200, PrLimit = 302;

    /// <summary>Confines all threads of the process, and those to come.</summary>
    /// <param name="families">Families of sockets that it may make: AF_UNIX (1), AF_INET (2), AF_INET6 (10).</param>
    /// <param name="other">Another process that it may end; null for none.</param>
    /// <exception cref="HostException">The kernel has no filters, or refuses this one.</exception>
    public static void ConfineProcess(IReadOnlyList<int> families, int? other = null)
    {
        FilterInstruction[] program = Build(families, (uint)Environment.ProcessId, (uint?)other);
        _ = HostError.Check(ConfinementCalls.Control(ConfinementCalls.SetNoNewPrivileges, 1, 0, 0, 0), "prctl", "PR_SET_NO_NEW_PRIVS");
        fixed (FilterInstruction* instructions = program)
        {
            var filter = new FilterProgram { Length = (ushort)program.Length, Instructions = instructions };
            nint result = ConfinementCalls.SystemCall(ConfinementCalls.Seccomp, (nint)ConfinementCalls.SetModeFilter, (void*)ConfinementCalls.FilterAllThreads, (nint)(&filter), 0);
            _ = HostError.Check(result, "seccomp", $"a filter of {program.Length} instructions");
            if (result > 0)
                throw new HostException("seccomp", (int)NotPermitted, $"thread {result} can't be confined");
        }
    }

    /// <summary>The program: the number is compared with each allowed one; some calls are judged by an argument.</summary>
    internal static FilterInstruction[] Build(IReadOnlyList<int> families, uint process, uint? other = null)
    {
        var program = new List<FilterInstruction>
        {
            Instruction(LoadWord, ArchitectureOffset),
            Jump(JumpIfEqual, Architecture, 1, 0),
            Instruction(Return, KillProcess),
            Instruction(LoadWord, NumberOffset),
        };
        // Each of these ends the program for its call: no call falls through to another's test.
        AddJudged(program, Socket, 0, [.. families.Select(family => (uint)family)]);
        AddJudged(program, Kill, 0, other is uint ended ? [process, ended] : [process]);
        foreach (uint call in (uint[])[TgKill, RtTgSigQueueInfo])
            AddJudged(program, call, 0, [process]);
        // A limit of its own may be asked for and set; another process's not.
        AddJudged(program, PrLimit, 0, [0, process]);
        program.AddRange(
        [
            Jump(JumpIfEqual, Clone, 0, 4),
            Instruction(LoadWord, FirstArgumentOffset),
            Jump(JumpIfAnySet, CloneThread, 0, 1),
            Instruction(Return, Allow),
            Instruction(Return, Errno | NotPermitted),
            // Its flags are behind a pointer; glibc takes clone where there is no clone3.
            Jump(JumpIfEqual, Clone3, 0, 1),
            Instruction(Return, Errno | NoSuchCall),
        ]);
        foreach (uint number in Allowed.Values)
        {
            program.Add(Jump(JumpIfEqual, number, 0, 1));
            program.Add(Instruction(Return, Allow));
        }

        program.Add(Instruction(Return, Errno | NotPermitted));
        return [.. program];
    }

    private static void AddJudged(List<FilterInstruction> program, uint call, uint argument, IReadOnlyList<uint> values)
    {
        program.Add(Jump(JumpIfEqual, call, 0, (byte)(2 + (2 * values.Count))));
        program.Add(Instruction(LoadWord, FirstArgumentOffset + (8 * argument)));
        foreach (uint value in values)
        {
            program.Add(Jump(JumpIfEqual, value, 0, 1));
            program.Add(Instruction(Return, Allow));
        }

        program.Add(Instruction(Return, Errno | NotPermitted));
    }

    private static FilterInstruction Instruction(ushort code, uint operand) => new() { Code = code, Operand = operand };

    private static FilterInstruction Jump(ushort code, uint operand, byte ifTrue, byte ifFalse) => new() { Code = code, Operand = operand, JumpIfTrue = ifTrue, JumpIfFalse = ifFalse };
}
