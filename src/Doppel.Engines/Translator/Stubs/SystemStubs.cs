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
        Calls = new SystemCallStubs(ref code, stubs, cpu.Model.IsAmd);
        PageFault = new PageFaultStub(ref code, stubs).Entry;
        Iret = new InterruptReturnStub(ref code, stubs, cpu.Clock.IsDeterministic).Entry;
    }

    /// <summary>SYSCALL and SYSRET.</summary>
    internal SystemCallStubs Calls { get; }

    /// <summary>Delivery of a page fault (<see cref="PageFaultStub.Entry"/>).</summary>
    internal byte* PageFault { get; }

    /// <summary>IRET with REX.W at CPL 0. In the writable mapping.</summary>
    internal byte* Iret { get; }
}
