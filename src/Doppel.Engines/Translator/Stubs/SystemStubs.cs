using Doppel.Machine.Cpu;

namespace Doppel.Engines.Translator;

/// <summary>The stubs of instructions and events that change privilege.</summary>
internal sealed unsafe class SystemStubs
{
    /// <summary>Emits them.</summary>
    /// <param name="code">Where, in the writable mapping.</param>
    /// <param name="stubs">Exit and look-up.</param>
    /// <param name="cpu">The vCPU, for its model and its clock.</param>
    internal SystemStubs(ref Emitter code, Stubs stubs, VirtualCpu cpu)
    {
        ReadTsc = code.Position;
        EmitReadTsc(ref code);
        Calls = new SystemCallStubs(ref code, stubs, cpu.Model.IsAmd);
        PageFault = new PageFaultStub(ref code, stubs).Entry;
        Iret = new InterruptReturnStub(ref code, stubs, cpu.Clock.IsDeterministic).Entry;
    }

    /// <summary>ulong ReadTsc(): RDTSC, both halves in RAX. In the writable mapping.</summary>
    internal byte* ReadTsc { get; }

    /// <summary>SYSCALL and SYSRET.</summary>
    internal SystemCallStubs Calls { get; }

    /// <summary>Delivery of a page fault (<see cref="PageFaultStub.Entry"/>).</summary>
    internal byte* PageFault { get; }

    /// <summary>IRET with REX.W at CPL 0. In the writable mapping.</summary>
    internal byte* Iret { get; }

    /// <summary>Emits <see cref="ReadTsc"/>.</summary>
    internal static void EmitReadTsc(ref Emitter code)
    {
        // rdtsc; shl rdx, 32; or rax, rdx; ret
        ReadOnlySpan<byte> bytes = [0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3];
        foreach (byte b in bytes)
            code.Byte(b);
    }
}
