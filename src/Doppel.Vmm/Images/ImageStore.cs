using System.Text.Json;

namespace Doppel.Vmm.Images;

/// <summary>The cache of guest images: one directory each. Images appear and disappear whole.</summary>
public sealed class ImageStore
{
    /// <summary>Opens a cache; nothing is created before it is needed.</summary>
    public ImageStore(string directory) => Root = directory;

    /// <summary>Where the images are.</summary>
    public string Root { get; }

    /// <summary>The user's cache: $XDG_CACHE_HOME/doppel/images, or ~/.cache/doppel/images (XDG Base Directory Specification 0.8).</summary>
    public static ImageStore ForUser()
    {
        string? cache = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        if (string.IsNullOrEmpty(cache) || !Path.IsPathRooted(cache))
            cache = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
        return new ImageStore(Path.Combine(cache, "doppel", "images"));
    }

    /// <summary>The images, by name. Directories without a readable manifest are left out.</summary>
    public IReadOnlyList<GuestImage> List()
    {
        if (!Directory.Exists(Root))
            return [];
        var images = new List<GuestImage>();
        foreach (string directory in Directory.EnumerateDirectories(Root).Order(StringComparer.Ordinal))
        {
            string name = Path.GetFileName(directory);
            if (!name.StartsWith('.') && Find(name) is GuestImage image)
                images.Add(image);
        }

        return images;
    }

    /// <summary>An image by name; null when the cache doesn't have it whole.</summary>
    /// <exception cref="ImageException">The name is no image name.</exception>
    public GuestImage? Find(string name)
    {
        string directory = DirectoryOf(name);
        try
        {
            using FileStream stream = File.OpenRead(Path.Combine(directory, ImageManifest.FileName));
            ImageManifest? manifest = JsonSerializer.Deserialize(stream, ImageJson.Default.ImageManifest);
            if (manifest is null || manifest.Format != ImageManifest.CurrentFormat)
                return null;
            return manifest.Files.All(f => new FileInfo(Path.Combine(directory, f.Name)) is { Exists: true } info && info.Length == f.Size)
                ? new GuestImage(directory, manifest)
                : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    /// <summary>Removes an image; false when there was none.</summary>
    public bool Remove(string name)
    {
        string directory = DirectoryOf(name);
        if (!Directory.Exists(directory))
            return false;
        // Renamed first, so that nobody finds half an image.
        string trash = Path.Combine(Root, $".{name}.{Guid.NewGuid():N}");
        Directory.Move(directory, trash);
        Directory.Delete(trash, recursive: true);
        return true;
    }

    /// <summary>
    /// Makes sure that nobody else makes an image of this name until what is returned is disposed, and removes what a maker
    /// that was killed has left.
    /// </summary>
    /// <exception cref="ImageException">Somebody makes it now, or the cache can't be written.</exception>
    public FileStream Hold(string name)
    {
        _ = DirectoryOf(name);
        FileStream held;
        try
        {
            _ = Directory.CreateDirectory(Root);
            held = new FileStream(Path.Combine(Root, $".{name}.lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageError.Host, $"the image {name} is being made by another process, or {Root} can't be written: {e.Message}", e);
        }

        foreach (string left in Directory.EnumerateDirectories(Root, $".{name}.*"))
            Directory.Delete(left, recursive: true);
        return held;
    }

    /// <summary>Creates an empty directory in which an image can be made.</summary>
    /// <exception cref="ImageException">The cache can't be written.</exception>
    public string CreateWorkDirectory(string name)
    {
        string directory = Path.Combine(Root, $".{name}.{Guid.NewGuid():N}");
        try
        {
            _ = Directory.CreateDirectory(directory);
            return directory;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageError.Host, $"{Root}: the image cache can't be written: {e.Message}; set XDG_CACHE_HOME to a directory that can be", e);
        }
    }

    /// <summary>Makes a finished work directory the image of this name, in place of an older one.</summary>
    public GuestImage Publish(string name, string workDirectory)
    {
        string directory = DirectoryOf(name);
        _ = Remove(name);
        Directory.Move(workDirectory, directory);
        return Find(name) ?? throw new ImageException(ImageError.Content, $"{directory}: the image is incomplete");
    }

    private string DirectoryOf(string name)
    {
        if (name.Length == 0 || name.StartsWith('.') || name.AsSpan().ContainsAny('/', '\0'))
            throw new ImageException(ImageError.Unknown, $"\"{name}\" is no image name; \"debian\" would be one");
        return Path.Combine(Root, name);
    }
}
