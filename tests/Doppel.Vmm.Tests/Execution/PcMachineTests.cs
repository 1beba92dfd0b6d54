using Doppel.Devices.Console;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.State;
using Doppel.Machine.Time;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Execution;
using Xunit.Abstractions;

namespace Doppel.Vmm.Tests.Execution;

public sealed class PcMachineTests(ITestOutputHelper output)
{
    [Fact]
    public void Every_part_with_state_has_a_section_of_its_own_name()
    {
        using var machine = new RunningMachine();
        string[] names = [.. machine.Pc.Sections.Select(section => section.SectionName)];
        Assert.Equal(names.Length, names.Distinct(StringComparer.Ordinal).Count());
        string[] expected =
        [
            "clock", "cpu0", "pic", "pit", "rtc", "serial0", "serial1", "i8042", "port92", "port61", "pci-host", "pci-isa", "reset-control", "acpi-pm", "ioapic", "lapic0",
        ];
        Assert.Superset(expected.ToHashSet(), names.ToHashSet());
        // The order is what restores rely on.
        Assert.Equal("clock", names[0]);
        Assert.Equal(["pic", "ioapic", "lapic0"], names[^3..]);
    }

    [Fact]
    public void A_machine_saved_at_any_instruction_goes_on_in_another_as_if_nothing_had_happened()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var whole = new RunningMachine();
        ulong length = whole.Run(ulong.MaxValue);
        Assert.Equal(VmExitKind.PowerOff, whole.Pc.EndReason?.Kind);
        Assert.Equal(TickingGuest.Ticks, whole.Serial.OutputLength);
        for (int i = 0; i < 10; i++)
        {
            using var first = new RunningMachine();
            _ = first.Run((ulong)random.NextInt64(1, (long)length - 10));
            Assert.Null(first.Pc.EndReason);
            using var second = new RunningMachine();
            second.TakeOver(first);
            Assert.Equal(first.Save(), second.Save());
            _ = second.Run(ulong.MaxValue);
            Assert.Equal(VmExitKind.PowerOff, second.Pc.EndReason?.Kind);
            Assert.Equal(whole.Serial.Text, first.Serial.Text + second.Serial.Text);
            Assert.Equal(whole.Stamps(), second.Stamps());
            Assert.Equal(whole.Save(), second.Save());
        }
    }

    [Fact]
    public void The_8254_and_the_time_stamp_counter_agree_on_the_time()
    {
        using var machine = new RunningMachine();
        _ = machine.Run(ulong.MaxValue);
        uint[] stamps = machine.Stamps();
        double ticks = stamps[^1] - stamps[1];
        double expected = (stamps.Length - 2) * (double)TickingGuest.Divisor / 1193182 * machine.Pc.Clock.TscFrequency;
        Assert.InRange(ticks / expected, 0.999, 1.001);
    }

    /// <summary>A PC on deterministic time with an interpreter, stepped by the test.</summary>
    private sealed class RunningMachine : IDisposable
    {
        private readonly Interpreter _engine;
        private readonly InstructionClock _clock;
        private readonly VirtualCpu _cpu;
        private ulong _accounted;

        internal RunningMachine()
        {
            var spec = new MachineSpec { Kernel = "ticking", Memory = 16 << 20, Clock = ClockKind.Instructions, TestDevices = true };
            Pc = new PcMachine(spec, new MachineConnections(), Serial, new MachineBoot { Kernel = TickingGuest.Create() });
            _cpu = Pc.Cpus[0];
            _clock = (InstructionClock)Pc.Clock;
            _engine = new Interpreter(_cpu);
            _clock.InFlight = () => _cpu.GetInstructionsRetired() + _cpu.InstructionsInFlight - _accounted;
            _clock.DeadlineMoved = () => _cpu.Signal(PendingEvents.Kick);
        }

        internal PcMachine Pc { get; }

        internal MemoryConsole Serial { get; } = new();

        public void Dispose()
        {
            _engine.Dispose();
            Pc.Dispose();
        }

        /// <summary>Runs until the guest ends or so many instructions more have retired; returns how many did.</summary>
        internal ulong Run(ulong instructions)
        {
            _accounted = _cpu.GetInstructionsRetired();
            ulong start = _accounted;
            while (Pc.EndReason is null && _accounted - start < instructions)
            {
                ulong budget = Math.Min(_clock.InstructionsUntilNextDeadline, instructions - (_accounted - start));
                if (budget != 0)
                {
                    ExitReason reason = _engine.Run(budget);
                    ulong retired = _cpu.GetInstructionsRetired() - _accounted;
                    _accounted += retired;
                    _clock.Advance(retired);
                    if (reason == ExitReason.Halt && Pc.EndReason is null)
                        Assert.True(_clock.SkipToNextDeadline());
                }

                _ = _clock.RunDue();
            }

            return _accounted - start;
        }

        /// <summary>The sections as text: name and bytes.</summary>
        internal string[] Save()
        {
            lock (Pc.IoLock)
                return [.. Pc.Sections.Select(section => $"{section.SectionName} {Convert.ToHexString(Save(section))}")];
        }

        internal uint[] Stamps()
        {
            byte[] bytes = new byte[4 * TickingGuest.Ticks];
            Assert.True(Pc.Memory.TryRead(TickingGuest.Stamps, bytes));
            return [.. Enumerable.Range(0, TickingGuest.Ticks).Select(i => BitConverter.ToUInt32(bytes, 4 * i))];
        }

        internal void TakeOver(RunningMachine other)
        {
            byte[] page = new byte[4096];
            for (ulong address = 0; address < Pc.Memory.LowRamSize; address += 4096)
            {
                Assert.True(other.Pc.Memory.TryRead(address, page));
                // A page of ROM is the same in both.
                _ = Pc.Memory.TryWrite(address, page);
            }

            lock (Pc.IoLock)
            {
                foreach ((IStateful from, IStateful to) in other.Pc.Sections.Zip(Pc.Sections))
                {
                    var reader = new StateReader(Save(from));
                    to.Restore(reader, from.SectionVersion);
                    Assert.True(reader.IsAtEnd, $"{to.SectionName} was not read to its end");
                }
            }

            _accounted = _cpu.GetInstructionsRetired();
        }

        private static byte[] Save(IStateful section)
        {
            var writer = new StateWriter();
            section.Save(writer);
            return writer.ToArray();
        }
    }
}
