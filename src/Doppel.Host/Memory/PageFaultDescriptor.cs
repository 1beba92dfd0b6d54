using System.Runtime.InteropServices;

namespace Doppel.Host.Memory;

/// <summary>
/// Faults of a process on pages of shared memory that nobody has filled (userfaultfd(2)): whoever touches one waits until the page
/// is placed, the kernel on the process's behalf too. The memory is that of the process that has opened the descriptor; another
/// that has inherited it can read the faults and place the pages.
/// </summary>
public sealed unsafe class PageFaultDescriptor : IDisposable
{
    private const int PageSize = 4096;

    private PageFaultDescriptor(int descriptor) => Descriptor = descriptor;

    /// <summary>The descriptor, to wait for; a program that this process starts inherits it.</summary>
    public int Descriptor { get; }

    /// <summary>Opens one for this process.</summary>
    /// <param name="refusal">Why the host has none for it, and what would be right; null when it has.</param>
    /// <returns>Null when it has none.</returns>
    public static PageFaultDescriptor? TryOpen(out string? refusal)
    {
        // Faults in the kernel, too: devices read and write guest memory by system calls. An ordinary user gets that by the
        // device, or when a sysctl says so.
        int control = LibC.Open(PageFaultCalls.Device, PageFaultCalls.ReadWrite | PageFaultCalls.CloseOnExec);
        int descriptor = -1;
        if (control >= 0)
        {
            descriptor = PageFaultCalls.Control(control, PageFaultCalls.NewDescriptor, (nuint)PageFaultCalls.NonBlocking);
            _ = LibC.Close(control);
        }

        if (descriptor < 0)
            descriptor = (int)PageFaultCalls.SystemCall(PageFaultCalls.UserFaultFd, PageFaultCalls.NonBlocking);
        if (descriptor < 0)
        {
            refusal = Marshal.GetLastPInvokeError() == PageFaultCalls.NoSuchCall
                ? "the host's kernel has no userfaultfd; one with CONFIG_USERFAULTFD would be right"
                : $"the host lets this user have no userfaultfd: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}; root, the right to open {PageFaultCalls.Device}, or the sysctl vm.unprivileged_userfaultfd=1 would be right";
            return null;
        }

        var api = new PageFaultApi { Version = PageFaultCalls.Version, Features = PageFaultCalls.SharedMemory };
        if (PageFaultCalls.Control(descriptor, PageFaultCalls.Agree, &api) != 0 || (api.Features & PageFaultCalls.SharedMemory) == 0)
        {
            _ = LibC.Close(descriptor);
            refusal = "the host's kernel knows no userfaultfd of shared memory; Linux 4.11 or later would be right";
            return null;
        }

        refusal = null;
        return new PageFaultDescriptor(descriptor);
    }

    /// <summary>Takes over one that this process has inherited.</summary>
    public static PageFaultDescriptor Inherited(int descriptor) => new(descriptor);

    /// <summary>Whoever touches a page of a range from now on that is not filled waits for <see cref="Place"/>.</summary>
    /// <param name="address">First byte, a multiple of 4096, in shared memory of the process that has opened this.</param>
    /// <param name="length">Bytes; a multiple of 4096.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public void Register(ulong address, ulong length)
    {
        var registration = new PageFaultRegistration { Range = new PageFaultRange { Start = address, Length = length }, Mode = PageFaultCalls.ModeMissing };
        _ = HostError.Check(PageFaultCalls.Control(Descriptor, PageFaultCalls.Register, &registration), "ioctl", $"UFFDIO_REGISTER of {length} bytes");
    }

    /// <summary>Ends it: pages of the range that are not filled are zeros. Whoever waits goes on. What is not mapped any more is passed over.</summary>
    public void Unregister(ulong address, ulong length)
    {
        var range = new PageFaultRange { Start = address, Length = length };
        _ = PageFaultCalls.Control(Descriptor, PageFaultCalls.Unregister, &range);
    }

    /// <summary>Fills a page, unless it is filled, and lets those go on that wait for it.</summary>
    /// <param name="address">The page.</param>
    /// <param name="bytes">4096 bytes.</param>
    /// <returns>False when the page is filled already, or not mapped any more.</returns>
    /// <exception cref="HostException">The host refuses: it has no memory, or the process is gone.</exception>
    public bool Place(ulong address, ReadOnlySpan<byte> bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(bytes.Length, PageSize);
        fixed (byte* source = bytes)
        {
            var copy = new PageFaultCopy { Destination = address, Source = (ulong)source, Length = PageSize };
            while (PageFaultCalls.Control(Descriptor, PageFaultCalls.Copy, &copy) != 0)
            {
                int error = Marshal.GetLastPInvokeError();
                if (error == PageFaultCalls.Exists)
                {
                    Wake(address);
                    return false;
                }

                if (error == PageFaultCalls.NoEntry)
                    return false;
                // The kernel is changing the process's mappings at this moment, and says so instead of waiting.
                if (error != PageFaultCalls.TryAgain)
                    HostError.Throw("ioctl", $"UFFDIO_COPY to 0x{address:x}");
            }
        }

        return true;
    }

    /// <summary>Lets those go on that wait for a page.</summary>
    public void Wake(ulong address)
    {
        var range = new PageFaultRange { Start = address, Length = PageSize };
        _ = PageFaultCalls.Control(Descriptor, PageFaultCalls.Wake, &range);
    }

    /// <summary>Reads what has been touched since; doesn't wait.</summary>
    /// <param name="addresses">Where addresses of pages go.</param>
    /// <returns>How many there are.</returns>
    public int Read(Span<ulong> addresses)
    {
        Span<PageFaultMessage> messages = stackalloc PageFaultMessage[64];
        nint count;
        fixed (PageFaultMessage* first = messages)
            count = LibC.Read(Descriptor, first, (nuint)(Math.Min(messages.Length, addresses.Length) * sizeof(PageFaultMessage)));
        int found = 0;
        for (int i = 0; i < count / sizeof(PageFaultMessage); i++)
        {
            if (messages[i].Event == PageFaultCalls.PageFault)
                addresses[found++] = messages[i].Address & ~(ulong)(PageSize - 1);
        }

        return found;
    }

    /// <inheritdoc/>
    public void Dispose() => _ = LibC.Close(Descriptor);
}
