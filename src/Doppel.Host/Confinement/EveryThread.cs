using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using Doppel.Host.Events;
using Doppel.Host.Memory;
using Doppel.Host.Threads;

namespace Doppel.Host.Confinement;

/// <summary>
/// Makes every thread of this process do a system call that concerns only the thread that does it, as the C library does for
/// setuid(2) (nptl(7)): each gets a signal, whose handler is a few emitted instructions, since no managed code may run in one.
/// </summary>
internal static unsafe class EveryThread
{
    /// <summary>The signal: a real-time one beside that of <see cref="ThreadSignal"/>.</summary>
    internal const int Signal = ThreadSignal.Number + 1;

    /// <summary>SA_RESTART: calls in which threads wait go on.</summary>
    internal const int RestartCalls = 0x10000000;

    internal const int NotPermitted = 1, TimedOut = 110;

    private const int Patience = 100, MostTries = 50;

    /// <summary>Does it on all threads, those that are made meanwhile included, and on the caller's last.</summary>
    /// <param name="number">The call's number, of x86-64.</param>
    /// <param name="argument">Its first argument; the second is 0.</param>
    /// <param name="name">Its name, for messages.</param>
    /// <exception cref="HostException">A thread was refused, or doesn't answer: some have done it then, others not.</exception>
    internal static void Do(int number, int argument, string name)
    {
        using var done = new EventSignal();
        // Never freed: a thread that has answered may still be on its way out of it.
        var code = new ExecutableMemory("doppel-confine", 4096);
        Emit(new Span<byte>(code.Writable, 4096), number, argument, done.Descriptor);
        var action = new SignalAction { Handler = (nint)code.Executable, Flags = RestartCalls };
        SignalAction before;
        _ = HostError.Check(ThreadCalls.SetAction(Signal, &action, &before), "sigaction", $"of signal {Signal}");
        try
        {
            int own = ThreadCalls.GetThread();
            var answered = new HashSet<int> { own };
            // A thread that is made while they are listed may be missing in the list, but not in the next.
            for (int complete = 0; complete < 2;)
            {
                int[] others = [.. List().Where(answered.Add)];
                complete = others.Length == 0 ? complete + 1 : 0;
                foreach (int thread in others)
                    Ask(thread, done, name);
            }

            Ask(own, done, name);
        }
        finally
        {
            _ = ThreadCalls.SetAction(Signal, &before, null);
        }
    }

    private static IEnumerable<int> List() => Directory.GetDirectories("/proc/self/task").Select(path => int.Parse(Path.GetFileName(path), CultureInfo.InvariantCulture));

    private static void Ask(int thread, EventSignal done, string name)
    {
        if (ThreadCalls.Signal(Environment.ProcessId, thread, Signal) == -1)
        {
            if (Marshal.GetLastPInvokeError() != Processes.HostProcess.NoSuchProcess)
                HostError.Throw("tgkill", $"of thread {thread}");
            return;
        }

        var wait = new PollList();
        _ = wait.Add(done.Descriptor, PollEvents.In);
        ulong answer = 0;
        for (int tries = 0; LibC.Read(done.Descriptor, &answer, sizeof(ulong)) != sizeof(ulong); tries++)
        {
            // One that has ended before it answered does nothing any more.
            if (!Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/self/task/{thread}")))
                return;
            if (tries == MostTries)
                throw new HostException(name, TimedOut, $"of thread {thread}, which does not answer a signal");
            _ = wait.Wait(Patience);
        }

        if (answer != 1)
            throw new HostException(name, NotPermitted, $"of thread {thread}");
    }

    // Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
    private static void Emit(Span<byte> code, int number, int argument, int descriptor)
    {
        ReadOnlySpan<byte> form =
        [
            0xB8, 0, 0, 0, 0, // 0: mov eax, number
            0xBF, 0, 0, 0, 0, // 5: mov edi, argument
            0x31, 0xF6, // xor esi, esi
            0x0F, 0x05, // syscall
            0xBA, 1, 0, 0, 0, // mov edx, 1
            0x48, 0x85, 0xC0, // test rax, rax
            0x74, 0x04, // jz: it was done
            0x48, 0xC1, 0xE2, 0x20, // shl rdx, 32
            0x52, // push rdx
            0xBF, 0, 0, 0, 0, // 29: mov edi, descriptor
            0x48, 0x89, 0xE6, // mov rsi, rsp
            0xBA, 8, 0, 0, 0, // mov edx, 8
            0xB8, 1, 0, 0, 0, // mov eax, write
            0x0F, 0x05, // syscall
            0x5A, // pop rdx
            0xC3, // ret
        ];
        form.CopyTo(code);
        BinaryPrimitives.WriteInt32LittleEndian(code[1..], number);
        BinaryPrimitives.WriteInt32LittleEndian(code[6..], argument);
        BinaryPrimitives.WriteInt32LittleEndian(code[30..], descriptor);
    }
}
