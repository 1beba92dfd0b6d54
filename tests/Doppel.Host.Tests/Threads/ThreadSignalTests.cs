using System.Runtime.InteropServices;
using Doppel.Host.Events;
using Doppel.Host.Threads;

namespace Doppel.Host.Tests.Threads;

public sealed unsafe class ThreadSignalTests
{
    [Fact]
    public void The_structure_is_that_of_the_C_header()
    {
        long[] theirs = CProgram.Evaluate(
            ["signal.h"],
            ["sizeof(struct sigaction)", "offsetof(struct sigaction, sa_handler)", "offsetof(struct sigaction, sa_mask)", "offsetof(struct sigaction, sa_flags)", "offsetof(struct sigaction, sa_restorer)", "SIGRTMIN < 40 && 40 <= SIGRTMAX"]);
        long[] ours = [sizeof(SignalAction), Offset(nameof(SignalAction.Handler)), Offset(nameof(SignalAction.Mask)), Offset(nameof(SignalAction.Flags)), Offset(nameof(SignalAction.Restorer)), ThreadSignal.Number == 40 ? 1 : 0];
        Assert.Equal(theirs, ours);
    }

    [Fact]
    public void A_waiting_call_ends_and_the_thread_lives()
    {
        using var started = new ManualResetEventSlim();
        int number = 0;
        bool isOver = false;
        var thread = new Thread(() =>
        {
            number = ThreadSignal.Prepare();
            using var never = new EventSignal();
            var list = new PollList();
            _ = list.Add(never.Descriptor, PollEvents.In);
            started.Set();
            Assert.False(list.Wait(-1));
            Volatile.Write(ref isOver, true);
        });
        thread.Start();
        started.Wait();
        // The first may come before the call.
        while (!Volatile.Read(ref isOver))
        {
            ThreadSignal.Interrupt(number);
            _ = thread.Join(1);
        }

        thread.Join();
        ThreadSignal.Interrupt(number);
    }

    private static long Offset(string field) => Marshal.OffsetOf<SignalAction>(field);
}
