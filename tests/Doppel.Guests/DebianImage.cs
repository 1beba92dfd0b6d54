using Doppel.Vmm.Images;

namespace Doppel.Guests;

/// <summary>The default guest from the user's cache; made on first use.</summary>
public sealed class DebianImage : IAsyncLifetime
{
    public GuestImage Image { get; private set; } = null!;

    public async Task InitializeAsync()
    {
        ImageStore store = ImageStore.ForUser();
        Image = store.Find(BusyboxImageBuilder.ImageName) ?? await new BusyboxImageBuilder(store).BuildAsync(
            directory => new AptPackageSource(Path.Combine(directory, "apt")), new Silent(), CancellationToken.None);
    }

    public Task DisposeAsync() => Task.CompletedTask;

    private sealed class Silent : IProgress<ImageProgress>
    {
        public void Report(ImageProgress value)
        {
        }
    }
}
