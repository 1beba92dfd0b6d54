using Doppel.Host;
using Doppel.Host.Kvm;
using Doppel.Host.Threads;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Kvm;

/// <summary>
/// Whether a host's KVM can run whole systems. That there is a device says little: without VT-x or AMD-V below it, KVM may
/// emulate every instruction, of which its emulator has few. So a guest of a few instructions is run in 64-bit mode, with
/// paging, a vector instruction, a privileged one, and a loop that no emulator is through in time.
/// </summary>
public static unsafe class KvmProbe
{
    private const int NoEntry = 2;
    private const int NoAccess = 13;
    private const int NotPermitted = 1;
    private const byte Port = 0x80;
    private const byte Answer = 0x84;

    // A processor needs some 50 µs for the loop, one that is itself emulated a millisecond; KVM's emulator a tenth of a second.
    private const int Iterations = 100_000;
    private static readonly TimeSpan LoopLimit = TimeSpan.FromMilliseconds(40);
    private static readonly TimeSpan GuestLimit = TimeSpan.FromSeconds(1);

    private static readonly (KvmCapability Capability, string Name)[] Needed =
    [
        (KvmCapability.UserMemory, "KVM_CAP_USER_MEMORY"),
        (KvmCapability.ExtendedCpuid, "KVM_CAP_EXT_CPUID"),
        (KvmCapability.UserNmi, "KVM_CAP_USER_NMI"),
        (KvmCapability.VcpuEvents, "KVM_CAP_VCPU_EVENTS"),
        (KvmCapability.DebugRegisters, "KVM_CAP_DEBUGREGS"),
        (KvmCapability.Xsave, "KVM_CAP_XSAVE"),
        (KvmCapability.Xcrs, "KVM_CAP_XCRS"),
        (KvmCapability.GetTscKilohertz, "KVM_CAP_GET_TSC_KHZ"),
        (KvmCapability.ReadOnlyMemory, "KVM_CAP_READONLY_MEM"),
        (KvmCapability.SynchronizedRegisters, "KVM_CAP_SYNC_REGS"),
        (KvmCapability.ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
        (KvmCapability.UserSpaceMsr, "KVM_CAP_X86_USER_SPACE_MSR"),
        (KvmCapability.MsrFilter, "KVM_CAP_X86_MSR_FILTER"),
        (KvmCapability.SystemRegisters2, "KVM_CAP_SREGS2"),
    ];

    /// <summary>Looks whether KVM serves; takes a few milliseconds.</summary>
    /// <param name="path">The device.</param>
    /// <returns>Null when it serves; otherwise one line that says why it doesn't and, where something can be done, what.</returns>
    public static string? FindObstacle(string path = KvmDevice.DefaultPath)
    {
        try
        {
            using var device = new KvmDevice(path);
            string[] missing = [.. Needed.Where(needed => device.Check(needed.Capability) == 0).Select(needed => needed.Name)];
            if (missing.Length != 0)
                return $"this host's KVM lacks {string.Join(", ", missing)}; Linux 5.14 or later would be right";
            return RunGuest(device);
        }
        catch (HostException e)
        {
            return Explain(path, e);
        }
    }

    /// <summary>What a refusal of the kernel's means.</summary>
    internal static string Explain(string path, HostException error) => (error.Call, error.Errno) switch
    {
        ("open", NoEntry) => $"this host has no {path}: its kernel has no KVM, or virtualization is switched off in its firmware",
        ("open", NoAccess or NotPermitted) => $"this user may not use {path}; membership in the group that owns it (often kvm) would be right",
        _ => $"{path} is no usable KVM: {error.Message}",
    };

    private static string? RunGuest(KvmDevice device)
    {
        const string Emulated = "this host's KVM has no hardware virtualization below it (neither VT-x nor AMD-V is offered to this system) and only emulates";
        using var guest = new KvmTrialGuest(device, WriteLoop);
        // A busy host's other threads say nothing about its KVM.
        TimeSpan begin = ThreadTime.Used;
        TimeSpan loop = TimeSpan.Zero;
        int answers = 0;
        while (true)
        {
            if (!guest.Run(GuestLimit))
                return $"{Emulated}: a guest of {Iterations} turns of a loop has not ended in a second";
            KvmRun* run = guest.Vcpu.State;
            if (run->ExitReason == KvmExit.Io && answers < 2)
            {
                if (run->Io.Port != Port || *((byte*)run + run->Io.DataOffset) != Answer)
                    return "this host's KVM computes wrongly: a vector instruction gave another result than it must";
                if (answers++ == 1)
                    loop = ThreadTime.Used - begin;
                begin = ThreadTime.Used;
                continue;
            }

            if (run->ExitReason == KvmExit.Halt && answers == 2)
                return loop <= LoopLimit ? null : $"{Emulated}: {Iterations} turns of a loop took {loop.TotalMilliseconds:0} ms";
            return run->ExitReason switch
            {
                KvmExit.InternalError => $"{Emulated}: it can't execute 64-bit code with paging and vector instructions",
                KvmExit.FailEntry => $"this host's processor refuses to enter a guest in 64-bit mode (reason 0x{run->HardwareReason:x})",
                _ => $"this host's KVM can't run 64-bit code: it stopped with exit {(uint)run->ExitReason} ({run->ExitReason})",
            };
        }
    }

    private static void WriteLoop(Assembler code)
    {
        code.mov(eax, Answer / 2);
        code.movq(xmm0, rax);
        code.paddq(xmm0, xmm0);
        code.movq(rax, xmm0);
        code.@out(Port, al);
        code.mov(rcx, cr3);
        code.mov(cr3, rcx);
        code.mov(ecx, Iterations);
        Label turn = code.CreateLabel();
        code.Label(ref turn);
        code.dec(ecx);
        code.jne(turn);
        code.@out(Port, al);
        code.hlt();
    }
}
