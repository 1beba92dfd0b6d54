namespace Doppel.Host.Folders;

/// <content>Extended attributes, of the namespace "user" only: the others would change what a file may do on the host.</content>
public sealed unsafe partial class FolderNode
{
    /// <summary>Most bytes of a value, and of a list of names.</summary>
    public const int LongestAttribute = 1 << 16;

    private static ReadOnlySpan<byte> UserNamespace => "user."u8;

    /// <summary>Reads an attribute's value.</summary>
    /// <param name="name">The attribute.</param>
    /// <param name="value">Room for it; none to ask for its length only.</param>
    /// <param name="length">Bytes of the value.</param>
    public int GetAttribute(ReadOnlySpan<byte> name, Span<byte> value, out int length)
    {
        byte* attribute = stackalloc byte[LongestName + 1];
        length = 0;
        int error = CopyAttribute(name, attribute);
        if (error != 0)
            return error;
        using var self = new DescriptorPath(_handle, stackalloc byte[DescriptorPath.Length]);
        fixed (byte* path = self.Path)
        fixed (byte* bytes = value)
            return Length(FolderCalls.GetAttribute(path, attribute, bytes, (nuint)value.Length), out length);
    }

    /// <summary>Sets an attribute.</summary>
    /// <param name="name">The attribute.</param>
    /// <param name="value">Its value, at most <see cref="LongestAttribute"/> bytes.</param>
    /// <param name="flags">0, XATTR_CREATE (1) or XATTR_REPLACE (2).</param>
    public int SetAttribute(ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, uint flags)
    {
        byte* attribute = stackalloc byte[LongestName + 1];
        int error = CopyAttribute(name, attribute);
        if (error != 0)
            return error;
        using var self = new DescriptorPath(_handle, stackalloc byte[DescriptorPath.Length]);
        fixed (byte* path = self.Path)
        fixed (byte* bytes = value)
            return Result(FolderCalls.SetAttribute(path, attribute, bytes, (nuint)value.Length, (int)(flags & 3)));
    }

    /// <summary>Removes an attribute.</summary>
    public int RemoveAttribute(ReadOnlySpan<byte> name)
    {
        byte* attribute = stackalloc byte[LongestName + 1];
        int error = CopyAttribute(name, attribute);
        if (error != 0)
            return error;
        using var self = new DescriptorPath(_handle, stackalloc byte[DescriptorPath.Length]);
        fixed (byte* path = self.Path)
            return Result(FolderCalls.RemoveAttribute(path, attribute));
    }

    /// <summary>Lists the names of the attributes, a zero behind each.</summary>
    /// <param name="names">Room of <see cref="LongestAttribute"/> bytes.</param>
    /// <param name="length">Bytes of the list.</param>
    public int ListAttributes(Span<byte> names, out int length)
    {
        length = 0;
        using var self = new DescriptorPath(_handle, stackalloc byte[DescriptorPath.Length]);
        int all;
        fixed (byte* path = self.Path)
        fixed (byte* bytes = names)
        {
            int error = Length(FolderCalls.ListAttributes(path, bytes, (nuint)names.Length), out all);
            if (error != 0)
                return error;
        }

        Span<byte> rest = names[..all];
        while (rest.IndexOf((byte)0) is >= 0 and int end)
        {
            if (rest.StartsWith(UserNamespace))
            {
                rest[..(end + 1)].CopyTo(names[length..]);
                length += end + 1;
            }

            rest = rest[(end + 1)..];
        }

        return 0;
    }

    /// <summary>Writes what the file system has of files to its medium.</summary>
    public int SyncFileSystem()
    {
        // A descriptor that can't read or write has no file system to sync; of directories there is another.
        int error = Reopen(FolderFlags.Directory, out Microsoft.Win32.SafeHandles.SafeFileHandle? handle);
        if (error != 0)
            return error;
        using (handle)
            return Result(FolderCalls.SyncFileSystem(handle!));
    }

    private static int Length(nint result, out int length)
    {
        length = (int)Math.Max(result, 0);
        return result == -1 ? LastError() : 0;
    }

    private static int CopyAttribute(ReadOnlySpan<byte> name, byte* attribute)
    {
        if (name.Length > LongestName)
            return FolderError.Range;
        if (!name.StartsWith(UserNamespace))
            return FolderError.NotSupported;
        if (name.Length == UserNamespace.Length || name.Contains((byte)0))
            return FolderError.Invalid;
        name.CopyTo(new Span<byte>(attribute, LongestName));
        attribute[name.Length] = 0;
        return 0;
    }
}
