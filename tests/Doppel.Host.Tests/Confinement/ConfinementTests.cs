using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Doppel.Host.Confinement;

namespace Doppel.Host.Tests.Confinement;

public sealed class ConfinementTests
{
    private static readonly string[] Headers = ["stddef.h", "sched.h", "sys/prctl.h", "sys/syscall.h", "linux/seccomp.h", "linux/filter.h", "linux/audit.h", "linux/landlock.h", "fcntl.h", "errno.h"];

    [Fact]
    public void Constants_and_layouts_are_those_of_the_headers()
    {
        (string Name, long Value)[] expected =
        [
            ("PR_SET_NO_NEW_PRIVS", ConfinementCalls.SetNoNewPrivileges), ("SYS_seccomp", ConfinementCalls.Seccomp), ("SECCOMP_SET_MODE_FILTER", ConfinementCalls.SetModeFilter),
            ("SECCOMP_FILTER_FLAG_TSYNC", ConfinementCalls.FilterAllThreads), ("SYS_landlock_create_ruleset", ConfinementCalls.LandlockCreateRuleset), ("SYS_landlock_add_rule", ConfinementCalls.LandlockAddRule),
            ("SYS_landlock_restrict_self", ConfinementCalls.LandlockRestrictSelf), ("LANDLOCK_CREATE_RULESET_VERSION", ConfinementCalls.CreateRulesetVersion), ("LANDLOCK_RULE_PATH_BENEATH", ConfinementCalls.RulePathBeneath),
            ("O_PATH", ConfinementCalls.OpenPath), ("O_CLOEXEC", ConfinementCalls.CloseOnExec),
            ("sizeof(struct sock_filter)", Unsafe.SizeOf<FilterInstruction>()), ("offsetof(struct sock_filter, k)", (long)Marshal.OffsetOf<FilterInstruction>(nameof(FilterInstruction.Operand))),
            ("offsetof(struct sock_filter, jt)", (long)Marshal.OffsetOf<FilterInstruction>(nameof(FilterInstruction.JumpIfTrue))), ("offsetof(struct sock_filter, jf)", (long)Marshal.OffsetOf<FilterInstruction>(nameof(FilterInstruction.JumpIfFalse))),
            ("sizeof(struct sock_fprog)", Unsafe.SizeOf<FilterProgram>()), ("offsetof(struct sock_fprog, filter)", 8),
            ("sizeof(struct landlock_path_beneath_attr)", Unsafe.SizeOf<LandlockPathBeneath>()), ("offsetof(struct landlock_path_beneath_attr, parent_fd)", 8),
            ("offsetof(struct landlock_ruleset_attr, handled_access_fs)", 0),
            ("offsetof(struct seccomp_data, nr)", SystemCallFilter.NumberOffset), ("offsetof(struct seccomp_data, arch)", SystemCallFilter.ArchitectureOffset), ("offsetof(struct seccomp_data, args)", SystemCallFilter.FirstArgumentOffset),
            ("SECCOMP_RET_ALLOW", SystemCallFilter.Allow), ("SECCOMP_RET_ERRNO", SystemCallFilter.Errno), ("SECCOMP_RET_KILL_PROCESS", SystemCallFilter.KillProcess), ("AUDIT_ARCH_X86_64", SystemCallFilter.Architecture),
            ("BPF_LD | BPF_W | BPF_ABS", SystemCallFilter.LoadWord), ("BPF_JMP | BPF_JEQ | BPF_K", SystemCallFilter.JumpIfEqual), ("BPF_JMP | BPF_JSET | BPF_K", SystemCallFilter.JumpIfAnySet), ("BPF_RET | BPF_K", SystemCallFilter.Return),
            ("EPERM", SystemCallFilter.NotPermitted), ("ENOSYS", SystemCallFilter.NoSuchCall), ("CLONE_THREAD", 0x10000),
            ("LANDLOCK_ACCESS_FS_EXECUTE", (long)PathAccess.Execute), ("LANDLOCK_ACCESS_FS_WRITE_FILE", (long)PathAccess.WriteFile), ("LANDLOCK_ACCESS_FS_READ_FILE", (long)PathAccess.ReadFile),
            ("LANDLOCK_ACCESS_FS_READ_DIR", (long)PathAccess.ReadDirectory), ("LANDLOCK_ACCESS_FS_REMOVE_DIR", (long)PathAccess.RemoveDirectory), ("LANDLOCK_ACCESS_FS_REMOVE_FILE", (long)PathAccess.RemoveFile),
            ("LANDLOCK_ACCESS_FS_MAKE_CHAR", (long)PathAccess.MakeCharacterDevice), ("LANDLOCK_ACCESS_FS_MAKE_DIR", (long)PathAccess.MakeDirectory), ("LANDLOCK_ACCESS_FS_MAKE_REG", (long)PathAccess.MakeFile),
            ("LANDLOCK_ACCESS_FS_MAKE_SOCK", (long)PathAccess.MakeSocket), ("LANDLOCK_ACCESS_FS_MAKE_FIFO", (long)PathAccess.MakeFifo), ("LANDLOCK_ACCESS_FS_MAKE_BLOCK", (long)PathAccess.MakeBlockDevice), ("LANDLOCK_ACCESS_FS_MAKE_SYM", (long)PathAccess.MakeSymbolicLink),
            // What headers of an older kernel than 6.10 don't have, the kernel's documentation does.
            ("1ULL << 13", (long)PathAccess.Refer), ("1ULL << 14", (long)PathAccess.Truncate), ("1ULL << 15", (long)PathAccess.Control),
        ];
        Assert.Equal(expected.Select(e => (e.Name, e.Value)), expected.Select(e => e.Name).Zip(CProgram.Evaluate(Headers, [.. expected.Select(e => e.Name)])));
    }

    [Fact]
    public void Every_thread_does_a_call_also_those_that_are_made_meanwhile()
    {
        Assert.Equal(
            [EveryThread.RestartCalls, EveryThread.NotPermitted, EveryThread.TimedOut, 1, 1],
            CProgram.Evaluate(["signal.h", "errno.h", "sys/syscall.h"], ["SA_RESTART", "EPERM", "ETIMEDOUT", "SYS_write", $"SIGRTMIN < {EveryThread.Signal} && {EveryThread.Signal} <= SIGRTMAX"]));
        bool isOver = false;
        int made = 0;
        // Each makes the next before it ends.
        void Live()
        {
            if (Volatile.Read(ref isOver))
                return;
            _ = Interlocked.Increment(ref made);
            var next = new Thread(Live);
            next.Start();
        }

        var waits = new ManualResetEventSlim();
        Thread[] waiting = [.. Enumerable.Range(0, 8).Select(_ => new Thread(waits.Wait))];
        foreach (Thread thread in waiting)
            thread.Start();
        new Thread(Live).Start();
        const int GetThread = 186, NoCall = 1023;
        // A call that succeeds with 0 everywhere, and one that there is not.
        EveryThread.Do(24, 0, "sched_yield");
        HostException error = Assert.Throws<HostException>(() => EveryThread.Do(NoCall, 0, "nothing"));
        Assert.Contains("nothing of thread", error.Message);
        _ = Assert.Throws<HostException>(() => EveryThread.Do(GetThread, 0, "gettid"));
        Volatile.Write(ref isOver, true);
        waits.Set();
        foreach (Thread thread in waiting)
            thread.Join();
        Assert.True(Volatile.Read(ref made) > 0);
    }

    [Fact]
    public void System_calls_have_the_numbers_of_the_headers()
    {
        // Newer than the headers of the oldest distribution that is supported.
        Dictionary<string, uint> calls = new(SystemCallFilter.Allowed.Where(call => call.Key is not "fchmodat2"))
        {
            ["socket"] = SystemCallFilter.Socket,
            ["clone"] = SystemCallFilter.Clone,
            ["clone3"] = SystemCallFilter.Clone3,
            ["kill"] = SystemCallFilter.Kill,
            ["tgkill"] = SystemCallFilter.TgKill,
            ["rt_tgsigqueueinfo"] = SystemCallFilter.RtTgSigQueueInfo,
            ["prlimit64"] = SystemCallFilter.PrLimit,
        };
        long[] numbers = CProgram.Evaluate(["sys/syscall.h"], [.. calls.Keys.Select(name => $"SYS_{name}")]);
        Assert.Equal(calls.Select(call => (call.Key, (long)call.Value)), calls.Keys.Zip(numbers));
    }

    [Fact]
    public void The_filter_allows_what_it_says_and_nothing_else()
    {
        FilterInstruction[] program = SystemCallFilter.Build([2, 10], 77);
        Assert.True(program.Length < 4096);
        foreach (uint call in SystemCallFilter.Allowed.Values)
            Assert.Equal(SystemCallFilter.Allow, Evaluate(program, call, 0));
        const uint Refused = SystemCallFilter.Errno | SystemCallFilter.NotPermitted, Execve = 59, Fork = 57, Vfork = 58, Ptrace = 101, ExecveAt = 322, Mount = 165, IoUring = 425, BadArchitecture = 0x40000003;
        foreach (uint call in (uint[])[Execve, Fork, Vfork, Ptrace, ExecveAt, Mount, IoUring, 310, 311, 0x40000001, SystemCallFilter.TKill])
            Assert.Equal(Refused, Evaluate(program, call, 0));
        foreach ((uint call, uint argument, uint result) in new[]
        {
            (SystemCallFilter.Socket, 1u, Refused), (SystemCallFilter.Socket, 2u, SystemCallFilter.Allow), (SystemCallFilter.Socket, 10u, SystemCallFilter.Allow), (SystemCallFilter.Socket, 16u, Refused),
            (SystemCallFilter.Kill, 77u, SystemCallFilter.Allow), (SystemCallFilter.Kill, 1u, Refused), (SystemCallFilter.Kill, uint.MaxValue, Refused), (SystemCallFilter.TgKill, 77u, SystemCallFilter.Allow), (SystemCallFilter.TgKill, 78u, Refused),
            (SystemCallFilter.PrLimit, 0u, SystemCallFilter.Allow), (SystemCallFilter.PrLimit, 1u, Refused), (SystemCallFilter.Clone, 0x3D0F00u, SystemCallFilter.Allow), (SystemCallFilter.Clone, 17u, Refused),
            (SystemCallFilter.Clone3, 0u, SystemCallFilter.Errno | SystemCallFilter.NoSuchCall),
        })
            Assert.Equal((call, argument, result), (call, argument, Evaluate(program, call, argument)));
        Assert.Equal(SystemCallFilter.KillProcess, Evaluate(program, 0, 0, BadArchitecture));
    }

    [Fact]
    public void A_confined_thread_and_its_children_have_what_they_are_given()
    {
        if (Landlock.Version == 0)
            return;
        string folder = Directory.CreateTempSubdirectory("doppel-c-").FullName, given = Path.Combine(folder, "given"), other = Path.Combine(folder, "other");
        _ = Directory.CreateDirectory(given);
        File.WriteAllText(other, "x");
        Exception? refused = null, wrong = null;
        var thread = new Thread(() =>
        {
            try
            {
                Assert.True(Landlock.ConfineThread([new PathRule("/usr", PathAccess.Read), new PathRule(given, PathAccess.UseDirectory), new PathRule("/nonexistent", PathAccess.Read)], refusesTcp: false));
                File.WriteAllText(Path.Combine(given, "file"), "x");
                refused = Record.Exception(() => File.ReadAllText(other));
            }
            catch (Exception e)
            {
                wrong = e;
            }
        });
        thread.Start();
        thread.Join();
        Assert.Null(wrong);
        _ = Assert.IsType<UnauthorizedAccessException>(refused);
        // Others are not concerned.
        Assert.Equal("x", File.ReadAllText(other));
        Directory.Delete(folder, recursive: true);
    }

    // The instructions that the filter uses (linux/filter.h), on a call with one argument.
    private static uint Evaluate(FilterInstruction[] program, uint call, uint argument, uint architecture = SystemCallFilter.Architecture)
    {
        uint accumulator = 0;
        for (int at = 0; ; at++)
        {
            FilterInstruction now = program[at];
            switch (now.Code)
            {
                case SystemCallFilter.LoadWord:
                    accumulator = now.Operand switch { SystemCallFilter.NumberOffset => call, SystemCallFilter.ArchitectureOffset => architecture, SystemCallFilter.FirstArgumentOffset => argument, _ => throw new InvalidOperationException() };
                    break;
                case SystemCallFilter.JumpIfEqual:
                    at += accumulator == now.Operand ? now.JumpIfTrue : now.JumpIfFalse;
                    break;
                case SystemCallFilter.JumpIfAnySet:
                    at += (accumulator & now.Operand) != 0 ? now.JumpIfTrue : now.JumpIfFalse;
                    break;
                case SystemCallFilter.Return:
                    return now.Operand;
                default:
                    throw new InvalidOperationException($"code {now.Code:x}");
            }
        }
    }
}
