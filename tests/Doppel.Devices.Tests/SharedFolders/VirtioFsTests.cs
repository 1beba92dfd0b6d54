using System.Text;
using Doppel.Devices.Tests.Virtio;
using Doppel.Devices.Virtio;

namespace Doppel.Devices.Tests.SharedFolders;

/// <summary>What a guest can and can't do in a shared folder, request by request.</summary>
public sealed class VirtioFsTests : IDisposable
{
    private const int Lookup = 1, GetAttributes = 3, SetAttributes = 4, ReadLink = 5, SymbolicLink = 6, MakeNode = 8, MakeDirectory = 9, Unlink = 10, RemoveDirectory = 11,
        Rename = 12, Link = 13, Open = 14, OpenDirectory = 27, Initialize = 26, Create = 35, Allocate = 43, Rename2 = 45, Seek = 46, CopyRange = 47;

    private const int NotPermitted = -1, Missing = -2, Exists = -17, NotDirectory = -20, IsDirectory = -21, Invalid = -22, ReadOnly = -30, NameTooLong = -36, NotImplemented = -38, TooManyLinks = -40, Stale = -116;
    private readonly GatedFolder _folder = new();
    private readonly VirtioSubject _subject;
    private readonly FuseDriver _fuse;

    public VirtioFsTests()
    {
        _subject = VirtioSubject.Make("fs", "msix", "packed", _folder);
        _subject.Driver.Start();
        _fuse = new FuseDriver(_subject.Driver);
    }

    public void Dispose() => _subject.Dispose();

    [Fact]
    public async Task Version_and_sizes_are_agreed_on()
    {
        Assert.Equal((byte)'d', (byte)_subject.Access.ReadConfig(0, 1));
        Assert.Equal(1u, _subject.Access.ReadConfig(36, 4));
        (int error, byte[] data) = await _fuse.AskAsync(Initialize, 0, [.. FuseDriver.Words(7, 38, 65536, uint.MaxValue), .. new byte[48]], 64);
        Assert.Equal(0, error);
        Assert.Equal([7u, 31u, 65536u], [FuseDriver.UInt32(data, 0), FuseDriver.UInt32(data, 4), FuseDriver.UInt32(data, 8)]);
        Assert.Equal(1u << 20, FuseDriver.UInt32(data, 20));
        Assert.Equal(64, data.Length);
        Assert.Equal(-71, (await _fuse.AskAsync(Initialize, 0, FuseDriver.Words(6, 38, 0, 0), 64)).Error);
        Assert.Equal(-71, (await _fuse.AskAsync(Initialize, 0, FuseDriver.Words(7, 5, 0, 0), 64)).Error);
        Assert.Equal(NotImplemented, (await _fuse.AskAsync(31, 1, FuseDriver.Words(0, 0), 64)).Error);
    }

    [Fact]
    public async Task Nothing_outside_the_folder_is_reached()
    {
        string outside = Path.Combine(Path.GetDirectoryName(_folder.Path)!, "secret");
        File.WriteAllText(outside, "secret");
        _ = Directory.CreateDirectory(Path.Combine(_folder.Path, "sub"));
        _ = File.CreateSymbolicLink(Path.Combine(_folder.Path, "link"), outside);
        _ = Directory.CreateSymbolicLink(Path.Combine(_folder.Path, "parent"), "..");
        ulong sub = await _fuse.LookupAsync(1, "sub");
        foreach (ulong directory in (ulong[])[1, sub])
        {
            foreach (string name in (string[])["..", ".", "", "../secret", "sub/../../secret", "/etc/passwd", "/"])
            {
                byte[] bytes = FuseDriver.Name(name);
                Assert.Equal(Invalid, (await _fuse.AskAsync(Lookup, directory, bytes, 128)).Error);
                Assert.Equal(Invalid, (await _fuse.AskAsync(Create, directory, [.. FuseDriver.Words(2, 0x81A4, 0, 0), .. bytes], 144)).Error);
                Assert.Equal(Invalid, (await _fuse.AskAsync(MakeDirectory, directory, [.. FuseDriver.Words(0x1ED, 0), .. bytes], 128)).Error);
                Assert.Equal(Invalid, (await _fuse.AskAsync(Unlink, directory, bytes, 0)).Error);
                Assert.Equal(Invalid, (await _fuse.AskAsync(RemoveDirectory, directory, bytes, 0)).Error);
                Assert.Equal(Invalid, (await _fuse.AskAsync(Rename, directory, [.. FuseDriver.Fields(1), .. FuseDriver.Name("link"), .. bytes], 0)).Error);
                Assert.Equal(Invalid, (await _fuse.AskAsync(Rename, directory, [.. FuseDriver.Fields(1), .. bytes, .. FuseDriver.Name("x")], 0)).Error);
                Assert.Equal(Invalid, (await _fuse.AskAsync(Link, directory, [.. FuseDriver.Fields(sub), .. bytes], 128)).Error);
            }
        }

        // A link is a link: never what it leads to.
        foreach (string name in (string[])["link", "parent"])
        {
            ulong link = await _fuse.LookupAsync(1, name);
            Assert.Equal(TooManyLinks, (await _fuse.AskAsync(Open, link, FuseDriver.Words(0, 0), 16)).Error);
            Assert.NotEqual(0, (await _fuse.AskAsync(OpenDirectory, link, FuseDriver.Words(0, 0), 16)).Error);
            Assert.Equal(NotDirectory, (await _fuse.AskAsync(Lookup, link, FuseDriver.Name("secret"), 128)).Error);
            Assert.Equal(Exists, (await _fuse.AskAsync(Create, 1, [.. FuseDriver.Words(0xC2, 0x81A4, 0, 0), .. FuseDriver.Name(name)], 144)).Error);
            Assert.Equal(TooManyLinks, (await _fuse.AskAsync(Create, 1, [.. FuseDriver.Words(0x242, 0x81A4, 0, 0), .. FuseDriver.Name(name)], 144)).Error);
            Assert.NotEqual(0, (await SetAsync(link, mode: 0x1FF)).Error);
            Assert.NotEqual(0, (await SetAsync(link, size: 0)).Error);
        }

        Assert.Equal("secret", File.ReadAllText(outside));
        Assert.Equal(outside, Encoding.UTF8.GetString((await _fuse.AskAsync(ReadLink, await _fuse.LookupAsync(1, "link"), [], 4096)).Data));
    }

    [Fact]
    public async Task A_directory_that_is_swapped_for_a_link_leads_nowhere_else()
    {
        string outside = Path.Combine(Path.GetDirectoryName(_folder.Path)!, "outside"), inside = Path.Combine(_folder.Path, "dir");
        _ = Directory.CreateDirectory(outside);
        File.WriteAllText(Path.Combine(outside, "file"), "outside");
        _ = Directory.CreateDirectory(inside);
        File.WriteAllText(Path.Combine(inside, "file"), "inside");
        ulong known = await _fuse.LookupAsync(1, "dir");
        using var stop = new CancellationTokenSource();
        var swapping = Task.Run(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                Directory.Move(inside, inside + "2");
                _ = Directory.CreateSymbolicLink(inside, outside);
                File.Delete(inside);
                Directory.Move(inside + "2", inside);
            }
        });
        for (int i = 0; i < 100; i++)
        {
            foreach (ulong directory in (ulong[])[known, await TryLookupAsync(1, "dir") ?? known])
            {
                if (await TryLookupAsync(directory, "file") is not ulong file)
                    continue;
                (int error, byte[] data) = await _fuse.AskAsync(Open, file, FuseDriver.Words(0, 0), 16);
                Assert.Equal(0, error);
                Assert.Equal("inside", Encoding.UTF8.GetString(await _fuse.ReadAsync(file, FuseDriver.UInt64(data, 0), 0, 100)));
                await _fuse.ReleaseAsync(file, FuseDriver.UInt64(data, 0));
            }
        }

        await stop.CancelAsync();
        await swapping;
    }

    [Fact]
    public async Task A_read_only_folder_stays_as_it_is()
    {
        File.WriteAllText(Path.Combine(_folder.Path, "file"), "content");
        using var memory = new Doppel.Machine.Memory.GuestMemory(VirtioSubject.RamSize);
        var gate = new Lock();
        using var device = new VirtioFs("virtio-fs0", "tag", _folder.Serve(isReadOnly: true), new DevicePlatform(memory, gate, e => throw e));
        var driver = new VirtioDriver(new MmioAccess(device, gate), memory, ulong.MaxValue);
        driver.Start();
        var fuse = new FuseDriver(driver);
        ulong file = await fuse.LookupAsync(1, "file");
        byte[] two = [.. FuseDriver.Name("file"), .. FuseDriver.Name("other")];
        (uint Opcode, byte[] Arguments)[] changes =
        [
            (SetAttributes, FuseDriver.Words(8, 0, 0, 0, 0, 0)), (SymbolicLink, two), (MakeNode, [.. FuseDriver.Words(0x81A4, 0, 0, 0), .. FuseDriver.Name("n")]),
            (MakeDirectory, [.. FuseDriver.Words(0x1ED, 0), .. FuseDriver.Name("d")]), (Unlink, FuseDriver.Name("file")), (RemoveDirectory, FuseDriver.Name("file")),
            (Rename, [.. FuseDriver.Fields(1), .. two]), (Rename2, [.. FuseDriver.Fields(1), .. FuseDriver.Words(0, 0), .. two]),
            (Link, [.. FuseDriver.Fields(file), .. FuseDriver.Name("l")]), (Create, [.. FuseDriver.Words(2, 0x81A4, 0, 0), .. FuseDriver.Name("c")]),
            (Allocate, FuseDriver.Fields(1, 0, 10, 0)), (CopyRange, new byte[56]), (16, new byte[50]),
            (21, [.. FuseDriver.Words(1, 0), .. FuseDriver.Name("user.doppel"), 1]), (24, FuseDriver.Name("user.doppel")),
        ];
        foreach ((uint opcode, byte[] arguments) in changes)
            Assert.Equal(ReadOnly, (await fuse.AskAsync(opcode, 1, arguments, 144)).Error);
        foreach (uint flags in (uint[])[1, 2, 3, 0x200])
            Assert.Equal(ReadOnly, (await fuse.AskAsync(Open, file, FuseDriver.Words(flags, 0), 16)).Error);
        (int error, byte[] opened) = await fuse.AskAsync(Open, file, FuseDriver.Words(0, 0), 16);
        Assert.Equal(0, error);
        Assert.Equal("content", Encoding.UTF8.GetString(await fuse.ReadAsync(file, FuseDriver.UInt64(opened, 0), 0, 100)));
        Assert.Equal(["file"], Directory.GetFileSystemEntries(_folder.Path).Select(p => Path.GetFileName(p)));
        Assert.Equal("content", File.ReadAllText(Path.Combine(_folder.Path, "file")));
    }

    [Fact]
    public async Task What_a_guest_makes_gives_nobody_other_rights()
    {
        (ulong file, ulong handle) = await _fuse.CreateAsync(1, "program", mode: 0x8DFF);
        Assert.Equal(0x1FFu, Mode("program"));
        Assert.Equal(0, (await SetAsync(file, mode: 0xDED)).Error);
        Assert.Equal(0x1EDu, Mode("program"));
        Assert.Equal(NotPermitted, (await SetAsync(file, user: 12345)).Error);
        Assert.Equal(NotPermitted, (await _fuse.AskAsync(MakeNode, 1, [.. FuseDriver.Words(0x21B6, 0x103, 0, 0), .. FuseDriver.Name("null")], 128)).Error);
        Assert.Equal(NotPermitted, (await _fuse.AskAsync(MakeNode, 1, [.. FuseDriver.Words(0x61B6, 0x800, 0, 0), .. FuseDriver.Name("sda")], 128)).Error);
        await _fuse.ReleaseAsync(file, handle);

        // A program of the host's that has them loses them before a guest can write to it.
        File.SetUnixFileMode(Path.Combine(_folder.Path, "program"), (UnixFileMode)0x9ED);
        Assert.Equal(0, (await _fuse.AskAsync(Open, file, FuseDriver.Words(1, 0), 16)).Error);
        Assert.Equal(0x1EDu, Mode("program"));

        // A FIFO is one, and isn't opened, which would wait for its other end.
        (int error, byte[] made) = await _fuse.AskAsync(MakeNode, 1, [.. FuseDriver.Words(0x11A4, 0, 0, 0), .. FuseDriver.Name("fifo")], 128);
        Assert.Equal(0, error);
        Assert.Equal(NotPermitted, (await _fuse.AskAsync(Open, FuseDriver.UInt64(made, 0), FuseDriver.Words(0, 0), 16)).Error);
        Assert.Equal(NotPermitted, (await _fuse.AskAsync(Create, 1, [.. FuseDriver.Words(1, 0x81A4, 0, 0), .. FuseDriver.Name("fifo")], 144)).Error);
    }

    [Fact]
    public async Task Names_are_made_moved_linked_and_removed()
    {
        (int error, byte[] data) = await _fuse.AskAsync(MakeDirectory, 1, [.. FuseDriver.Words(0x1FF, 0), .. FuseDriver.Name("dir")], 128);
        Assert.Equal(0, error);
        Assert.Equal(0x1FFu, Mode("dir"));
        ulong directory = FuseDriver.UInt64(data, 0);
        (ulong file, ulong handle) = await _fuse.CreateAsync(directory, "file");
        Assert.Equal(5, await _fuse.WriteAsync(file, handle, 0, "hello"u8.ToArray()));
        Assert.Equal(0, (await _fuse.AskAsync(Link, 1, [.. FuseDriver.Fields(file), .. FuseDriver.Name("second")], 128)).Error);
        Assert.Equal(file, await _fuse.LookupAsync(1, "second"));
        Assert.Equal(0, (await _fuse.AskAsync(Rename, directory, [.. FuseDriver.Fields(1), .. FuseDriver.Name("file"), .. FuseDriver.Name("moved")], 0)).Error);
        Assert.Equal("hello", File.ReadAllText(Path.Combine(_folder.Path, "moved")));
        Assert.Equal(Exists, (await _fuse.AskAsync(Rename2, 1, [.. FuseDriver.Fields(1), .. FuseDriver.Words(1, 0), .. FuseDriver.Name("moved"), .. FuseDriver.Name("second")], 0)).Error);
        Assert.Equal(Invalid, (await _fuse.AskAsync(Rename2, 1, [.. FuseDriver.Fields(1), .. FuseDriver.Words(4, 0), .. FuseDriver.Name("moved"), .. FuseDriver.Name("x")], 0)).Error);
        Assert.Equal(0, (await _fuse.AskAsync(SymbolicLink, 1, [.. FuseDriver.Name("link"), .. FuseDriver.Name("anywhere/at all")], 128)).Error);
        Assert.Equal("anywhere/at all", new FileInfo(Path.Combine(_folder.Path, "link")).LinkTarget);
        Assert.Equal(IsDirectory, (await _fuse.AskAsync(Unlink, 1, FuseDriver.Name("dir"), 0)).Error);
        Assert.Equal(0, (await _fuse.AskAsync(RemoveDirectory, 1, FuseDriver.Name("dir"), 0)).Error);
        Assert.Equal(NameTooLong, (await _fuse.AskAsync(Lookup, 1, FuseDriver.Name(new string('x', 256)), 128)).Error);
        Assert.Equal(Missing, (await _fuse.AskAsync(Lookup, 1, FuseDriver.Name(new string('x', 255)), 128)).Error);

        Assert.Equal(0, (await SetAsync(file, size: 3, seconds: 1_000_000_000)).Error);
        (error, data) = await _fuse.AskAsync(GetAttributes, file, FuseDriver.Fields(0, 0), 104);
        Assert.Equal((0, 3UL, 1_000_000_000UL), (error, FuseDriver.UInt64(data, 24), FuseDriver.UInt64(data, 48)));
        Assert.Equal(0, (await _fuse.AskAsync(Allocate, file, FuseDriver.Fields(handle, 0, 100_000, 0), 0)).Error);
        Assert.Equal(100_000, new FileInfo(Path.Combine(_folder.Path, "second")).Length);
        (error, data) = await _fuse.AskAsync(Seek, file, [.. FuseDriver.Fields(handle, 0), .. FuseDriver.Words(3, 0)], 8);
        Assert.Equal((0, 0UL), (error, FuseDriver.UInt64(data, 0)));
        (ulong copy, ulong copyHandle) = await _fuse.CreateAsync(1, "copy");
        (error, data) = await _fuse.AskAsync(CopyRange, file, FuseDriver.Fields(handle, 0, copy, copyHandle, 10, 3, 0), 8);
        Assert.Equal((0, 3u), (error, FuseDriver.UInt32(data, 0)));
        Assert.Equal("hel", Encoding.UTF8.GetString(await _fuse.ReadAsync(copy, copyHandle, 10, 100)));
        (error, data) = await _fuse.AskAsync(17, 1, [], 80);
        Assert.Equal(0, error);
        Assert.True(FuseDriver.UInt64(data, 0) > 0);
    }

    [Fact]
    public async Task Attributes_are_set_read_listed_and_removed()
    {
        const int Set = 21, Get = 22, List = 23, Remove = 24, NoData = -61, Range = -34, NotSupported = -95;
        (ulong file, ulong handle) = await _fuse.CreateAsync(1, "file");
        await _fuse.ReleaseAsync(file, handle);
        byte[] large = [.. Enumerable.Range(0, 3000).Select(i => (byte)i)];
        foreach ((string name, byte[] value) in ((string, byte[])[])[("user.doppel", "one"u8.ToArray()), ("user.large", large), ("user.empty", [])])
        {
            Assert.Equal(0, (await _fuse.AskAsync(Set, file, [.. FuseDriver.Words((uint)value.Length, 0), .. FuseDriver.Name(name), .. value], 0)).Error);
            (int error, byte[] asked) = await _fuse.AskAsync(Get, file, [.. FuseDriver.Words(0, 0), .. FuseDriver.Name(name)], 8);
            Assert.Equal(0, error);
            Assert.Equal((uint)value.Length, FuseDriver.UInt32(asked, 0));
            (error, byte[] read) = await _fuse.AskAsync(Get, file, [.. FuseDriver.Words(4096, 0), .. FuseDriver.Name(name)], 4096);
            Assert.Equal(0, error);
            Assert.Equal(value, read);
        }

        Assert.Equal(Range, (await _fuse.AskAsync(Get, file, [.. FuseDriver.Words(2999, 0), .. FuseDriver.Name("user.large")], 2999)).Error);
        Assert.Equal(Exists, (await _fuse.AskAsync(Set, file, [.. FuseDriver.Words(1, 1), .. FuseDriver.Name("user.doppel"), 1], 0)).Error);
        Assert.Equal(Invalid, (await _fuse.AskAsync(Set, file, [.. FuseDriver.Words(5000, 0), .. FuseDriver.Name("user.doppel"), 1], 0)).Error);
        (int listError, byte[] names) = await _fuse.AskAsync(List, file, FuseDriver.Words(4096, 0), 4096);
        Assert.Equal(0, listError);
        Assert.Equal(["user.doppel", "user.empty", "user.large"], Encoding.UTF8.GetString(names).TrimEnd('\0').Split('\0').Order());
        Assert.Equal((uint)names.Length, FuseDriver.UInt32((await _fuse.AskAsync(List, file, FuseDriver.Words(0, 0), 8)).Data, 0));
        Assert.Equal(0, (await _fuse.AskAsync(Remove, file, FuseDriver.Name("user.doppel"), 0)).Error);
        Assert.Equal(NoData, (await _fuse.AskAsync(Get, file, [.. FuseDriver.Words(4096, 0), .. FuseDriver.Name("user.doppel")], 4096)).Error);
        // What would give a file other rights on the host.
        foreach (string name in (string[])["security.capability", "trusted.overlay.opaque", "system.posix_acl_access", "user", ""])
        {
            Assert.Equal(NotSupported, (await _fuse.AskAsync(Set, file, [.. FuseDriver.Words(1, 0), .. FuseDriver.Name(name), 1], 0)).Error);
            Assert.Equal(NotSupported, (await _fuse.AskAsync(Get, file, [.. FuseDriver.Words(64, 0), .. FuseDriver.Name(name)], 64)).Error);
            Assert.Equal(NotSupported, (await _fuse.AskAsync(Remove, file, FuseDriver.Name(name), 0)).Error);
        }

        Assert.Equal(0, (await _fuse.AskAsync(50, 1, FuseDriver.Fields(0), 0)).Error);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_large_directory_is_read_in_pieces(bool isPlus)
    {
        string[] names = [.. Enumerable.Range(0, 700).Select(i => $"{i}-{new string('n', i % 200)}")];
        foreach (string name in names)
            File.WriteAllText(Path.Combine(_folder.Path, name), "");
        Dictionary<string, ulong> found = await _fuse.ListAsync(1, isPlus, 2000);
        Assert.Equal(names.Append(".").Append("..").Order(StringComparer.Ordinal), found.Keys.Order(StringComparer.Ordinal));
        if (!isPlus)
            return;
        Assert.Equal(names.Length, found.Where(f => f.Key is not ("." or "..")).Select(f => f.Value).Distinct().Count());
        Assert.Equal(found[names[5]], await _fuse.LookupAsync(1, names[5]));
        await _fuse.ForgetAsync(found[names[5]], 2);
        Assert.Equal(Missing, (await _fuse.AskAsync(GetAttributes, found[names[5]], FuseDriver.Fields(0, 0), 104)).Error);
    }

    [Fact]
    public async Task After_a_restore_files_are_found_where_they_are()
    {
        (ulong kept, ulong keptHandle) = await _fuse.CreateAsync(1, "kept");
        Assert.Equal(4, await _fuse.WriteAsync(kept, keptHandle, 0, "kept"u8.ToArray()));
        (ulong gone, ulong goneHandle) = await _fuse.CreateAsync(1, "gone");
        _ = await _fuse.AskAsync(MakeDirectory, 1, [.. FuseDriver.Words(0x1ED, 0), .. FuseDriver.Name("dir")], 128);
        Assert.Equal(0, (await _fuse.AskAsync(Rename, 1, [.. FuseDriver.Fields(await _fuse.LookupAsync(1, "dir")), .. FuseDriver.Name("kept"), .. FuseDriver.Name("moved")], 0)).Error);
        await _subject.Device.HoldAsync();
        byte[] saved = _subject.Access.Save();
        File.Delete(Path.Combine(_folder.Path, "gone"));
        using VirtioSubject copy = VirtioSubject.Make("fs", "msix", "packed", _folder);
        byte[] memory = new byte[VirtioSubject.RamSize];
        Assert.True(_subject.Memory.TryRead(0, memory));
        Assert.True(copy.Memory.TryWrite(0, memory));
        copy.Access.Restore(saved);
        copy.Device.Release();
        copy.Driver.Continue(_subject.Driver);
        var fuse = new FuseDriver(copy.Driver);
        Assert.Equal("kept", Encoding.UTF8.GetString(await fuse.ReadAsync(kept, keptHandle, 0, 100)));
        Assert.Equal(4, await fuse.WriteAsync(kept, keptHandle, 4, "more"u8.ToArray()));
        Assert.Equal("keptmore", File.ReadAllText(Path.Combine(_folder.Path, "dir", "moved")));
        Assert.Equal(Stale, (await fuse.AskAsync(GetAttributes, gone, FuseDriver.Fields(0, 0), 104)).Error);
        Assert.Equal(Stale, await fuse.WriteAsync(gone, goneHandle, 0, [1]));
        await fuse.ReleaseAsync(gone, goneHandle);
        await fuse.ForgetAsync(gone);
        Assert.NotEqual(gone, (await fuse.CreateAsync(1, "gone")).Node);
    }

    [Fact]
    public async Task What_was_done_while_the_device_was_held_is_not_done_again_after_a_restore()
    {
        _folder.Close();
        Task<(int Error, byte[] Data)> making = _fuse.AskAsync(MakeDirectory, 1, [.. FuseDriver.Words(0x1ED, 0), .. FuseDriver.Name("once")], 128);
        Task held = _subject.Device.HoldAsync();
        _folder.Open();
        await held;
        Assert.True(Directory.Exists(Path.Combine(_folder.Path, "once")));
        byte[] saved = _subject.Access.Save();
        using VirtioSubject copy = VirtioSubject.Make("fs", "msix", "packed", _folder);
        byte[] memory = new byte[VirtioSubject.RamSize];
        Assert.True(_subject.Memory.TryRead(0, memory));
        Assert.True(copy.Memory.TryWrite(0, memory));
        copy.Access.Restore(saved);
        copy.Device.Release();
        copy.Driver.Continue(_subject.Driver);
        Assert.Equal(144u, (await copy.Driver.NextUsedAsync(1)).Written);
        await Assert.ThrowsAsync<OperationCanceledException>(() => making);
    }

    private uint Mode(string name) => (uint)File.GetUnixFileMode(Path.Combine(_folder.Path, name));

    private async Task<ulong?> TryLookupAsync(ulong directory, string name)
    {
        (int error, byte[] data) = await _fuse.AskAsync(Lookup, directory, FuseDriver.Name(name), 128);
        return error == 0 ? FuseDriver.UInt64(data, 0) : null;
    }

    private Task<(int Error, byte[] Data)> SetAsync(ulong node, uint? mode = null, uint? user = null, ulong? size = null, ulong? seconds = null)
    {
        uint valid = (mode is null ? 0u : 1) | (user is null ? 0u : 2) | (size is null ? 0u : 8) | (seconds is null ? 0u : 32);
        return _fuse.AskAsync(
            SetAttributes, node,
            [.. FuseDriver.Words(valid, 0), .. FuseDriver.Fields(0, size ?? 0, 0, 0, seconds ?? 0, 0), .. FuseDriver.Words(0, 0, 0, mode ?? 0, 0, user ?? 0, 0, 0)], 104);
    }
}
