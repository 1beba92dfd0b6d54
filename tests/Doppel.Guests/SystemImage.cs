using Doppel.Vmm;
using Doppel.Vmm.Images;
using Doppel.Vmm.Machines;

namespace Doppel.Guests;

/// <summary>The whole Debian from the user's cache, made on first use, and machines of it that the tests throw away.</summary>
public sealed class SystemImage : IAsyncLifetime
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-system-").FullName;

    internal GuestImage Image { get; private set; } = null!;

    internal MachineStore Store => new(new StateDirectory(_directory));

    public async Task InitializeAsync()
    {
        ImageStore store = ImageStore.ForUser();
        Image = store.Find(DebianImageBuilder.ImageName) ?? await new DebianImageBuilder(store).BuildAsync(new DebianImageOptions(), new Progress<ImageProgress>(), CancellationToken.None);
    }

    public Task DisposeAsync()
    {
        Directory.Delete(_directory, recursive: true);
        return Task.CompletedTask;
    }

    /// <summary>A machine that has never run.</summary>
    internal KeptMachine NewMachine() => Store.Create($"m{Guid.NewGuid():N}"[..12], Image);
}
