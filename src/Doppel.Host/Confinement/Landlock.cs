namespace Doppel.Host.Confinement;

/// <summary>Takes from a thread, and from all processes and threads that it starts, every file that it isn't given (landlock(7)).</summary>
public static unsafe class Landlock
{
    private const PathAccess All = (PathAccess)0xFFFF, OfFiles = PathAccess.Execute | PathAccess.UseFile | PathAccess.Control;
    private const int ReferVersion = 2, TruncateVersion = 3, NetworkVersion = 4, ControlVersion = 5, ScopeVersion = 6;
    private const ulong BindTcp = 1, ConnectTcp = 2, ScopeAbstractSockets = 1, ScopeSignals = 2;

    /// <summary>Version of the kernel's Landlock; 0 where there is none.</summary>
    public static int Version { get; } = (int)Math.Max(0, ConfinementCalls.SystemCall(ConfinementCalls.LandlockCreateRuleset, 0, null, (nint)ConfinementCalls.CreateRulesetVersion, 0));

    /// <summary>
    /// Confines this thread. Other threads of the process are not concerned: a process that is to be confined is started by a
    /// thread that is. From <see cref="Version"/> 6 on, signals to processes outside and their abstract sockets are refused, too.
    /// </summary>
    /// <param name="rules">What is left to it.</param>
    /// <param name="refusesTcp">True to refuse to bind and connect TCP sockets, from version 4 on.</param>
    /// <returns>False where the kernel has no Landlock: nothing is confined.</returns>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public static bool ConfineThread(IEnumerable<PathRule> rules, bool refusesTcp) => Confine(rules, refusesTcp, set =>
        HostError.Check(ConfinementCalls.SystemCall(ConfinementCalls.LandlockRestrictSelf, set, null, 0, 0), "landlock_restrict_self", ""));

    /// <summary>True where <see cref="ConfineProcess"/> serves: in version 6 alone a process's threads could not signal each other after it.</summary>
    public static bool CanConfineProcess => Version != ScopeVersion;

    /// <summary>Confines all threads of this process, which was started by a thread without new privileges (<see cref="RefuseNewPrivileges"/>).</summary>
    /// <param name="rules">What is left to it.</param>
    /// <returns>False where the kernel has no Landlock: nothing is confined.</returns>
    /// <exception cref="HostException">The kernel refuses, and the process is of no use any more: some threads may be confined.</exception>
    public static bool ConfineProcess(IEnumerable<PathRule> rules) => Confine(rules, refusesTcp: false, set =>
        EveryThread.Do((int)ConfinementCalls.LandlockRestrictSelf, set, "landlock_restrict_self"));

    /// <summary>Neither this thread nor what it starts gets privileges by starting a program (prctl(2), PR_SET_NO_NEW_PRIVS).</summary>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public static void RefuseNewPrivileges() => _ = HostError.Check(ConfinementCalls.Control(ConfinementCalls.SetNoNewPrivileges, 1, 0, 0, 0), "prctl", "PR_SET_NO_NEW_PRIVS");

    private static bool Confine(IEnumerable<PathRule> rules, bool refusesTcp, Action<int> restrict)
    {
        ArgumentNullException.ThrowIfNull(rules);
        if (Version == 0)
            return false;
        PathAccess handled = All;
        if (Version < ReferVersion)
            handled &= ~PathAccess.Refer;
        if (Version < TruncateVersion)
            handled &= ~PathAccess.Truncate;
        if (Version < ControlVersion)
            handled &= ~PathAccess.Control;
        var ruleset = new LandlockRuleset
        {
            FileAccess = (ulong)handled,
            NetworkAccess = refusesTcp ? BindTcp | ConnectTcp : 0,
            Scoped = ScopeAbstractSockets | ScopeSignals,
        };
        // Older kernels know less of the structure, and refuse what they don't know.
        nint size = Version < NetworkVersion ? 8 : Version < ScopeVersion ? 16 : 24;
        int set = (int)HostError.Check(Create(&ruleset, size), "landlock_create_ruleset", $"of version {Version}");
        try
        {
            foreach (PathRule rule in rules)
                Add(set, rule, handled);
            RefuseNewPrivileges();
            restrict(set);
            return true;
        }
        finally
        {
            _ = LibC.Close(set);
        }
    }

    private static nint Create(LandlockRuleset* ruleset, nint size) => ConfinementCalls.SystemCall(ConfinementCalls.LandlockCreateRuleset, (nint)ruleset, (void*)size, 0, 0);

    private static void Add(int set, PathRule rule, PathAccess handled)
    {
        int file = LibC.Open(rule.Path, ConfinementCalls.OpenPath | ConfinementCalls.CloseOnExec);
        if (file < 0)
            return;
        try
        {
            PathAccess access = rule.Access & handled & (Directory.Exists(rule.Path) ? All : OfFiles);
            var beneath = new LandlockPathBeneath { AllowedAccess = (ulong)access, Parent = file };
            _ = HostError.Check(ConfinementCalls.SystemCall(ConfinementCalls.LandlockAddRule, set, (void*)ConfinementCalls.RulePathBeneath, (nint)(&beneath), 0), "landlock_add_rule", rule.Path);
        }
        finally
        {
            _ = LibC.Close(file);
        }
    }
}
