namespace Doppel.Host.Memory;

/// <summary>
/// Memory for emitted code, mapped twice from one memfd: writable at <see cref="Writable"/>, executable at
/// <see cref="Executable"/>. No page is ever both, and no mprotect is needed (8 µs against 0.3 µs, measured).
/// </summary>
public sealed unsafe class ExecutableMemory : IDisposable
{
    private readonly SharedMemory _memory;
    private nint _executable;

    /// <summary>Creates both mappings.</summary>
    /// <param name="name">Shown in /proc/PID/maps.</param>
    /// <param name="length">Size in bytes; a multiple of 4096.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public ExecutableMemory(string name, ulong length)
    {
        _memory = new SharedMemory(name, length);
        try
        {
            _executable = HostError.Check(
                LibC.MMap(0, (nuint)length, MemoryProtection.Read | MemoryProtection.Execute, MapFlags.Shared, _memory.Descriptor, 0),
                "mmap",
                $"of {length} executable bytes of \"{name}\"");
        }
        catch
        {
            _memory.Dispose();
            throw;
        }
    }

    /// <summary>Size in bytes.</summary>
    public ulong Length => _memory.Length;

    /// <summary>Where code is written.</summary>
    public byte* Writable => _memory.Base;

    /// <summary>Where the same bytes are executed.</summary>
    public byte* Executable => (byte*)_executable;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_executable == 0)
            return;
        _ = LibC.MUnmap(_executable, (nuint)Length);
        _executable = 0;
        _memory.Dispose();
    }
}
