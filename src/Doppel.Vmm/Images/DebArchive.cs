using System.Formats.Tar;
using System.Globalization;
using System.IO.Compression;
using System.Text;

namespace Doppel.Vmm.Images;

/// <summary>
/// Takes files out of a Debian package (deb(5)): an ar archive whose member data.tar holds them. dpkg-deb does it where
/// it exists; elsewhere gzip is built in, and xz or zstd of the host unpack the other compressions.
/// </summary>
internal static class DebArchive
{
    /// <summary>Extracts the first file whose path a predicate accepts.</summary>
    /// <param name="package">Path of the .deb file.</param>
    /// <param name="wanted">Given the path in the package, without "./" in front.</param>
    /// <param name="what">What is looked for, for messages.</param>
    /// <param name="target">Where to write it.</param>
    /// <param name="cancel">Stops.</param>
    /// <returns>The path in the package.</returns>
    /// <exception cref="ImageException">The package is damaged or has no such file.</exception>
    internal static async Task<string> ExtractAsync(string package, Predicate<string> wanted, string what, string target, CancellationToken cancel)
    {
        string? found = null;
        _ = await ExtractManyAsync(package, name => found is null && wanted(name) ? target : null, cancel, name => found = name).ConfigureAwait(false);
        return found ?? throw new ImageException(ImageError.Content, $"{Path.GetFileName(package)}: the package has no {what}");
    }

    /// <summary>Extracts files.</summary>
    /// <param name="package">Path of the .deb file.</param>
    /// <param name="targetOf">Given the path in the package, says where to write the file; null leaves it out.</param>
    /// <param name="cancel">Stops.</param>
    /// <param name="extracted">Told each path before the next is asked for.</param>
    /// <returns>The paths in the package.</returns>
    /// <exception cref="ImageException">The package is damaged.</exception>
    internal static async Task<IReadOnlyList<string>> ExtractManyAsync(string package, Func<string, string?> targetOf, CancellationToken cancel, Action<string>? extracted = null)
    {
        var names = new List<string>();
        string temporary = Path.Combine(Path.GetDirectoryName(package)!, $"{Path.GetFileName(package)}.{Guid.NewGuid():N}.tar");
        try
        {
            await using (FileStream tar = File.Create(temporary))
                await UnpackAsync(package, tar, cancel).ConfigureAwait(false);
            await using FileStream stream = File.OpenRead(temporary);
            await using var reader = new TarReader(stream);
            while (await reader.GetNextEntryAsync(copyData: false, cancel).ConfigureAwait(false) is TarEntry entry)
            {
                string name = entry.Name.StartsWith("./", StringComparison.Ordinal) ? entry.Name[2..] : entry.Name;
                if (entry.EntryType is not (TarEntryType.RegularFile or TarEntryType.V7RegularFile) || targetOf(name) is not string target)
                    continue;
                await using FileStream file = File.Create(target);
                if (entry.DataStream is not null)
                    await entry.DataStream.CopyToAsync(file, cancel).ConfigureAwait(false);
                names.Add(name);
                extracted?.Invoke(name);
            }

            return names;
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException or FormatException)
        {
            throw new ImageException(ImageError.Content, $"{Path.GetFileName(package)}: the package is damaged: {e.Message}", e);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    private static async Task UnpackAsync(string package, Stream output, CancellationToken cancel)
    {
        if (HostTool.Find("dpkg-deb") is string dpkg)
        {
            Check(package, await HostTool.FilterAsync(dpkg, ["--fsys-tarfile", package], null, output, cancel).ConfigureAwait(false));
            return;
        }

        await using FileStream stream = File.OpenRead(package);
        string member = FindData(stream, out long length);
        using var data = new MemoryStream();
        byte[] content = new byte[length];
        await stream.ReadExactlyAsync(content, cancel).ConfigureAwait(false);
        await data.WriteAsync(content, cancel).ConfigureAwait(false);
        data.Position = 0;
        switch (Path.GetExtension(member))
        {
            case ".tar":
                await data.CopyToAsync(output, cancel).ConfigureAwait(false);
                break;
            case ".gz":
                await using (var gzip = new GZipStream(data, CompressionMode.Decompress))
                    await gzip.CopyToAsync(output, cancel).ConfigureAwait(false);
                break;
            case ".xz":
                await FilterAsync(package, "xz", data, output, cancel).ConfigureAwait(false);
                break;
            case ".zst":
                await FilterAsync(package, "zstd", data, output, cancel).ConfigureAwait(false);
                break;
            default:
                throw new InvalidDataException($"unknown member {member}");
        }
    }

    private static async Task FilterAsync(string package, string tool, Stream input, Stream output, CancellationToken cancel)
    {
        if (HostTool.Find(tool) is not string path)
            throw new ImageException(ImageError.Host, $"{Path.GetFileName(package)}: unpacking it needs dpkg-deb or {tool}; install one of them");
        Check(package, await HostTool.FilterAsync(path, ["-dc"], input, output, cancel).ConfigureAwait(false));
    }

    private static void Check(string package, HostToolResult result)
    {
        if (result.ExitCode != 0)
            throw new InvalidDataException(result.FirstError.Replace(package, Path.GetFileName(package), StringComparison.Ordinal));
    }

    private static string FindData(FileStream stream, out long length)
    {
        byte[] header = new byte[60];
        stream.ReadExactly(header, 0, 8);
        if (!header.AsSpan(0, 8).SequenceEqual("!<arch>\n"u8))
            throw new InvalidDataException("not an ar archive");
        while (true)
        {
            stream.ReadExactly(header);
            string name = Encoding.ASCII.GetString(header, 0, 16).TrimEnd(' ', '/');
            length = long.Parse(Encoding.ASCII.GetString(header, 48, 10).Trim(), NumberStyles.None, CultureInfo.InvariantCulture);
            if (length > stream.Length - stream.Position)
                throw new EndOfStreamException($"member {name} ends after the file");
            if (name.StartsWith("data.tar", StringComparison.Ordinal))
                return name;
            stream.Position += length + (length & 1);
        }
    }
}
