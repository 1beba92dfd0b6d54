namespace Doppel.Vmm.Images;

/// <summary>Reads files below a URL, with progress.</summary>
internal sealed class MirrorReader
{
    private const long MaximumLength = 1L << 30;

    internal MirrorReader(string mirror)
    {
        if (!Uri.TryCreate(mirror.EndsWith('/') ? mirror : mirror + "/", UriKind.Absolute, out Uri? root) || root.Scheme is not ("http" or "https" or "file"))
            throw new ImageException(ImageError.Unknown, $"--mirror {mirror}: not the URL of a mirror; http://HOST/debian, https://HOST/debian or file:///DIRECTORY would be right");
        Root = root;
    }

    internal Uri Root { get; }

    internal async Task<byte[]> ReadAsync(string path, string step, IProgress<ImageProgress> progress, CancellationToken cancel)
    {
        var address = new Uri(Root, path);
        progress.Report(new ImageProgress(step, 0));
        try
        {
            if (address.IsFile)
                return await File.ReadAllBytesAsync(address.LocalPath, cancel).ConfigureAwait(false);
            using var client = new HttpClient { Timeout = Timeout.InfiniteTimeSpan };
            using HttpResponseMessage response = await client.GetAsync(address, HttpCompletionOption.ResponseHeadersRead, cancel).ConfigureAwait(false);
            if (!response.IsSuccessStatusCode)
                throw new ImageException(ImageError.Network, $"{address}: the mirror answers {(int)response.StatusCode} {response.ReasonPhrase}; check --mirror and --suite");
            return await CopyAsync(response, step, progress, cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (e is HttpRequestException or IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageError.Network, $"{address} can't be read: {e.Message}; check the network and --mirror", e);
        }
    }

    private static async Task<byte[]> CopyAsync(HttpResponseMessage response, string step, IProgress<ImageProgress> progress, CancellationToken cancel)
    {
        long? length = response.Content.Headers.ContentLength;
        await using Stream stream = await response.Content.ReadAsStreamAsync(cancel).ConfigureAwait(false);
        using var copy = new MemoryStream();
        byte[] buffer = new byte[1 << 16];
        while (true)
        {
            int count = await stream.ReadAsync(buffer, cancel).ConfigureAwait(false);
            if (count == 0)
                return copy.ToArray();
            copy.Write(buffer, 0, count);
            if (copy.Length > MaximumLength)
                throw new IOException($"more than {MaximumLength} bytes");
            if (length > 0)
                progress.Report(new ImageProgress(step, (int)(copy.Length * 100 / length.Value)));
        }
    }
}
