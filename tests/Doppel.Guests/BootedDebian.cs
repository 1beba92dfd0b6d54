namespace Doppel.Guests;

/// <summary>One booted guest that the tests of a class share.</summary>
public sealed class BootedDebian : IAsyncLifetime
{
    private readonly DebianImage _image = new();

    internal DebianGuest Guest { get; private set; } = null!;

    public async Task InitializeAsync()
    {
        await _image.InitializeAsync();
        Guest = await DebianGuest.BootAsync(_image.Image);
    }

    public async Task DisposeAsync()
    {
        if (Guest is not null)
            await Guest.DisposeAsync();
    }
}
