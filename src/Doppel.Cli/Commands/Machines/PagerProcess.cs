using System.Diagnostics;
using System.Text.Json;
using Doppel.Api;
using Doppel.Host.Memory;
using Doppel.Machine.Memory;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Migration.PostCopy;

namespace Doppel.Cli.Commands.Machines;

/// <summary>The process that brings an arriving machine's last pages (<see cref="PagerWorker"/>), as the machine's process sees it.</summary>
internal sealed class PagerProcess : IPager, IDisposable
{
    private readonly Process _process;
    private readonly PageFaultDescriptor _faults;
    private readonly (string Name, Guid Id) _arrival;
    private readonly TaskCompletionSource _completed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private volatile bool _isDisposed;

    private PagerProcess(Process process, PageFaultDescriptor faults, MigrationAddress address, string name)
    {
        _arrival = (name, address.Id);
        _process = process;
        _faults = faults;
        Address = address;
    }

    /// <inheritdoc/>
    public MigrationAddress Address { get; }

    /// <inheritdoc/>
    public Task Completed => _completed.Task;

    /// <summary>True when the machine depends on it.</summary>
    internal bool HasBegun { get; private set; }

    /// <summary>Starts it.</summary>
    /// <param name="name">The machine.</param>
    /// <param name="id">The migration.</param>
    /// <param name="address">The address of this host to listen on; null for all.</param>
    /// <param name="faults">This process's page faults; owned.</param>
    /// <exception cref="IOException">It does not start.</exception>
    internal static async Task<PagerProcess> StartAsync(string name, Guid id, string? address, PageFaultDescriptor faults)
    {
        var info = new ProcessStartInfo(Environment.ProcessPath!, [WorkerCommand.Name, name, "--pager"]) { RedirectStandardInput = true, RedirectStandardOutput = true };
        Process process = Process.Start(info) ?? throw new IOException("the pager does not start");
        var order = new PagerOrder(id, address, faults.Descriptor, Environment.ProcessId);
        await process.StandardInput.WriteAsync(JsonSerializer.Serialize(order, ApiJson.Compact.PagerOrder) + "\n").ConfigureAwait(false);
        await process.StandardInput.FlushAsync().ConfigureAwait(false);
        string line = await process.StandardOutput.ReadLineAsync().ConfigureAwait(false) ?? throw new IOException("the pager does not start");
        return new PagerProcess(process, faults, JsonSerializer.Deserialize(line, ApiJson.Default.MigrationAddress)!, name);
    }

    /// <inheritdoc/>
    public async Task BeginAsync(GuestMemory memory, PageSet pages)
    {
        IReadOnlyList<LateRange> ranges = memory.Await(pages, _faults);
        HasBegun = true;
        await _process.StandardInput.WriteAsync(JsonSerializer.Serialize(PagedMemory.Of(ranges, pages), ApiJson.Compact.PagedMemory) + "\n").ConfigureAwait(false);
        await _process.StandardInput.FlushAsync().ConfigureAwait(false);
        if (await _process.StandardOutput.ReadLineAsync().ConfigureAwait(false) != PagerWorker.Begun)
            throw new IOException("the pager has ended");
        _ = AwaitEndAsync();
    }

    /// <summary>Lets it go; one on which the machine depends ends it.</summary>
    public void Dispose()
    {
        if (_isDisposed)
            return;
        _isDisposed = true;
        _process.StandardInput.Close();
        _process.Dispose();
        _faults.Dispose();
    }

    // When it fails it ends this process; when it was killed, this process has to end itself before a thread that waits for a page holds it up.
    private async Task AwaitEndAsync()
    {
        string? said;
        try
        {
            said = await _process.StandardOutput.ReadLineAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            said = null;
        }

        if (said == PagerWorker.Done)
            _completed.SetResult();
        else if (!_isDisposed)
            PagerWorker.EndMachine(_arrival.Name, _arrival.Id, Environment.ProcessId, "the process that places it was killed");
    }
}
