using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Doppel.Host.Events;

namespace Doppel.Host.Tests.Events;

public sealed class EventTests
{
    [Fact]
    public void Constants_and_layout_are_those_of_the_C_headers()
    {
        long[] values = CProgram.Evaluate(
            ["poll.h", "sys/eventfd.h", "errno.h"],
            [
                "POLLIN", "POLLPRI", "POLLOUT", "POLLERR", "POLLHUP", "POLLNVAL", "EFD_NONBLOCK", "EFD_CLOEXEC", "EINTR",
                "sizeof(struct pollfd)", "offsetof(struct pollfd, fd)", "offsetof(struct pollfd, events)", "offsetof(struct pollfd, revents)", "sizeof(nfds_t)",
            ]);
        Assert.Equal(
            [
                (long)PollEvents.In, (long)PollEvents.Priority, (long)PollEvents.Out, (long)PollEvents.Error, (long)PollEvents.HangUp, (long)PollEvents.Invalid,
                EventFlags.NonBlocking, EventFlags.CloseOnExec, EventFlags.Interrupted,
                Unsafe.SizeOf<PollDescriptor>(), Offset(nameof(PollDescriptor.Descriptor)), Offset(nameof(PollDescriptor.Wanted)), Offset(nameof(PollDescriptor.Seen)), sizeof(ulong),
            ],
            values);
    }

    [Fact]
    public void A_signal_wakes_who_waits_as_often_as_it_is_set()
    {
        using var signal = new EventSignal();
        var list = new PollList();
        Assert.Equal(0, list.Add(signal.Descriptor, PollEvents.In));
        Assert.False(list.Wait(0));
        for (int i = 0; i < 3; i++)
        {
            var setter = new Thread(signal.Set);
            setter.Start();
            Assert.True(list.Wait(-1));
            setter.Join();
            Assert.Equal(PollEvents.In, list[0]);
            signal.Set();
            signal.Clear();
            Assert.False(list.Wait(0));
            Assert.Equal(PollEvents.None, list[0]);
        }
    }

    [Fact]
    public void A_list_grows_and_passes_over_negative_descriptors()
    {
        using var signal = new EventSignal();
        signal.Set();
        var list = new PollList();
        for (int i = 0; i < 100; i++)
            Assert.Equal(i, list.Add(i == 70 ? signal.Descriptor : -1, PollEvents.In));
        Assert.True(list.Wait(-1));
        Assert.Equal([70], Enumerable.Range(0, 100).Where(i => list[i] != PollEvents.None));
        list.Clear();
        Assert.Equal(0, list.Count);
        Assert.Equal(PollEvents.None, list[70]);
    }

    private static long Offset(string field) => (long)Marshal.OffsetOf<PollDescriptor>(field);
}
