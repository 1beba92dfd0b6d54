using Doppel.Host.Threads;

namespace Doppel.Host.Tests.Threads;

public sealed class ThreadTimeTests
{
    [Fact]
    public void The_clock_is_that_of_the_C_header() => Assert.Equal([ThreadTime.Clock], CProgram.Evaluate(["time.h"], ["CLOCK_THREAD_CPUTIME_ID"]));

    [Fact]
    public void It_grows_with_work()
    {
        TimeSpan begin = ThreadTime.Used;
        while (ThreadTime.Used - begin < TimeSpan.FromMilliseconds(1))
            Thread.SpinWait(1000);
        Assert.True(ThreadTime.Used > begin);
    }
}
