using Doppel.Machine.Cpu.Debugging;
using Doppel.Vmm.Debugging;

namespace Doppel.Vmm.Tests.Debugging;

/// <summary>A target of two vCPUs whose registers are zero and whose memory is 64 bytes at 0; it notes what it is told.</summary>
internal sealed class FakeTarget : IDebugTarget
{
    private readonly byte[] _memory = new byte[64];

    public event Action? Changed
    {
        add { }
        remove { }
    }

    internal List<string> Log { get; } = [];

    public int CpuCount => 2;

    public bool HasAvx => true;

    public bool HasEnded => false;

    public bool HasStop => false;

    public bool StepsIntoInterrupts { get; set; }

    public Task StopAsync() => Task.CompletedTask;

    public DebugStop? TakeStop() => null;

    public void Resume(IReadOnlyList<CpuAction> actions) => Log.Add(string.Join(',', actions));

    public void Detach() => Log.Add("detach");

    public void Kill() => Log.Add("kill");

    public Task ResetAsync() => Task.CompletedTask;

    public void ReadRegister(int cpu, CpuRegister register, Span<byte> destination) => destination[..register.Size].Clear();

    public bool TryWriteRegister(int cpu, CpuRegister register, ReadOnlySpan<byte> source) => true;

    public int ReadMemory(int cpu, ulong address, Span<byte> destination, bool isPhysical)
    {
        int count = (int)Math.Min((ulong)destination.Length, address < 64 ? 64 - address : 0);
        _memory.AsSpan((int)Math.Min(address, 64), count).CopyTo(destination);
        return count;
    }

    public int WriteMemory(int cpu, ulong address, ReadOnlySpan<byte> source, bool isPhysical)
    {
        int count = (int)Math.Min((ulong)source.Length, address < 64 ? 64 - address : 0);
        source[..count].CopyTo(_memory.AsSpan((int)Math.Min(address, 64)));
        return count;
    }

    public ulong? Translate(int cpu, ulong address) => address;

    public void Add(Breakpoint breakpoint) => Log.Add($"+{breakpoint.Kind}:{breakpoint.Address:x}:{breakpoint.Length}");

    public void Remove(Breakpoint breakpoint) => Log.Add($"-{breakpoint.Kind}:{breakpoint.Address:x}:{breakpoint.Length}");

    public string Describe(int cpu) => $"vCPU {cpu}";
}
