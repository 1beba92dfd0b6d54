using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Doppel.Host.Events;
using Doppel.Host.Memory;

namespace Doppel.Host.Tests.Memory;

public sealed unsafe class PageFaultTests
{
    [Fact]
    public void Constants_and_layouts_are_those_of_the_C_headers()
    {
        long[] values = CProgram.Evaluate(
            ["sys/ioctl.h", "sys/syscall.h", "fcntl.h", "linux/userfaultfd.h"],
            [
                "SYS_userfaultfd", "O_NONBLOCK", "O_CLOEXEC", "O_RDWR", "UFFD_API", "UFFD_FEATURE_MISSING_SHMEM", "UFFDIO_REGISTER_MODE_MISSING",
                "_IO(UFFDIO, 0)", "UFFDIO_API", "UFFDIO_REGISTER", "UFFDIO_UNREGISTER", "UFFDIO_WAKE", "UFFDIO_COPY", "UFFD_EVENT_PAGEFAULT",
                "sizeof(struct uffdio_api)", "offsetof(struct uffdio_api, features)",
                "sizeof(struct uffdio_register)", "offsetof(struct uffdio_register, mode)",
                "sizeof(struct uffdio_copy)", "offsetof(struct uffdio_copy, src)", "offsetof(struct uffdio_copy, len)",
                "sizeof(struct uffd_msg)", "offsetof(struct uffd_msg, arg.pagefault.flags)", "offsetof(struct uffd_msg, arg.pagefault.address)",
            ]);
        Assert.Equal(
            [
                PageFaultCalls.UserFaultFd, PageFaultCalls.NonBlocking, PageFaultCalls.CloseOnExec, PageFaultCalls.ReadWrite, (long)PageFaultCalls.Version, (long)PageFaultCalls.SharedMemory, (long)PageFaultCalls.ModeMissing,
                (long)PageFaultCalls.NewDescriptor, (long)PageFaultCalls.Agree, (long)PageFaultCalls.Register, (long)PageFaultCalls.Unregister, (long)PageFaultCalls.Wake, (long)PageFaultCalls.Copy, PageFaultCalls.PageFault,
                Unsafe.SizeOf<PageFaultApi>(), Offset<PageFaultApi>(nameof(PageFaultApi.Features)),
                Unsafe.SizeOf<PageFaultRegistration>(), Offset<PageFaultRegistration>(nameof(PageFaultRegistration.Mode)),
                Unsafe.SizeOf<PageFaultCopy>(), Offset<PageFaultCopy>(nameof(PageFaultCopy.Source)), Offset<PageFaultCopy>(nameof(PageFaultCopy.Length)),
                Unsafe.SizeOf<PageFaultMessage>(), Offset<PageFaultMessage>(nameof(PageFaultMessage.Flags)), Offset<PageFaultMessage>(nameof(PageFaultMessage.Address)),
            ],
            values);
    }

    [Fact]
    public void A_page_that_is_touched_is_told_and_comes_when_it_is_placed()
    {
        const int Page = 4096;
        using PageFaultDescriptor? faults = PageFaultDescriptor.TryOpen(out string? refusal);
        if (faults is null)
        {
            Assert.Contains("would be right", refusal, StringComparison.Ordinal);
            return;
        }

        using var memory = new SharedMemory("doppel-test-late", 4 * Page);
        ulong start = (ulong)memory.Base;
        memory.Base[0] = 1;
        faults.Register(start, 4 * Page);
        Assert.Equal(1, memory.Base[0]);
        // By a system call, in the kernel: what waits there holds up nobody else here.
        using var pipe = new Pipe();
        var reader = new Thread(() => pipe.Write(memory.Base + (2 * Page), Page));
        reader.Start();
        var list = new PollList();
        _ = list.Add(faults.Descriptor, PollEvents.In);
        _ = list.Wait(60_000);
        Span<ulong> touched = stackalloc ulong[4];
        Assert.Equal(1, faults.Read(touched));
        Assert.Equal(start + (2 * Page), touched[0]);
        byte[] bytes = new byte[Page];
        bytes[5] = 7;
        Assert.True(faults.Place(touched[0], bytes));
        reader.Join();
        Assert.Equal(7, pipe.Read(Page)[5]);
        // It is there: what comes later does not change it.
        Assert.False(faults.Place(touched[0], new byte[Page]));
        Assert.Equal(7, memory.Base[(2 * Page) + 5]);
        Assert.Equal(0, faults.Read(touched));
        faults.Unregister(start, 4 * Page);
        Assert.Equal(0, memory.Base[Page]);
    }

    private static long Offset<T>(string field) => (long)Marshal.OffsetOf<T>(field);

    private sealed class Pipe : IDisposable
    {
        private readonly System.IO.Pipes.AnonymousPipeServerStream _in = new(System.IO.Pipes.PipeDirection.In);
        private readonly System.IO.Pipes.AnonymousPipeClientStream _out;

        internal Pipe() => _out = new System.IO.Pipes.AnonymousPipeClientStream(System.IO.Pipes.PipeDirection.Out, _in.ClientSafePipeHandle);

        internal void Write(byte* bytes, int count) => _out.Write(new ReadOnlySpan<byte>(bytes, count));

        internal byte[] Read(int count)
        {
            byte[] bytes = new byte[count];
            _in.ReadExactly(bytes);
            return bytes;
        }

        public void Dispose()
        {
            _out.Dispose();
            _in.Dispose();
        }
    }
}
